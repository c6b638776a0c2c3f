r"""Covariances that differ from place to place along latitude circles.

The Gaussian prior of a grid that is periodic in longitude is the same along a latitude circle. A process :math:`w` of
this kind is mixed by one matrix,

.. math:: z = A \, w , \qquad A = I + V X V^\top , \qquad
    X = \Lambda^{1/2} \left( S^{1/2} - I \right) \Lambda^{-1/2} , \qquad
    S = (1 - \gamma) \, I + \gamma \, \Lambda^{-1/2} V^\top (T \circ \hat C) V \Lambda^{-1/2}

with the leading modes :math:`V` of all zonal wavenumbers, whose real and imaginary parts are the coordinates, their
variances :math:`\Lambda`, and the sample covariance :math:`\hat C` of cells, tapered by a correlation :math:`T` of
distances on the sphere. The covariance of the leading modes is then
:math:`(1 - \gamma) \Lambda + \gamma \, V^\top (T \circ \hat C) V`, that of a homogeneous process and of a local one in
a given proportion: with few frames either alone is worse, since covariances do differ from place to place, and those of
a sample are noisy. Eigenvectors of the local part fit the noise of their own sample, so that its eigenvalues are those
that frames have which were left out, rank by rank. The covariance of the other modes, and correlations in time, are
those of :math:`w`, mixed. As :math:`A` belongs to the map from the process to the fields, functions of the covariance
of :math:`w` cost what they did.

The taper is a sum of products of smooth functions :math:`u_j` of place, :math:`T(x, y) = \sum_j u_j(x) u_j(y)`, so that
the tapered covariance is that of the frames times each of them,

.. math:: V^\top (T \circ \hat C) V = \sum_j \big\langle V^\top (u_j z) \, (u_j z)^\top V \big\rangle ,

which is positive, and takes a number of products with :math:`V` where the matrix of all pairs of cells would not fit.
Along a latitude circle the functions are waves: their products with frames are shifts of wavenumbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from xslams.linalg.eigen import eigh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.priors.blocks import Blocks
    from xslams.priors.estimation import Sample
    from xslams.priors.gaussian import StationaryGaussian

__all__ = ["LocalMap", "LocalMixing", "TaperFunctions"]

# Least eigenvalue of the covariance in units of the homogeneous one: the mixing can be inverted.
_LEAST = 0.01
# Of the largest variance: modes with less are left as they are.
_FAINTEST = 1e-5
# Numbers in the products of frames with functions that are held at once.
_NUMBERS = 2**23


class TaperFunctions(NamedTuple):
    r"""Functions of place whose products add up to a taper.

    That of two places is :math:`\sum_p \cos(p \, \Delta\lambda) \sum_k u_{pk}(\varphi) u_{pk}(\varphi')`.

    Attributes
    ----------
    length
        Half of the distance at which the taper is zero, in km.
    waves
        Zonal wavenumbers :math:`p`.
    profiles
        Functions of latitude :math:`u_{pk}` of each of these, shape ``(k, lat)``.
    """

    length: float
    waves: tuple[int, ...]
    profiles: tuple[Tensor, ...]


class LocalMixing(nn.Module):
    """The mixing of a process that is homogeneous along latitude circles into frames that are not.

    Parameters
    ----------
    layout
        Blocks of a latent frame, one for each zonal wavenumber.
    modes
        Number of modes of each block that the Gaussian prior has.
    count
        Number of leading modes that are mixed; the real and the imaginary part of a wave count as one each.
    """

    index: Tensor
    change: Tensor

    def __init__(self, layout: Blocks, modes: int, count: int) -> None:
        super().__init__()
        real = [layout.is_real(m) for m in range(layout.count)]
        count = min(count, min(modes, layout.size) * sum(1 if r else 2 for r in real))
        # Places of the coordinates among real and imaginary parts (block, mode, part).
        self.register_buffer("index", torch.zeros(count, dtype=torch.int32))
        self.register_buffer("change", torch.zeros(count, count))
        self._made: tuple[list[tuple[Tensor, int]], LocalMap] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made from the weights; it need not travel with them."""
        return self.__dict__ | {"_made": None}

    def of(self, process: StationaryGaussian) -> LocalMap:
        """Return the mixing of frames of a process, made once as long as nothing changes.

        Parameters
        ----------
        process
            The process for which it was estimated.
        """
        state = [(part, part._version) for part in (process.modes, self.index, self.change)]
        known = self._made
        if known is not None and all(a is b and m == n for (a, m), (b, n) in zip(known[0], state, strict=True)):
            return known[1]
        made = LocalMap(process, self.index.long(), self.change.float().clone())
        self._made = state, made
        return made

    @torch.no_grad()
    def estimate(self, process: StationaryGaussian, sample: Sample, taper: TaperFunctions, *, locality: float) -> None:
        """Estimate the mixing.

        Parameters
        ----------
        process
            Estimated from the sample.
        sample
            Runs of frames.
        taper
            Localisation of the covariance of cells.
        locality
            Weight, 0 to 1, of the local covariance against the homogeneous one.
        """
        variances = process.variances()[:, :-1]
        both = variances[..., None].repeat(1, 1, 2)
        for m in range(process.blocks):
            if process.layout.is_real(m):
                both[m, :, 1] = -1.0
        # Parts of one wave have the same variance, and stay together.
        index = both.flatten().argsort(descending=True, stable=True)[: len(self.index)]
        self.index.copy_(index)
        variance = both.flatten()[index]
        varies = (variance > _FAINTEST * variance.amax()).to(variance)
        deviation = torch.where(varies > 0, variance, 1.0).sqrt()
        self.change.zero_()
        mixed = self.of(process)

        def found() -> tuple[Tensor, ...]:
            parts = sample.parts()
            count = sum(run.shape[1] for part in parts for run in part)
            scale = (varies / deviation) * (varies / deviation)[:, None] / count
            return _measured([scale * localised(mixed, part, taper) for part in parts])

        # Modes of the same number are the same ones.
        known = (process.modes.shape[2], taper.length, *(a.cpu().numpy().tobytes() for a in (index, deviation)))
        values, vectors = sample.once(("local", *known), found)
        root = (1 - locality + locality * values).clamp(min=_LEAST).sqrt()
        change = (vectors * (root - 1)) @ vectors.mT
        self.change.copy_((varies * deviation)[:, None] * change * (varies / deviation))


