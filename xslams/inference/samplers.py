r"""Samplers of the reverse process, with noise that belongs to its member.

azula's samplers draw from torch's global generator; here every draw comes from a `Noise`, so that a member is the same
whatever batch it is computed in.

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

Solvers
-------
==============  ======================================================================================================
``"unipc"``     Multistep in :math:`\log r` with data prediction, of third order, whose last step is repeated with the
                next call's estimate (UniPC [2]_, here with the exact integrals of the interpolating polynomials).
``"dpmpp2m"``   Its predecessor of second order, without repetition (DPM-Solver++ 2M [3]_).
``"ab2"``       Adams-Bashforth of second order in :math:`r` [4]_.
``"heun"``      Two calls per step, second order in :math:`r` (EDM [5]_).
``"ddim"``      First order.
``"ddpm"``      First order, with new noise in every step.
==============  ======================================================================================================

Corrections
-----------
Langevin corrections [1]_ renew the noise at a noise level and thereby forget the errors of higher levels: of guidance,
which is approximate where the posterior is not Gaussian, least at low noise. Euler-Maruyama steps have to be small to
keep the variance, and then forget little: what is needed is hundreds. The scheme of Leimkuhler and Matthews [6]_ in the
form of [7]_ is exact for every Gaussian with steps of any stable length. With the length one it reads: from a state
:math:`y` with half the noise variance,

.. math:: y \leftarrow m(y + \kappa, r) + \kappa, \qquad \kappa \sim \mathcal{N}(0, r^2 / 2 \, I) .

The predictor therefore goes to half the variance of the next level, and as every level starts from new noise, it has no
history and is of first order:

.. math:: x \leftarrow x + k \, (m - x), \qquad k = \frac{1 - \sqrt{1 - \theta (1 - \rho^2)}}{\theta}

from the level :math:`r` to :math:`\rho r`. DDIM has :math:`\theta = 1`: every step loses variance. For a Gaussian with
the variance :math:`s^2` the error in variance is :math:`k^2 (u - \theta) r^2` with :math:`u = r^2 / (s^2 + r^2)`, of
which :math:`n` corrections at the next level :math:`r'` leave the share :math:`(1 - u')^{2n}`. Over all scales
:math:`s` of the data the errors add up to nothing with

.. math:: \theta = 2n \int_0^1 \frac{(1 - v) \, v^{2n - 1}}{1 - v + v \, r'^2 / r^2} dv,

which is :math:`1 / (2n + 1)` for small steps, and 1 for large ones and without corrections.

References
----------
.. [1] Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, arXiv 2011.13456.
.. [2] Zhao et al., UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models, 2023,
   arXiv 2302.04867.
.. [3] Lu et al., DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, 2022,
   arXiv 2211.01095.
.. [4] Zhang and Chen, Fast Sampling of Diffusion Models with Exponential Integrator, 2023, arXiv 2204.13902.
.. [5] Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, arXiv 2206.00364.
.. [6] Leimkuhler and Matthews, Rational Construction of Stochastic Numerical Methods for Molecular Sampling, 2013,
   doi:10.1093/amrx/abs010.
.. [7] Vilmart, Postprocessed Integrators for the High Order Integration of Ergodic SDEs, 2015,
   doi:10.1137/140974328.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from xslams.errors import OptionError
from xslams.inference.batches import transfer
from xslams.inference.noise_levels import time_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from azula.denoise import Denoiser

__all__ = ["SAMPLERS", "GeneratorNoise", "KeyedNoise", "Noise", "sample"]

SAMPLERS = ("auto", "ab2", "ddim", "ddpm", "dpmpp2m", "heun", "unipc")


class Noise(Protocol):
    """Source of standard normal noise of the shape of the state."""

    def __call__(self, draw: int) -> Tensor:
        """Return the draw of that number."""
        ...


class GeneratorNoise:
    """Noise from one generator, draw after draw.

    Parameters
    ----------
    shape
        Shape ``(members, *shape)`` of a draw.
    generator
        Source of randomness; torch's global generator by default.
    like
        Tensor whose type and device the noise gets.
    antithetic
        Whether member ``2 k + 1`` has the negated noise of member ``2 k``.
    """

    def __init__(
        self, shape: Sequence[int], generator: torch.Generator | None, like: Tensor, *, antithetic: bool = False
    ) -> None:
        self.shape, self.generator, self.like = tuple(shape), generator, like
        self.antithetic = antithetic

    def __call__(self, draw: int) -> Tensor:
        """Return the next draw."""
        device = self.like.device if self.generator is None else self.generator.device
        members, *rest = self.shape
        count = (members + 1) // 2 if self.antithetic else members
        noise = torch.randn((count, *rest), generator=self.generator, dtype=self.like.dtype, device=device)
        if self.antithetic:
            noise = torch.stack([noise, -noise], dim=1).flatten(0, 1)[:members]
        return noise.to(self.like.device)


class KeyedNoise:
    """Noise of a member at a time, the same whatever else is computed with it.

    Parameters
    ----------
    seed
        Seed of the run.
    members
        Numbers of the members in this batch.
    labels
        Time labels of the frames.
    frame_shape
        Shape of a latent frame.
    device
        Where to put the noise. It is drawn on the CPU, so that it is the same on every device.
    antithetic
        Whether member ``2 k + 1`` has the negated noise of member ``2 k``, in this batch or another.
    """

    def __init__(
        self,
        seed: int,
        members: Sequence[int],
        labels: Sequence[int],
        frame_shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        *,
        antithetic: bool = False,
    ) -> None:
        self.seed, self.members, self.labels = seed, members, labels
        self.frame_shape = frame_shape
        self.device = device
        self.antithetic = antithetic

    def __call__(self, draw: int) -> Tensor:
        """Return draw number `draw`, shape ``(member, time, *frame_shape)``."""
        out = torch.empty(len(self.members), len(self.labels), *self.frame_shape)
        generator = torch.Generator()
        for i, member in enumerate(self.members):
            owner = member // 2 if self.antithetic else member
            for j, label in enumerate(self.labels):
                # Labels before 1970 are negative, which a seed sequence refuses.
                key = np.random.SeedSequence([self.seed, owner, label % 2**63, draw])
                generator.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
                torch.randn(self.frame_shape, generator=generator, out=out[i, j])
            if self.antithetic and member % 2:
                out[i].neg_()
        return transfer(out, self.device)


def sample(
    denoiser: Denoiser,
    x: Tensor,
    noise: Noise,
    *,
    sampler: str = "auto",
    steps: int = 32,
    corrections: int = 0,
    t: Tensor | None = None,
    warm: bool = False,
    progress: bool = False,
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
        One of `SAMPLERS`. ``"auto"`` is ``"unipc"``, which needs the fewest calls of all for a given error; with
        corrections, a predictor-corrector whose predictor makes up for what is lost in between.
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
    >>> prior = GaussianDenoiser(torch.tensor([3.0]), DiagonalCovariance(torch.tensor([4.0])), VESchedule(0.01, 100.0))
    >>> noise = GeneratorNoise((4096, 1), torch.Generator().manual_seed(0), torch.zeros(1))
    >>> z = sample(prior, 100 * noise(0), noise, steps=16)
    >>> bool((z.mean() - 3).abs() < 0.1), bool((z.std() - 2).abs() < 0.1)
    (True, True)
    """
    if sampler not in SAMPLERS:
        msg = f"Unknown sampler {sampler!r}; choose one of {', '.join(map(repr, SAMPLERS))}."
        raise OptionError(msg)
    if steps < 1 or corrections < 0:
        msg = f"A sampler needs steps of at least 1 and corrections of at least 0; got {steps} and {corrections}."
        raise OptionError(msg)
    if t is None:
        # One call finds the start, and Heun's method has two calls per step: half the steps cost as much as others.
        intervals = (steps - 1) // 2 if sampler == "heun" else steps - 1
        t = time_grid(denoiser.schedule, max(intervals, 1))
    if t.ndim != 1 or len(t) < 2:
        msg = f"Times have to be a vector of at least two, from 1 to 0; got the shape {tuple(t.shape)}."
        raise OptionError(msg)
    t = t.to(x)
    alpha, sigma = denoiser.schedule(t)
    levels = (sigma / alpha).tolist()

    def estimate(x: Tensor, i: int) -> Tensor:
        return denoiser(alpha[i] * x, t[i]).mean

    draws = iter(range(1, 1 << 31))
    step = _step(sampler, levels, corrections, estimate, lambda: noise(next(draws)))
    last = len(levels) - 2
    bar = tqdm(total=last + 1, desc="sampling", disable=not progress, unit="step", leave=False)
    with bar, torch.no_grad():
        x = x / alpha[0]
        mirror = x if warm else estimate(-x, 0)
        for i in range(last + 1):
            mean = estimate(x, i)
            if i == 0 and not warm:
                x = x + (3 * mean + mirror) / 4
            if corrections == 0 or i == last:
                x, slope = step(x, mean, i, levels[i + 1])
            else:
                half = levels[i + 1] / math.sqrt(2)
                x, _ = step(x, mean, i, half)
                for _ in range(corrections):
                    kick = half * noise(next(draws))
                    x = estimate(x + kick, i + 1) + kick
                x = x + half * noise(next(draws))
            bar.update()
    return x - slope * (levels[-1] ** 2 / (2 * levels[-2]))


