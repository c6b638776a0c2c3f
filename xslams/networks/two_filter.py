r"""A network that denoises trajectories of small systems as a smoother does: with a filter in each direction of time.

The trajectory of a Markov process, seen through noise, is estimated by a filter that runs forward, another that runs
backward, and a combination of the two at every frame (two-filter smoother [1]_). Here both filters are recurrent
networks, whose memory is not limited by a window, and a third network combines them. Frames have channels on a circle
of sites; a system without space has one site.

Its output is Gaussian, :math:`p(z \mid z_t) \approx \mathcal{N}(\hat z, V_t)`, and is trained by its likelihood.
With ``blocks`` the precision matrix has the form that it has for a Markov process,

.. math:: V_t^{-1} = s_t^{-2} \, U^\top U, \qquad (U e)_i = D_i^\top e_i + N_i^\top e_{i+1}

with lower triangular :math:`D_i`: block-tridiagonal, with one block for every frame and one for every pair of
neighbours. Guidance then needs no derivative of the network. Otherwise the precision matrix is diagonal: it weighs the
errors in training and holds no correlations.

References
----------
.. [1] Fraser and Potter, The optimum linear smoother as a combination of two optimum linear filters, 1969,
   doi:10.1109/TAC.1969.1099196.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xslams.networks.layers import NOISE_FEATURES, Sites, noise_features

__all__ = ["TrajectoryEstimate", "TwoFilter"]

# Change from frame to frame that the inputs resolve, where there is less noise than that, relative to the climate.
_SMALLEST_CHANGE = 0.02
# Logarithm of the largest precision, relative to the scale s.
_LARGEST = 9.0


@dataclass(frozen=True)
class TrajectoryEstimate:
    """Mean of trajectories given noisy ones, and a root of the precision of its error.

    Attributes
    ----------
    mean
        Shape ``(B, L, channel, site)``.
    scale
        Unit of the factors :math:`s_t`, shape ``(B,)``.
    diagonal
        Blocks :math:`D_i`, shape ``(B, L, n, n)`` with ``n`` channels; or the elements of a diagonal precision's root,
        shape of `mean`.
    neighbour
        Blocks :math:`N_i`, shape ``(B, L, n, n)``, of which the last has no meaning; None where it is diagonal.
    """

    mean: Tensor
    scale: Tensor
    diagonal: Tensor
    neighbour: Tensor | None

    def negative_log_likelihood(self, z: Tensor) -> Tensor:
        r"""Return :math:`-\log p(z)` per frame, without constants and in units of `scale`; shape ``(B,)``."""
        error = (z - self.mean) / self.scale[:, None, None, None]
        if self.neighbour is None:
            per_frame = 0.5 * (self.diagonal * error).square() - self.diagonal.log()
            return per_frame.sum((2, 3)).mean(1)
        e = error.squeeze(-1)
        white = torch.einsum("blij,bli->blj", self.diagonal, e)
        ahead = torch.einsum("blij,bli->blj", self.neighbour[:, :-1], e[:, 1:])
        white = white + F.pad(ahead, (0, 0, 0, 1))
        roots = self.diagonal.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (0.5 * white.square().sum(-1) - roots).mean(1)


class _Filter(nn.Module):
    """Recurrent network over frames, with a memory per site that each frame updates."""

    def __init__(self, inputs: int, memory: int, hidden: int, reach: int) -> None:
        super().__init__()
        self.memory = memory
        self.read = Sites(inputs, hidden, reach)
        self.recall = Sites(memory, hidden, reach, bias=False)
        self.mix = nn.Linear(hidden, hidden)
        self.update = nn.Linear(hidden, 2 * memory)

    def forward(self, frames: Tensor, gain: Tensor, shift: Tensor, *, backward: bool) -> Tensor:
        """Run over frames ``(L, B, site, inputs)``, in either direction; memories ``(L, B, site, memory)``."""
        read = self.read(frames) * gain + shift
        memory = frames.new_zeros(*frames.shape[1:3], self.memory)
        out: list[Tensor] = []
        for one in reversed(read.unbind(0)) if backward else read.unbind(0):
            h = F.silu(one + self.recall(memory) * gain)
            h = F.silu(self.mix(h))
            rate, value = self.update(h).chunk(2, dim=-1)
            # One frame renews about a quarter of the memory before anything is learned.
            memory = torch.lerp(memory, value, torch.sigmoid(rate - 1))
            out.append(memory)
        return torch.stack(out[::-1] if backward else out)


class TwoFilter(nn.Module):
    """Two recurrent filters and their combination.

    Parameters
    ----------
    channels, sites
        Shape of a frame.
    memory
        Size of each filter's memory per site.
    hidden
        Width of the hidden layers.
    reach
        Sites on both sides of a site that enter its update at each frame.
    blocks
        Whether the precision is block-tridiagonal; for one site only.
    """

    def __init__(self, channels: int, sites: int, *, memory: int, hidden: int, reach: int, blocks: bool) -> None:
        super().__init__()
        self.channels, self.sites, self.blocks = channels, sites, blocks
        embedding = 64
        self.embed = nn.Sequential(
            nn.Linear(NOISE_FEATURES, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.step = nn.Sequential(
            Sites(channels, 32, reach), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, channels)
        )
        inputs = 4 * channels
        self.ahead = _Filter(inputs, memory, hidden, reach)
        self.back = _Filter(inputs, memory, hidden, reach)
        self.combine = Sites(4 * memory + inputs, hidden, 0)
        self.mix = nn.Linear(hidden, hidden)
        self.modulate = nn.Linear(embedding, 6 * hidden)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        n = channels
        self.last = nn.Linear(hidden, n + (n * (n + 1) // 2 + n * n if blocks else n))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z_t: Tensor, sigma: Tensor) -> TrajectoryEstimate:
        """Estimate trajectories of unit variance from noisy ones.

        Parameters
        ----------
        z_t
            Trajectories with noise, ``z + sigma noise``, shape ``(B, L, channel, site)``.
        sigma
            Noise, shape ``(B,)``.
        """
        shrink = torch.rsqrt(1 + sigma**2)
        scale = sigma * shrink
        e = self.modulate(self.embed(torch.cat(noise_features(sigma.log()), dim=1)))
        gains = e[:, None].chunk(6, dim=-1)
        frames = (z_t * shrink[:, None, None, None]).permute(1, 0, 3, 2).contiguous()  # (L, B, site, channel)
        features = self._features(frames, scale[:, None, None])
        ahead = self.ahead(features, 1 + gains[0], gains[1], backward=False)
        back = self.back(features, 1 + gains[2], gains[3], backward=True)
        # The memories that do not yet hold this frame count as well.
        before = torch.cat([torch.zeros_like(ahead[:1]), ahead[:-1]])
        after = torch.cat([back[1:], torch.zeros_like(back[:1])])
        h = self.combine(torch.cat([ahead, back, before, after, features], dim=-1))
        h = F.silu(self.mix(F.silu(h * (1 + gains[4]) + gains[5])))
        out = self.last(h).permute(1, 0, 3, 2)  # (B, L, outputs, site)
        n = self.channels
        mean = z_t * (shrink**2)[:, None, None, None] + scale[:, None, None, None] * out[:, :, :n]
        if not self.blocks:
            return TrajectoryEstimate(mean, scale, out[:, :, n:].clamp(-_LARGEST, _LARGEST).exp(), None)
        flat = out[..., 0]
        count = n * (n + 1) // 2
        rows, columns = torch.tril_indices(n, n, device=z_t.device)
        triangle = flat.new_zeros(*flat.shape[:2], n, n)
        triangle[..., rows, columns] = flat[..., n : n + count]
        logarithms = triangle.diagonal(dim1=-2, dim2=-1)
        roots = logarithms.clamp(-_LARGEST, _LARGEST).exp()
        diagonal = triangle + torch.diag_embed(roots - logarithms)
        return TrajectoryEstimate(mean, scale, diagonal, flat[..., n + count :].unflatten(-1, (n, n)))

    def _features(self, frames: Tensor, scale: Tensor) -> Tensor:
        """Frames, their changes to the next, and the residuals of a learned step from the last frame and to the next.

        Changes and residuals have about the noise of the frames. Divided by it they are of order one at any noise
        level, so that small changes, which matter where there is little noise, are not lost in the large values of the
        frames.
        """
        change = frames[1:] - frames[:-1]
        residual = change - 0.3 * self.step(frames[:-1])
        unit = torch.rsqrt(2 * scale**2 + _SMALLEST_CHANGE**2)
        change = change * torch.rsqrt(2 * scale**2 + (5 * _SMALLEST_CHANGE) ** 2)
        first, last = F.pad(residual * unit, (0, 0, 0, 0, 0, 0, 1, 0)), F.pad(residual * unit, (0, 0, 0, 0, 0, 0, 0, 1))
        return torch.cat([frames, F.pad(change, (0, 0, 0, 0, 0, 0, 0, 1)), first, last], dim=-1)
