r"""Covariance of latent frames that varies with the season.

A stationary process :math:`w` is mixed by a matrix that varies smoothly through the year,

.. math:: z_t = A(s_t) \, w_t , \qquad A(s) = I + V X(s) V^* , \qquad
    X(s) = \Lambda^{1/2} \sum_k h_k(s) B_k \Lambda^{-1/2}

with the leading modes :math:`V` of the year and their variances :math:`\Lambda`, annual harmonics :math:`h_k` and
Hermitian matrices :math:`B_k`. The covariance of frames :math:`t` and :math:`t'` is
:math:`A(s_t) C(t - t') A(s_{t'})^*` with the lag covariances :math:`C` of :math:`w`: it is positive whatever the
seasons of a window, and there is no edge between one season and the next. In units of the standard deviation of the
modes :math:`I + \sum_k h_k B_k` is the symmetric square root of the covariance of a season, estimated from the days
around it and shrunk towards that of the year.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xslams.linalg.eigen import eigh
from xslams.networks.seasons import harmonics

if TYPE_CHECKING:
    from xslams.networks.seasons import Gaps
    from xslams.priors.blocks import Blocks

__all__ = ["SeasonalMap", "SeasonalMixing"]

# Standard deviation of the weights of days by their distance from a season, in years; seasons at which covariances are
# estimated; annual harmonics of the mixing.
_WIDTH, _SEASONS, _ORDER = 45 / 365.25, 24, 1
# By how much a season may change the standard deviation of a direction at most: the mixing can be inverted.
_LARGEST = 0.9
# Of the largest variance: modes with less have none that could vary.
_LEAST = 1e-5


class SeasonalMixing(nn.Module):
    """The mixing of a process into frames whose covariance varies with the season.

    Parameters
    ----------
    layout
        Blocks of a latent frame.
    modes
        Leading modes, of each block, whose covariances vary.
    gaps
        Gaps in the year that training data leave.
    """

    modes: Tensor
    changes: Tensor

    def __init__(self, layout: Blocks, modes: int, gaps: Gaps = ()) -> None:
        super().__init__()
        self.layout, self.gaps = layout, gaps
        modes, pair = min(modes, layout.size), 2 if layout.periodic else 1
        self.register_buffer("modes", torch.zeros(layout.count, layout.size, modes, pair))
        self.register_buffer("changes", torch.zeros(2 * _ORDER, layout.count, modes, modes, pair))

    @torch.no_grad()
    def fit(self, runs: list[Tensor], seasons: list[Tensor], *, seasonality: float) -> None:
        """Estimate the mixing.

        Parameters
        ----------
        runs
            Stretches of latent frames, each ``(T, z, z_lat, z_lon)``.
        seasons
            Fraction of the year of their frames.
        seasonality
            Weight, 0 to 1, of the covariance of a season against that of the year.
        """
        frames, season = torch.cat(runs)[None], torch.cat(seasons)
        blocks = self.layout.split(frames)[:, 0]
        centres = (torch.arange(_SEASONS, device=season.device) + 0.5) / _SEASONS
        apart = (season - centres[:, None] + 0.5) % 1 - 0.5
        weights = torch.exp(-0.5 * (apart / _WIDTH).square()).to(frames)
        weights = weights / weights.sum(1, keepdim=True)
        basis = harmonics(centres.double(), _ORDER)
        project = torch.linalg.pinv(basis)[1:].to(frames)
        for m, block in enumerate(blocks):
            vectors, changes = self._changes(block, weights, project, basis[:, 1:].to(frames), seasonality)
            self.modes[m] = self._stored(vectors)
            self.changes[:, m] = self._stored(changes)

    def _changes(
        self, block: Tensor, weights: Tensor, project: Tensor, basis: Tensor, seasonality: float
    ) -> tuple[Tensor, Tensor]:
        """Leading modes of a block, and how their mixing changes with each harmonic."""
        count = self.modes.shape[2]
        values, vectors = eigh(block.T @ block.conj().resolve_conj() / len(block))
        values, vectors = values.flip(0)[:count].clamp(min=0), vectors.flip(1)[:, :count]
        varies = (values > _LEAST * values[0]).to(values)
        deviation = torch.where(varies > 0, values, 1.0).sqrt()
        amplitude = (block @ vectors.conj()) * (varies / deviation)
        eye = torch.eye(count, dtype=block.dtype, device=block.device)
        roots = []
        for weight in weights:
            own = amplitude.T @ (weight[:, None] * amplitude.conj())
            root, turned = eigh(seasonality * own + (1 - seasonality) * eye)
            roots.append((turned * root.clamp(min=0).sqrt()) @ turned.mH)
        changes = torch.einsum("ks,sij->kij", project.to(block.dtype), torch.stack(roots))
        over_the_year = torch.einsum("sk,kij->sij", basis.to(block.dtype), changes)
        norm = torch.stack([eigh(change)[0].abs().amax() for change in over_the_year]).amax()
        changes = changes * (_LARGEST / norm.clamp(min=_LARGEST))
        return vectors, deviation[:, None] * varies[:, None] * changes * (varies / deviation)

    def _stored(self, numbers: Tensor) -> Tensor:
        return torch.view_as_real(numbers) if self.layout.periodic else numbers[..., None]

    def at(self, season: Tensor) -> SeasonalMap:
        """Return the mixing of frames in given seasons.

        Parameters
        ----------
        season
            Fraction of the year of every frame, shape ``(L,)``, or ``(B, L)`` where trajectories differ.
        """
        return SeasonalMap(self, season)


class SeasonalMap:
    """The mixing of the frames of trajectories, a linear map, with its adjoint and its inverse.

    Parameters
    ----------
    mixing
        Estimated.
    season
        Fraction of the year of every frame, shape ``(L,)`` or ``(B, L)``.
    """

    def __init__(self, mixing: SeasonalMixing, season: Tensor) -> None:
        self._layout = mixing.layout
        modes, changes = (a.float() for a in (mixing.modes, mixing.changes))
        periodic = mixing.layout.periodic
        self._modes = torch.view_as_complex(modes.contiguous()) if periodic else modes[..., 0]
        changes = torch.view_as_complex(changes.contiguous()) if periodic else changes[..., 0]
        self._changes = changes
        self._harmonics = harmonics(torch.atleast_2d(season), _ORDER, mixing.gaps)[..., 1:].to(changes.real.dtype)

    def __call__(self, w: Tensor) -> Tensor:
        """Mix frames ``(B, L, z, z_lat, z_lon)`` of the process; differentiable."""
        return self._times(self._changes, w)

    def adjoint(self, z: Tensor) -> Tensor:
        """Apply the adjoint."""
        return self._times(self._changes.mH, z)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the frames of the process that are mixed to `z`."""
        f, amplitude = self._amplitude(z)
        # Woodbury's identity; modes in few bits are not quite orthonormal.
        gram = self._modes.mH @ self._modes
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        h = self._harmonics.to(gram.dtype)
        matrix = eye + torch.einsum("blk,kmij->mblij", h, self._changes @ gram)
        changed = torch.linalg.solve(matrix, self._changed(self._changes, amplitude)[..., None])[..., 0]
        return self._joined(f, -changed)

    def _times(self, changes: Tensor, z: Tensor) -> Tensor:
        """Add to frames what changes of the amplitudes of their modes, one for each harmonic, make."""
        f, amplitude = self._amplitude(z)
        return self._joined(f, self._changed(changes, amplitude))

    def _amplitude(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks of frames ``(blocks, B, L, size)``, and amplitudes of their modes."""
        f = self._layout.split(z)
        return f, _product(f, self._modes.conj())

    def _changed(self, changes: Tensor, amplitude: Tensor) -> Tensor:
        """Multiply amplitudes with the sum of harmonics times changes.

        The products come first: the matrices of all frames are many times larger than what they are multiplied with.
        """
        parts = zip(self._harmonics.unbind(-1), changes, strict=True)
        return torch.stack([h[..., None] * _product(amplitude, change.mT) for h, change in parts]).sum(0)

    def _joined(self, f: Tensor, changed: Tensor) -> Tensor:
        return self._layout.join(f + _product(changed, self._modes.mT))


def _product(f: Tensor, matrices: Tensor) -> Tensor:
    """Multiply blocks ``(blocks, B, L, n)`` with a matrix ``(blocks, n, k)`` for each."""
    return (f.flatten(1, 2) @ matrices).unflatten(1, f.shape[1:3])
