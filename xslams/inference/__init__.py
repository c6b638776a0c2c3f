"""Drawing from the posterior: operators, guidance, samplers, trajectories. Knows no xarray and no dask."""

from xslams.inference.posterior import sample_posterior
from xslams.inference.prior import Prior, prior_of
from xslams.inference.valleys import importance_weights, resample

__all__ = ["Prior", "importance_weights", "prior_of", "resample", "sample_posterior"]
