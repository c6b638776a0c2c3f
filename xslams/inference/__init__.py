"""Drawing from the posterior: operators, guidance, samplers, trajectories. Knows no xarray and no dask."""

from xslams.inference.posterior import sample_posterior
from xslams.inference.prior import Prior, prior_of

__all__ = ["Prior", "prior_of", "sample_posterior"]