class LocalMap:
    """The mixing of frames, a linear map, with its adjoint and its inverse.

    Parameters
    ----------
    process
        Its modes are mixed.
    index
        Places of the coordinates among real and imaginary parts ``(block, mode, part)``.
    change
        What amplitudes add to each other.
    """

    def __init__(self, process: StationaryGaussian, index: Tensor, change: Tensor) -> None:
        self.layout = layout = process.layout
        modes = process.modes.shape[2]
        block, mode, part = index // (2 * modes), index // 2 % modes, index % 2
        # Only those blocks and modes are gone through that have a part among the coordinates.
        self._blocks, self._modes = int(block.max()) + 1, int(mode.max()) + 1
        self._index = (block * self._modes + mode) * 2 + part
        basis = process.basis()[: self._blocks, :, : self._modes]
        # What the repair of modes in eight bits has left is repaired once more: the inverse takes them for orthonormal.
        gram = basis.mH @ basis
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        self._basis = basis @ (1.5 * eye - 0.5 * gram)
        self._conjugate = self._basis.conj().resolve_conj().contiguous()
        self._transposed = self._basis.mT.contiguous()
        real = torch.tensor([layout.is_real(m) for m in range(self._blocks)], device=index.device)
        # Waves stand for themselves and their conjugates.
        self._scale = torch.where(real, 1.0, 2.0**0.5)[:, None, None]
        self._change = change
        self._inverse: Tensor | None = None

    def __call__(self, w: Tensor) -> Tensor:
        """Mix frames ``(B, L, z, z_lat, z_lon)`` of the process; differentiable."""
        return self._added(w, self._change.mT)

    def adjoint(self, z: Tensor) -> Tensor:
        """Apply the adjoint."""
        return self._added(z, self._change)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the frames of the process that are mixed to `z`."""
        if self._inverse is None:
            eye = torch.eye(len(self._change), dtype=torch.float64, device=z.device)
            self._inverse = (torch.linalg.inv(eye + self._change.double()) - eye).to(self._change)
        return self._added(z, self._inverse.mT)

    def coordinates(self, f: Tensor) -> Tensor:
        """From the leading blocks ``(blocks, n, size)`` of frames to their amplitudes ``(n, count)``."""
        return self._parts(f @ self._conjugate)

    def moments(self, waves: Tensor, wave: int, profile: Tensor) -> Tensor:
        r"""Sum of products of amplitudes of frames times :math:`u \cos p \lambda` and :math:`u \sin p \lambda`.

        Parameters
        ----------
        waves
            Waves of frames, those of negative wavenumbers as well, shape ``(lon, n, size)``.
        wave, profile
            Zonal wavenumber :math:`p`, and the function of latitude repeated for all channels, shape ``(size,)``.
        """
        count, m = len(waves), torch.arange(self._blocks, device=waves.device)
        weighted = profile[:, None] * self._conjugate
        west, east = (waves[(m + shift) % count] @ weighted for shift in (-wave, wave))
        both = [west] if wave == 0 else [(west + east) / 2, (west - east) / 2j]
        return torch.stack([a.mT @ a for a in map(self._parts, both)]).sum(0)

    def _parts(self, amplitude: Tensor) -> Tensor:
        """From amplitudes ``(blocks, n, modes)`` to those of the coordinates ``(n, count)``."""
        parts = torch.view_as_real((self._scale * amplitude).resolve_conj()).permute(1, 0, 2, 3)
        return parts.flatten(1)[:, self._index]

    def _added(self, z: Tensor, matrix: Tensor) -> Tensor:
        """Add to frames what their amplitudes times a matrix make."""
        amplitude = self.coordinates(self.layout.split(z)[: self._blocks].flatten(1, 2)) @ matrix
        parts = amplitude.new_zeros(len(amplitude), self._blocks * self._modes * 2)
        parts = parts.index_copy(1, self._index, amplitude).unflatten(1, (self._blocks, self._modes, 2))
        waves = torch.view_as_complex(parts.permute(1, 0, 2, 3).contiguous()) / self._scale
        return z + self.layout.join((waves @ self._transposed).unflatten(1, z.shape[:2]))


def _measured(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a sum of parts; of several, values along eigenvectors of the others, by rank."""
    whole = torch.stack(list(parts)).sum(0)
    values, vectors = eigh((whole + whole.mT) / 2)
    if len(parts) > 1:
        values = torch.zeros_like(values)
        for part in parts:
            _, others = eigh((whole - part + (whole - part).mT) / 2)
            values += (others * (part @ others)).sum(0)
    return values, vectors


def localised(mixed: LocalMap, frames: Sequence[Tensor], taper: TaperFunctions) -> Tensor:
    """Sum of tapered products of the amplitudes of frames.

    Parameters
    ----------
    mixed
        Whose modes.
    frames
        Blocks of frames ``(blocks, T, size)`` of each run.
    taper
        Localisation of the covariance of cells.
    """
    channels, _, lon = mixed.layout.cells
    total = None
    for run in frames:
        for part in run.split(max(_NUMBERS // (lon * run.shape[2]), 1), dim=1):
            # Waves to the east are the conjugates of those to the west.
            waves = torch.cat([part, part[1 : (lon + 1) // 2].flip(0).conj()])
            for wave, profiles in zip(taper.waves, taper.profiles, strict=True):
                for profile in profiles:
                    moments = mixed.moments(waves, wave, profile.repeat(channels))
                    total = moments if total is None else total + moments
    assert total is not None
    return total
