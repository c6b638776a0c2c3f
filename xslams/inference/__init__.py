"""Drawing from the posterior: operators, guidance, samplers, trajectories. Knows no xarray and no dask."""

from xslams.inference.posterior import sample_posterior

__all__ = ["sample_posterior"]
