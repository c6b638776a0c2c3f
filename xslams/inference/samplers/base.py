r"""The reverse process, and what all samplers have in common.

With the state in units of the signal, :math:`x = z_t / \alpha_t`, and the ratio :math:`r = \sigma_t / \alpha_t` of
noise to signal, every sampler integrates the probability flow [1]_

.. math:: \frac{dx}{dr} = \frac{x - m(x, r)}{r}, \qquad m(x, r) = \mathbb{E}[z \mid z_t]

or a stochastic process with the same distributions, from pure noise to the smallest noise that the schedule has.

Both ends
---------
The schedule ends at noise that is neither infinite nor zero, and both ends show where the data have large and small
scales. Pure noise is not what the data look like at the first level, where they have the mean and variance of data and
noise together. A first step from :math:`x = r \varepsilon` to

.. math:: x + \tfrac{3}{4} m(x, r) + \tfrac{1}{4} m(-x, r)

gives both, up to fourth order in scale over noise, at the price of one call. At the last level, samples still contain
its noise. Near :math:`r = 0` the slope of the flow is proportional to :math:`r`, so that the rest of the way is
:math:`-r_N^2 / 2 r_{N-1}` times the slope that was used last, at no price at all.

azula's samplers draw from torch's global generator; here every draw comes from a `Noise`, so that a member is the same
whatever batch it is computed in.

References
----------
.. [1] Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, arXiv 2011.13456.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor
from tqdm import tqdm

from xslams.errors import OptionError
from xslams.inference.foreign import DENOISER, SAMPLER, calling, checked
from xslams.inference.noise_levels import time_grid
from xslams.options import SAMPLERS, SamplerOptions
from xslams.progress import pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.denoise import Denoiser
    from azula.denoise import Posterior as AzulaPosterior
    from azula.noise import Schedule

    from xslams.inference.noise import Noise

__all__ = ["SAMPLERS", "Run", "Sampler", "Step", "StepSampler", "sample"]


@runtime_checkable
class Stateful(Protocol):
    """A denoiser that hands something on from one noise level to the next, as guided ones do."""

    @property
    def schedule(self) -> Schedule:
        """Noise schedule."""
        ...

    def start(self) -> object:
        """Return the state before the first noise level."""
        ...

    def advance(self, x_t: Tensor, t: Tensor, state: object) -> tuple[AzulaPosterior, object]:
        """Return the estimate of clean states, and the state for the next noise level."""
        ...


class Run:
    """One run of the reverse process: noise levels, noise, and the state that the denoiser hands on between them.

    Parameters
    ----------
    denoiser
        Guided or plain denoiser.
    t
        Times from 1 to 0, shape ``(N + 1,)``.
    noise
        Source of noise; draw 0 made the start.
    corrections
        Langevin corrections at every noise level but the first and the last.
    warm
        Whether the start is states and noise instead of noise alone.
    progress
        Whether to show a progress bar.
    called
        Called with the number of states after every call of the denoiser; None: nothing is.

    Attributes
    ----------
    levels
        Ratios of noise to signal.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        t: Tensor,
        noise: Noise,
        *,
        corrections: int = 0,
        warm: bool = False,
        progress: bool = False,
        called: Callable[[int], None] | None = None,
    ) -> None:
        self._denoiser, self._t, self._noise, self._called = denoiser, t, noise, called
        self.corrections, self.warm, self.progress = corrections, warm, progress
        self._alpha, sigma = denoiser.schedule(t)
        self.levels: list[float] = (sigma / self._alpha).tolist()
        self._state: object = denoiser.start() if isinstance(denoiser, Stateful) else None
        self._drawn = 0

    @property
    def last(self) -> int:
        """Number of the level at which the last step begins."""
        return len(self.levels) - 2

    def scaled(self, x: Tensor) -> Tensor:
        """Return the start in units of the signal."""
        return x / self._alpha[0]

    def estimate(self, x: Tensor, i: int) -> Tensor:
        """Estimate clean states given the states `x` at the level of number `i`."""
        x_t, t = self._alpha[i] * x, self._t[i]
        if isinstance(self._denoiser, Stateful):
            posterior, self._state = self._denoiser.advance(x_t, t, self._state)
            mean: Tensor = posterior.mean
        else:
            with calling(self._denoiser, DENOISER):
                mean = checked(self._denoiser(x_t, t).mean, self._denoiser, DENOISER, tuple(x.shape))
        if self._called is not None:
            self._called(len(x))
        return mean

    def corrected(self, step: Step, x: Tensor, mean: Tensor, i: int) -> Tensor:
        """Take a step to half the noise of the next level, and correct the states there.

        See `xslams.inference.samplers.langevin`.

        Parameters
        ----------
        step
            Predictor.
        x, mean, i
            State and estimate at the level of number `i`.
        """
        half = self.levels[i + 1] / math.sqrt(2)
        x, _ = step(x, mean, i, half)
        for _ in range(self.corrections):
            kick = half * self.draw()
            x = self.estimate(x + kick, i + 1) + kick
        return x + half * self.draw()

    def draw(self) -> Tensor:
        """Return the next standard normal noise."""
        self._drawn += 1
        return self._noise(self._drawn)


