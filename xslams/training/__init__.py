"""Training: a latent model of gridded fields stage by stage, and a model of trajectories of a small system."""

from xslams.training.automatic import fit_chosen
from xslams.training.stages import fit_arrays
from xslams.training.systems import fit_system

__all__ = ["fit_arrays", "fit_chosen", "fit_system"]
