r"""Samplers of the reverse process. One file for each family; a new one registers itself in `SAMPLERS`.

==============  ======================================================================================================
``"auto"``      ``"unipc"``, or with corrections the predictor that makes up for them.
``"unipc"``     Multistep in :math:`\log r` with data prediction, of third order, whose last step is repeated with the
                next call's estimate (UniPC).
``"dpmpp2m"``   Its predecessor of second order, without repetition (DPM-Solver++ 2M).
``"ab2"``       Adams-Bashforth of second order in :math:`r`.
``"heun"``      Two calls per step, second order in :math:`r` (EDM).
``"ddim"``      First order.
``"ddpm"``      First order, with new noise in every step.
==============  ======================================================================================================
"""

from xslams.inference.samplers.auto import Auto
from xslams.inference.samplers.base import SAMPLERS, Run, Sampler, Step, StepSampler, sample
from xslams.inference.samplers.ddim import DDIM, DDPM
from xslams.inference.samplers.heun import Heun
from xslams.inference.samplers.langevin import PredictorCorrector
from xslams.inference.samplers.multistep import AdamsBashforth, DPMSolverPP2M, UniPC

__all__ = [
    "DDIM",
    "DDPM",
    "SAMPLERS",
    "AdamsBashforth",
    "Auto",
    "DPMSolverPP2M",
    "Heun",
    "PredictorCorrector",
    "Run",
    "Sampler",
    "Step",
    "StepSampler",
    "UniPC",
    "sample",
]