class Sampler(Protocol):
    """A method with its settings: a frozen dataclass, which holds no state."""

    def intervals(self, steps: int) -> int:
        """Return the number of intervals between noise levels that cost as many calls; one call finds the start."""
        return steps - 1

    def sample(self, run: Run, x: Tensor) -> Tensor:
        """Integrate the reverse process.

        Parameters
        ----------
        run
            Noise levels, estimates and noise.
        x
            Pure noise of the first level, or states with noise, shape ``(B, *)``.

        Returns
        -------
        Tensor
            Samples, shape ``(B, *)``.
        """
        ...


class Step(Protocol):
    """One step of a solver."""

    def __call__(self, x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
        """Return the state at the level `target`, and the slope of the flow where the step began.

        Parameters
        ----------
        x
            State at the level of number `i`.
        mean
            Estimate there.
        i
            Number of the level.
        target
            Level to go to: the next, or below it where corrections follow.
        """
        ...


class StepSampler(Sampler, Protocol):
    """A sampler that goes from level to level; what happens at both ends and between steps is the same for all."""

    def stepper(self, run: Run) -> Step:
        """Return the step of a run, which may remember earlier steps of it."""
        ...

    def sample(self, run: Run, x: Tensor) -> Tensor:
        """Integrate the reverse process step by step, see `Sampler.sample`."""
        step, last, levels = self.stepper(run), run.last, run.levels
        bar = tqdm(total=last + 1, desc="sampling", disable=not run.progress, unit="step", leave=False, **pace())
        with bar, torch.no_grad():
            x = run.scaled(x)
            mirror = x if run.warm else run.estimate(-x, 0)
            for i in range(last + 1):
                mean = run.estimate(x, i)
                if i == 0 and not run.warm:
                    x = x + (3 * mean + mirror) / 4
                if run.corrections == 0 or i == last:
                    x, slope = step(x, mean, i, levels[i + 1])
                else:
                    x = run.corrected(step, x, mean, i)
                bar.update()
        return x - slope * (levels[-1] ** 2 / (2 * levels[-2]))


def sample(
    denoiser: Denoiser,
    x: Tensor,
    noise: Noise,
    *,
    sampler: str | Sampler = SamplerOptions.sampler,
    steps: int = SamplerOptions.steps,
    corrections: int = SamplerOptions.corrections,
    t: Tensor | None = None,
    warm: bool = False,
    progress: bool = False,
    called: Callable[[int], None] | None = None,
) -> Tensor:
    """Run the reverse process.

    Parameters
    ----------
    denoiser
        Guided or plain denoiser.
    x
        Pure noise of the first level: standard normal times its noise scale, shape ``(B, *)``.
    noise
        Source of noise; draw 0 made `x`.
    sampler
        A name in `SAMPLERS`, or a sampler. ``"auto"`` is ``"unipc"``, which needs the fewest calls of all for a given
        error; with corrections, a predictor-corrector whose predictor makes up for what is lost in between.
    steps
        Number of network calls without corrections; one of them finds the start.
    corrections
        Langevin corrections at every noise level but the first and the last, one more call each.
    t
        Times from 1 to 0, as many as calls; by default uniform in log-SNR, see
        `xslams.inference.noise_levels.time_grid`.
    warm
        Whether `x` is states and noise instead of noise alone.
    progress
        Whether to show a progress bar.
    called
        Called with the number of states after every call of the denoiser.

    Returns
    -------
    Tensor
        Samples, shape ``(B, *)``.

    Raises
    ------
    OptionError
        If there is no sampler of that name, or a number is out of range.

    Examples
    --------
    >>> import torch
    >>> from azula.denoise import GaussianDenoiser
    >>> from azula.linalg.covariance import DiagonalCovariance
    >>> from azula.noise import VESchedule
    >>> from xslams.inference.noise import GeneratorNoise
    >>> prior = GaussianDenoiser(torch.tensor([3.0]), DiagonalCovariance(torch.tensor([4.0])), VESchedule(0.01, 100.0))
    >>> noise = GeneratorNoise((4096, 1), torch.Generator().manual_seed(0), torch.zeros(1))
    >>> z = sample(prior, 100 * noise(0), noise, steps=16)
    >>> bool((z.mean() - 3).abs() < 0.1), bool((z.std() - 2).abs() < 0.1)
    (True, True)
    """
    SamplerOptions(sampler=sampler, steps=steps, corrections=corrections)  # raises where they are unusable
    method = SAMPLERS.instance(sampler)
    if t is None:
        with calling(method, SAMPLER):
            t = time_grid(denoiser.schedule, max(method.intervals(steps), 1))
    if t.ndim != 1 or len(t) < 2:
        msg = f"Times have to be a vector of at least two, from 1 to 0; got the shape {tuple(t.shape)}."
        raise OptionError(msg)
    run = Run(denoiser, t.to(x), noise, corrections=corrections, warm=warm, progress=progress, called=called)
    with calling(method, SAMPLER):
        return checked(method.sample(run, x), method, SAMPLER, tuple(x.shape))