class _Step(Protocol):
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


def _step(
    sampler: str,
    levels: list[float],
    corrections: int,
    estimate: Callable[[Tensor, int], Tensor],
    noise: Callable[[], Tensor],
) -> _Step:
    """Step of a solver by its name, see `_Step`."""
    last = len(levels) - 2

    def ddim(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
        slope = (x - mean) / levels[i]
        return x + (target - levels[i]) * slope, slope

    def compensated(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
        # No correction follows the last step.
        theta = 1.0 if i == last else _theta(levels[i + 1] / levels[i], corrections)
        factor = (1 - math.sqrt(1 - theta * (1 - (target / levels[i]) ** 2))) / theta
        return x + factor * (mean - x), (x - mean) / levels[i]

    def ddpm(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
        if i == last:
            # New noise here could not be taken away again.
            return ddim(x, mean, i, target)
        kept = (target / levels[i]) ** 2
        return mean + kept * (x - mean) + target * math.sqrt(1 - kept) * noise(), (x - mean) / levels[i]

    def heun(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
        guess, slope = ddim(x, mean, i, levels[i + 1])
        after = (guess - estimate(guess, i + 1)) / levels[i + 1]
        x = x + (levels[i + 1] - levels[i]) * (slope + after) / 2 + (target - levels[i + 1]) * after
        return x, slope

    if sampler == "auto" and corrections:
        return compensated
    if sampler == "heun":
        return heun
    if sampler == "ddpm":
        return ddpm
    if sampler == "ddim" or corrections:
        return ddim
    if sampler == "ab2":
        return _Multistep(levels, order=2, exponential=False)
    if sampler == "dpmpp2m":
        return _Multistep(levels, order=2)
    return _Multistep(levels, order=3, repeats=True)


def _theta(ratio: float, corrections: int) -> float:
    """Share of the step of DDIM that, with the corrections that follow, keeps the variance over all scales."""
    points, weights = np.polynomial.legendre.leggauss(32)
    v = (points + 1) / 2
    integrand = (1 - v) * v ** (2 * corrections - 1) / (1 - v + v * ratio**2)
    return float(corrections * np.sum(weights * integrand))


class _Multistep:
    r"""Linear multistep method: the integral of the polynomial through the last estimates.

    .. math:: x(r') = \frac{r'}{r} x(r) + r' \int_{r'}^{r} \frac{m(\rho)}{\rho^2} d\rho \qquad \text{or} \qquad
        x(r') = x(r) + \int_r^{r'} \frac{x - m}{\rho} d\rho

    with the polynomial in :math:`\log \rho` for the first (exponential) and in :math:`\rho` for the second.

    Parameters
    ----------
    levels
        Noise levels.
    order
        Number of estimates.
    exponential
        Which of the two.
    repeats
        Whether the last step is repeated with the estimate at its end, before the next one.
    """

    def __init__(self, levels: list[float], *, order: int, exponential: bool = True, repeats: bool = False) -> None:
        self.levels, self.order, self.exponential, self.repeats = levels, order, exponential, repeats
        self.history: list[tuple[float, Tensor]] = []
        self.start: tuple[float, Tensor] | None = None

    def __call__(self, x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
        level = self.levels[i]
        self.history = [*self.history, (level, mean if self.exponential else (x - mean) / level)][-self.order :]
        if self.repeats and self.start is not None:
            x = self._integrate(*self.start, level)
        self.start = level, x
        return self._integrate(level, x, target), (x - mean) / level

    def _integrate(self, level: float, x: Tensor, target: float) -> Tensor:
        nodes = [node for node, _ in self.history]
        if self.exponential:
            weights = _weights([math.log(n) for n in nodes], math.log(target), math.log(level), target)
            x = target / level * x
        else:
            weights = _weights(nodes, level, target)
        for weight, (_, value) in zip(weights, self.history, strict=True):
            x = x + weight * value
        return x


def _weights(nodes: list[float], start: float, stop: float, scale: float | None = None) -> list[float]:
    r"""Integrals from `start` to `stop` of the Lagrange polynomials of `nodes`.

    With a `scale` they are weighted by :math:`scale \, e^{-v}`, as data prediction in log ratios wants it. Gauss's
    formula is exact for the polynomials and, for steps of any use, to rounding also for their product with an
    exponential.
    """
    points, weights = np.polynomial.legendre.leggauss(12)
    v = (start + stop) / 2 + (stop - start) / 2 * points
    weights = weights * (stop - start) / 2
    if scale is not None:
        weights = weights * scale * np.exp(-v)
    others = [[m for k, m in enumerate(nodes) if k != j] for j in range(len(nodes))]
    basis = [np.prod([(v - m) / (n - m) for m in rest], axis=0) for n, rest in zip(nodes, others, strict=True)]
    return [float(np.sum(weights * b)) for b in basis]
