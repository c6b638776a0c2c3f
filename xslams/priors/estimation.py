"""What Gaussian priors are estimated from: modes and covariances of runs of latent frames.

Finding the modes takes most of the time, and priors that differ in the number of their modes, or in what is made of
their covariances, share them: they are found once for a sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.linalg.eigen import eigh

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from xslams.priors.blocks import Blocks

__all__ = ["FRAMES", "Sample"]

#: Frames that tell how covariances differ from place to place: more tell little more.
FRAMES = 2000


class Sample:
    """Contiguous runs of latent frames, and what was found of them.

    Parameters
    ----------
    layout
        Blocks of a frame.
    runs
        Contiguous stretches of frames, each ``(T, z, z_lat, z_lon)``.
    folds
        Number of contiguous parts, each of which in turn measures variance and autocovariance, rank by rank, along
        modes found without it; 0 takes them from the frames that the modes were found with. Modes fit the noise of
        their own sample: the variance along the first is overrated by a third or more, along the last underrated.
    taper
        Localisation of the covariance of a block, shape ``(size, size)``.
    """

    def __init__(self, layout: Blocks, runs: list[Tensor], *, folds: int = 0, taper: Tensor | None = None) -> None:
        self.folds, self.taper = folds, taper
        self._layout = layout
        self._runs = [layout.split(run[None])[:, 0] for run in runs]
        self._groups = _groups(self._runs, folds) if folds else []
        self._found: dict[Hashable, tuple[Tensor, ...]] = {}
        self._decompositions: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def parts(self, most: int = FRAMES) -> list[list[Tensor]]:
        """Blocks ``(blocks, T, size)`` of the frames of each group that is left out in turn; of all without folds.

        Parameters
        ----------
        most
            About how many frames at most: of more, some that are spread over all of them.
        """
        step = -(-sum(run.shape[1] for run in self._runs) // most)
        return [[run[:, ::step] for run in group] for group in self._groups or [self._runs]]

    def decomposed(self, m: int, modes: int) -> tuple[Tensor, Tensor]:
        """All eigenvalues of the covariance of a block, largest first, and the leading modes."""
        return self._decompose(m, -1, modes)

    def autocovariances(self, m: int, modes: int, lags: int) -> tuple[Tensor, ...]:
        """Autocovariances ``(lags + 1, modes)``, variances along modes; variance and lag-1 covariance of the rest.

        Variances are those of frames that were left out, rank by rank. Correlations in time are those of the modes
        themselves: those of the same rank are other waves where other frames are left out, with other periods.
        """

        def found() -> tuple[Tensor, ...]:
            lagged, power, rest = self._autocovariances(self._parts(m, modes), lags)
            if self.folds:
                own = self.decomposed(m, modes)[1], [run[m] for run in self._runs]
                lagged, variance, _ = self._autocovariances([own], lags)
                lagged = lagged * (power / variance.clamp(min=1e-12))
            return lagged, power, rest

        return self.once(("own", m, modes, lags), found)

    def tapered(self, m: int, modes: int) -> Tensor:
        """Variances along modes by the tapered covariances of other frames than they were found with."""
        return self.once(("tapered", m, modes), lambda: (self._tapered(m, self._parts(m, modes)),))[0]

    def lagged(self, m: int, modes: int, lags: int) -> Tensor:
        """Return sums of products of the amplitudes of leading modes, ``(lags + 1, modes, modes)``."""

        def found() -> tuple[Tensor]:
            vectors = self.decomposed(m, modes)[1]
            amplitudes = [run[m] @ vectors.conj() for run in self._runs]
            sums = [
                torch.stack([x.mT @ y.conj() for x, y in _pairs(amplitudes, lag)]).sum(0) for lag in range(1 + lags)
            ]
            return (torch.stack(sums),)

        return self.once(("lagged", m, modes, lags), found)[0]

    def once(self, key: Hashable, find: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return what was found for the same key before, or else find it.

        Parameters
        ----------
        key
            All that it depends on besides the sample.
        find
            Finds it.
        """
        if key not in self._found:
            self._found[key] = find()
        return self._found[key]

    def _parts(self, m: int, modes: int) -> list[tuple[Tensor, list[Tensor]]]:
        """Modes, and the runs whose variances along them count."""
        if not self.folds:
            return [(self.decomposed(m, modes)[1], [run[m] for run in self._runs])]
        return [(self._decompose(m, i, modes)[1], [p[m] for p in group]) for i, group in enumerate(self._groups)]

    def _decompose(self, m: int, without: int, modes: int) -> tuple[Tensor, Tensor]:
        """Decompose the covariance of a block without one group, of all frames by -1."""
        known = self._decompositions.get((m, without))
        if known is None or known[1].shape[1] < modes:
            groups = [group for i, group in enumerate(self._groups) if i != without]
            runs = self._runs if without < 0 else [p for group in groups for p in group]
            values, vectors = eigh(self._covariance([run[m] for run in runs], m))
            known = values.flip(0).real.clamp(min=0), vectors.flip(1)[:, :modes].clone()
            self._decompositions[m, without] = known
        return known[0], known[1][:, :modes]

    def _tapered(self, m: int, parts: list[tuple[Tensor, list[Tensor]]]) -> Tensor:
        count = sum(len(run) for _, runs in parts for run in runs)
        return torch.stack(
            [
                (vectors.conj() * (self._covariance(runs, m) @ vectors)).sum(0).real * (sum(map(len, runs)) / count)
                for vectors, runs in parts
            ]
        ).sum(0)

    def _covariance(self, runs: list[Tensor], m: int) -> Tensor:
        """Covariance of a block."""
        size = self._layout.size
        cov = runs[0].new_zeros(size, size)
        for run in runs:
            cov.addmm_(run.T, run.conj().resolve_conj())
        cov /= sum(map(len, runs))
        if self._layout.periodic and self._layout.is_real(m):
            cov = cov.real.to(cov.dtype)
        return cov if self.taper is None else cov * self.taper

    def _autocovariances(self, parts: list[tuple[Tensor, list[Tensor]]], lags: int) -> tuple[Tensor, ...]:
        amplitudes = [run @ vectors.conj() for vectors, runs in parts for run in runs]
        rests = [run - run @ vectors.conj() @ vectors.mT for vectors, runs in parts for run in runs]
        frames = sum(map(len, rests))
        lagged = []
        for lag in range(lags + 1):
            total = torch.stack([(later * earlier.conj()).sum(0) for later, earlier in _pairs(amplitudes, lag)]).sum(0)
            # Divided by the number of frames, not of pairs: only then are autocovariances positive definite.
            lagged.append(total / frames)
        variance = torch.stack([r.abs().square().sum() for r in rests]).sum() / frames
        covariance = torch.stack([(r[1:] * r[:-1].conj()).real.sum() for r in rests]).sum() / frames
        return torch.stack(lagged), lagged[0].real, torch.stack([variance, covariance])


def _pairs(runs: list[Tensor], lag: int) -> list[tuple[Tensor, Tensor]]:
    """Frames of each run that are `lag` apart, the later ones first; none of a run that is shorter."""
    return [(run[lag:], run[: max(len(run) - lag, 0)]) for run in runs]


def _groups(runs: list[Tensor], folds: int) -> list[list[Tensor]]:
    """Deal runs ``(blocks, T, size)`` out to contiguous groups of about a share each; long runs are split."""
    count = sum(run.shape[1] for run in runs)
    pieces = [p for run in runs for p in run.tensor_split(max(round(run.shape[1] * folds / count), 1), dim=1)]
    groups: list[list[Tensor]] = [[]]
    before = 0
    for piece in pieces:
        if groups[-1] and before >= len(groups) * count / folds - piece.shape[1] / 2:
            groups.append([])
        groups[-1].append(piece)
        before += piece.shape[1]
    return groups
