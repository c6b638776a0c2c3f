r"""Time grids: at which noise levels the reverse process calls the network.

A grid is chosen for the ratio :math:`r = \sigma_t / \alpha_t` of noise to signal and then translated into times, so
that it is the same for every schedule. Between the ends :math:`r_0 > \dots > r_N` that the schedule sets,

=============  =======================================================================================================
``"log-snr"``  :math:`\log r` in equal steps. No noise level is preferred to another, which suits data with both large
               and small scales, and is the grid that multistep solvers in :math:`\log r` (DPM-Solver++ [1]_) are made
               for. The default.
``"cosine"``   :math:`\arctan r` in equal steps, which is uniform time on a cosine schedule [2]_. Most levels lie
               within a factor of five of unit variance; what is much smaller is resolved badly.
``"rho"``      :math:`r^{1/\rho}` in equal steps [3]_; with ``rho=7`` more of them at high noise than the logarithm
               gives.
``"uniform"``  Time in equal steps, whatever the schedule makes of it.
=============  =======================================================================================================

References
----------
.. [1] Lu et al., DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, 2022,
   arXiv 2211.01095.
.. [2] Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arXiv 2102.09672.
.. [3] Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, arXiv 2206.00364.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.errors import OptionError

if TYPE_CHECKING:
    from azula.noise import Schedule

__all__ = ["GRIDS", "time_at", "time_grid"]

GRIDS = ("cosine", "log-snr", "rho", "uniform")


def time_at(schedule: Schedule, ratio: Tensor) -> Tensor:
    """Find the times at which a schedule has given ratios of noise to signal.

    Parameters
    ----------
    schedule
        Noise schedule; the ratio of noise to signal grows with time.
    ratio
        Ratios, any shape. Those beyond the ends of the schedule give 0 or 1.

    Returns
    -------
    Tensor
        Times in [0, 1], shape of `ratio`, double precision.

    Examples
    --------
    >>> import torch
    >>> from azula.noise import VESchedule
    >>> time_at(VESchedule(0.01, 100.0), torch.tensor([0.1, 1.0, 10.0]))
    tensor([0.2500, 0.5000, 0.7500], dtype=torch.float64)
    """
    low, high = torch.zeros(ratio.shape, dtype=torch.float64), torch.ones(ratio.shape, dtype=torch.float64)
    for _ in range(52):  # bits of a double: no formula of any schedule is needed
        middle = (low + high) / 2
        alpha, sigma = schedule(middle)
        below = sigma / alpha < ratio
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def time_grid(schedule: Schedule, steps: int, grid: str = "log-snr", *, rho: float = 7.0) -> Tensor:
    """Make times from 1 to 0 for a solver.

    Parameters
    ----------
    schedule
        Noise schedule.
    steps
        Number of intervals.
    grid
        One of `GRIDS`.
    rho
        Exponent of the grid ``"rho"``.

    Returns
    -------
    Tensor
        Times, shape ``(steps + 1,)``, double precision.

    Raises
    ------
    OptionError
        If there is no grid of that name or less than one step.

    Examples
    --------
    >>> from azula.noise import CosineSchedule, VESchedule
    >>> time_grid(VESchedule(0.01, 100.0), 4)
    tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    >>> time_grid(CosineSchedule(0.01, 0.01), 4)
    tensor([1.0000, 0.9425, 0.5032, 0.0635, 0.0000], dtype=torch.float64)
    """
    if steps < 1:
        msg = f"A time grid needs at least one step; got {steps}."
        raise OptionError(msg)
    s = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if grid == "uniform":
        return s
    alpha, sigma = schedule(s[[0, -1]])
    first, last = (sigma / alpha).unbind()
    if grid == "log-snr":
        ratio = torch.exp(last.log() + s * (first.log() - last.log()))
    elif grid == "cosine":
        ratio = torch.tan(last.atan() + s * (first.atan() - last.atan()))
    elif grid == "rho":
        ratio = (last ** (1 / rho) + s * (first ** (1 / rho) - last ** (1 / rho))) ** rho
    else:
        msg = f"Unknown time grid {grid!r}; choose one of {', '.join(map(repr, GRIDS))}."
        raise OptionError(msg)
    times = time_at(schedule, ratio)
    # The ends are known exactly.
    times[0], times[-1] = 1.0, 0.0
    return times
