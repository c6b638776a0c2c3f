r"""Samplers of the reverse process, with noise that belongs to its member.

azula's samplers draw from torch's global generator; here every draw comes from a `Noise`, so that a member is the same
whatever batch it is computed in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from azula.sample import DDIMSampler, DDPMSampler, HeunSampler, Sampler, xEABSampler, zABSampler
from torch import Tensor
from tqdm import tqdm

from xslams.errors import SlamsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azula.denoise import Denoiser

__all__ = ["SAMPLERS", "GeneratorNoise", "KeyedNoise", "Noise", "sample"]

SAMPLERS = ("auto", "ab2", "ddim", "ddpm", "dpmpp2m", "heun")


class Noise(Protocol):
    """Source of standard normal noise of the shape of the state."""

    def __call__(self, draw: int) -> Tensor:
        """Return the draw of that number."""
        ...


class GeneratorNoise:
    """Noise from one generator, draw after draw."""

    def __init__(self, shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> None:
        self.shape, self.generator, self.like = tuple(shape), generator, like

    def __call__(self, draw: int) -> Tensor:
        """Return the next draw."""
        device = self.like.device if self.generator is None else self.generator.device
        noise = torch.randn(self.shape, generator=self.generator, dtype=self.like.dtype, device=device)
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
    """

    def __init__(
        self,
        seed: int,
        members: Sequence[int],
        labels: Sequence[int],
        frame_shape: tuple[int, ...],
        device: torch.device | str = "cpu",
    ) -> None:
        self.seed, self.members, self.labels = seed, members, labels
        self.frame_shape = frame_shape
        self.device = device

    def __call__(self, draw: int) -> Tensor:
        """Return draw number `draw`, shape ``(member, time, *frame_shape)``."""
        out = torch.empty(len(self.members), len(self.labels), *self.frame_shape)
        generator = torch.Generator()
        for i, member in enumerate(self.members):
            for j, label in enumerate(self.labels):
                # Labels before 1970 are negative, which a seed sequence refuses.
                key = np.random.SeedSequence([self.seed, member, label % 2**63, draw])
                generator.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
                torch.randn(self.frame_shape, generator=generator, out=out[i, j])
        return out.to(self.device)


def _base(name: str, denoiser: Denoiser, steps: int, device: torch.device) -> Sampler:
    if name in ("auto", "dpmpp2m"):
        return xEABSampler(denoiser, order=2, steps=steps, silent=True, device=device)
    if name == "ab2":
        return zABSampler(denoiser, order=2, steps=steps, silent=True, device=device)
    if name == "ddim":
        return DDIMSampler(denoiser, steps=steps, silent=True, device=device)
    if name == "heun":
        # Two calls per step: half the steps cost as many calls as the others.
        return HeunSampler(denoiser, steps=max(steps // 2, 1), silent=True, device=device)
    if name == "ddpm":
        return DDPMSampler(denoiser, steps=steps, silent=True, device=device)
    msg = f"Unknown sampler {name!r}; choose one of {', '.join(map(repr, SAMPLERS))}."
    raise SlamsError(msg)


def sample(
    denoiser: Denoiser,
    x: Tensor,
    noise: Noise,
    *,
    sampler: str = "auto",
    steps: int = 32,
    corrections: int = 0,
    t: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    """Run the reverse process.

    Parameters
    ----------
    denoiser
        Guided or plain denoiser.
    x
        Initial noisy tensor, shape ``(B, *)``.
    noise
        Source of noise; draw 0 made `x`.
    sampler
        One of `SAMPLERS`. ``"auto"`` is the second-order multistep solver with data prediction (DPM-Solver++ 2M), which
        needs the fewest calls on a grid that is uniform in log-SNR.
    steps
        Number of network calls without corrections.
    corrections
        Langevin steps at every noise level, one more call each.
    t
        Times from 1 to 0, shape ``(steps + 1,)``; by default uniform.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Tensor
        Samples, shape ``(B, *)``.
    """
    base = _base(sampler, denoiser, steps, x.device)
    times = base.timesteps if t is None else t.to(x.device)
    draws = iter(range(1, 1 << 31))
    bar = tqdm(total=len(times) - 1, desc="sampling", disable=not progress, unit="step", leave=False)
    alpha, sigma = denoiser.schedule(times)
    grid = sigma.log() - alpha.log() if isinstance(base, xEABSampler) else sigma / alpha
    buffer: list[Tensor] = []
    with bar, torch.no_grad():
        for i in range(len(times) - 1):
            time, after = times[i], times[i + 1]
            for _ in range(corrections):
                x = _langevin(denoiser, x, time, noise(next(draws)))
            if isinstance(base, DDPMSampler):
                x = _ddpm(denoiser, x, time, after, noise(next(draws)))
            elif isinstance(base, xEABSampler):
                buffer = [*buffer[-1:], denoiser(x, time).mean]
                weights = base._exponential_adams_bashforth(grid, i=i, n=2)
                x = sigma[i + 1] / sigma[i] * x - sigma[i + 1] * _combine(weights, buffer)
            elif isinstance(base, zABSampler):
                buffer = [*buffer[-1:], (x - alpha[i] * denoiser(x, time).mean) / sigma[i]]
                weights = base._adams_bashforth(grid, i=i, n=2)
                x = alpha[i + 1] / alpha[i] * x + alpha[i + 1] * _combine(weights, buffer)
            else:
                x = base.step(x, time, after)
            bar.update()
    return x


def _combine(weights: Tensor, buffer: list[Tensor]) -> Tensor:
    """Weighted sum of the last estimates."""
    return torch.stack([w.to(b) * b for w, b in zip(weights, buffer, strict=True)]).sum(0)


def _langevin(denoiser: Denoiser, x: Tensor, t: Tensor, noise: Tensor, delta: float = 0.05) -> Tensor:
    """One corrector step that leaves the marginal at `t` as it is (as in azula's PCSampler)."""
    alpha, sigma = denoiser.schedule(t)
    mean = alpha * denoiser(x, t).mean
    return mean + math.sqrt(1 - delta) * (x - mean) + math.sqrt(delta) * sigma * noise


def _ddpm(denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """One ancestral step from `t` to `s` (as in azula's DDPMSampler)."""
    alpha_s, sigma_s = denoiser.schedule(s)
    alpha_t, sigma_t = denoiser.schedule(t)
    tau = 1 - (alpha_t / alpha_s * sigma_s / sigma_t) ** 2
    mean = denoiser(x, t).mean
    x_s = alpha_s * mean + sigma_s * torch.sqrt(1 - tau) / sigma_t * (x - alpha_t * mean)
    return x_s + sigma_s * torch.sqrt(tau) * noise
