"""Drawing from the posterior: operators, guidance, samplers, trajectories. Knows no xarray and no dask."""

from xslams.inference.importance import importance_weights, resample
from xslams.inference.posterior import sample_posterior
from xslams.inference.trajectory import TrajectoryPrior, prior_of

__all__ = ["TrajectoryPrior", "importance_weights", "prior_of", "resample", "sample_posterior"]
