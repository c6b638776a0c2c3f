"""Training: a latent model of gridded fields stage by stage, and a model of trajectories of a small system."""

from xslams.training.automatic import fit_chosen
from xslams.training.checkpoints import check_path as check_checkpoint
from xslams.training.logs import check_log
from xslams.training.spread import wider
from xslams.training.stages import fit_arrays
from xslams.training.systems import fit_system

__all__ = ["check_checkpoint", "check_log", "fit_arrays", "fit_chosen", "fit_system", "wider"]
