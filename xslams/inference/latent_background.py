r"""A background whose errors are correlated, as an observation of latents.

The error of a background :math:`x_b = x + \epsilon` is taken to be one that the model's decoder :math:`D` represents,

.. math:: \epsilon = D S \zeta, \qquad \zeta \sim \mathcal{N}(0, C),

where :math:`C` is a correlation matrix of latent trajectories: by default that of the model's own Gaussian prior, so
that errors look like differences between two states of the model. :math:`S` has a symmetric matrix in each latent cell,
such that :math:`D S C S D^\top` has the standard deviations that are stated, and the correlation between levels if
one is stated. With :math:`b`, the latents of the
background, this is an observation of all latents with the error covariance :math:`R = S C S`, and :math:`R^{-1} =
S^{-1} C^{-1} S^{-1}` costs as much as the Gaussian prior itself.

What the background says of latents less than exactly, or not at all (variables that are not analysed, missing values),
is added to the covariance of each cell. Where the channels of a cell have other variances than one, :math:`S` is the
geometric mean of what is wanted and of the inverse of what :math:`C` has there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from azula.linalg.covariance import Covariance
from torch import Tensor

from xslams.inference.background_cells import (
    InColumns,
    cell_covariance,
    cell_errors,
    is_even,
    patterns,
    root_of,
    square_between,
    with_masked_cells,
)
from xslams.inference.background_latents import latents_of
from xslams.inference.background_sizes import areas, distributed, of_year
from xslams.inference.cell_matrices import CellMatrices
from xslams.inference.ensemble_background import (
    HybridCovariance,
    localized,
    sampling_weight,
    static_weight,
    whitened,
)
from xslams.inference.increments import Increments
from xslams.inference.operators import FieldOperator
from xslams.linalg.covariances import ProductCovariance
from xslams.linalg.eigen import eigh
from xslams.sphere import EARTH_RADIUS, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.likelihood import BackgroundCorrelation, SourceLikelihood
    from xslams.priors.base import Prior
    from xslams.priors.fields import FieldMap, LinearMaps
    from xslams.priors.gaussian import StationaryGaussian
    from xslams.spec import Spec

__all__ = ["LatentBackground", "LatentCorrelation", "LatentCovariance", "correlation_of"]

# Where a prior has no Gaussian: cells and frames over which errors are correlated.
_CELLS, _FRAMES = 2.0, 2.0
# Share of the stated variance up to which latents need not fit the background.
_FIT = 1e-3
# Error of the latents of a background, in standard deviations given its values, and most iterations to find them.
_CLOSE, _ITERATIONS = 4e-3, 100
# The same error for what members deviate, which is a sample of errors and need not be exact.
_OF_MEMBERS = 0.02
# Length over which the covariance of an ensemble is localised, by the root of its size: the more members, the smaller
# the correlations that they tell from chance.
_LOCAL = 500.0  # km
# Largest weight of the static covariance with an ensemble, of which something is to be left.
_MOST_STATIC = 0.999


class LatentCorrelation(Protocol):
    """Correlation of latent trajectories, of which functions are known."""

    def apply(self, function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        """Apply a function of the matrix to trajectories ``(B, L, *shape)``."""
        ...


class _InTime:
    """A covariance of frames, times a correlation in time."""

    def __init__(self, frames: LatentCorrelation, correlation: Tensor) -> None:
        self.frames = frames
        values, vectors = torch.linalg.eigh(correlation)
        self.values, self.vectors = values.clamp(min=0).float(), vectors.float()

    def apply(self, function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        """Apply a function: in the directions where time is diagonal, frame by frame."""
        turned = torch.einsum("ts,btcij->bscij", self.vectors, v)
        factors = self.values.repeat(len(v))
        done = self.frames.apply(lambda d: function(d * factors), turned.flatten(0, 1)[:, None])
        return torch.einsum("ts,bscij->btcij", self.vectors, done[:, 0].unflatten(0, v.shape[:2]))


class _Frames:
    """The Gaussian prior of single frames."""

    def __init__(self, process: StationaryGaussian) -> None:
        self.gaussian = process.trajectory(1)

    def apply(self, function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        """Apply a function of the covariance to frames ``(B, 1, *shape)``."""
        return self.gaussian.apply(function, v)


class _Cells:
    """A correlation of latent cells, the same for all channels."""

    def __init__(self, correlation: Tensor) -> None:
        values, vectors = torch.linalg.eigh(correlation)
        self.values, self.vectors = values.clamp(min=0).float(), vectors.float()

    def apply(self, function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        """Apply a function of the correlation to frames ``(B, 1, *shape)``."""
        turned = v.flatten(3) @ self.vectors
        factor = function(self.values[:, None].expand(-1, len(v)))  # the last axis is that of the batch
        return ((factor.T[:, None, None] * turned) @ self.vectors.T).reshape(v.shape)


def correlation_of(
    prior: Prior, spec: Spec, length: int, stated: BackgroundCorrelation, device: torch.device
) -> LatentCorrelation:
    """Correlation of latent trajectories of `length` frames.

    Parameters
    ----------
    prior, spec
        The model's.
    length
        Number of frames.
    stated
        What is stated of it; else it is that of the prior, and of a prior without a Gaussian one that ends after a few
        cells and frames.
    device
        Where to compute.
    """
    process = prior.stationary
    if process is not None and stated.length is None and stated.time is None:
        return process.trajectory(length)
    if process is not None and stated.length is None:
        frames: LatentCorrelation = _Frames(process)
    else:
        r = torch.as_tensor(_apart(prior.shape, spec, stated.length), device=device)
        frames = _Cells((1 + r) * torch.exp(-r))
    lag = torch.arange(length, device=device, dtype=torch.float64)
    if stated.time is not None:
        memory = stated.time / spec.time_step
    elif process is not None:
        memory = _memory(process)
    else:
        memory = _FRAMES
    return _InTime(frames, torch.exp(-(lag[:, None] - lag).abs() / memory))


def _memory(process: StationaryGaussian) -> float:
    """Frames after which the prior as a whole has forgotten."""
    now, next_ = process.autocov[:2, ..., 0].double().sum((1, 2))
    return float(-1 / torch.log((next_ / now).clamp(0.01, 0.999)))


def _apart(shape: tuple[int, int, int], spec: Spec, length: float | None) -> np.ndarray:
    """Distances between latent cells in units of the length of the correlation, ``(cells, cells)``."""
    rows, columns = shape[1:]
    if spec.flat or length is None:
        # Cells of a square, which is periodic where its axes are.
        i, j = np.divmod(np.arange(rows * columns), columns)
        away = [np.abs(k[:, None] - k).astype(float) for k in (i, j)]
        if spec.periodic:
            away = [
                np.minimum(d, size - d)
                for d, size in zip(away, (rows if spec.flat else 2 * rows, columns), strict=True)
            ]
            # Along the chord of a circle, for which the function is positive definite.
            away[1] = columns / np.pi * np.sin(np.pi * away[1] / columns)
            if spec.flat:
                away[0] = rows / np.pi * np.sin(np.pi * away[0] / rows)
        return np.hypot(*away) / _CELLS
    lat, lon = (
        np.interp(
            ((np.arange(count) + 0.5) * -(-len(axis) // count) - 0.5).clip(max=len(axis) - 1),
            np.arange(len(axis)),
            axis,
        )
        for count, axis in ((rows, spec.lat), (columns, np.unwrap(spec.lon, period=360.0)))
    )
    xyz = unit_vectors(*(v.ravel() for v in np.meshgrid(lat, lon, indexing="ij")))
    return EARTH_RADIUS / length * np.linalg.norm(xyz[:, None] - xyz, axis=-1)


class LatentCovariance(ProductCovariance):
    """The covariance ``S C S`` of latent trajectories, or its inverse.

    Parameters
    ----------
    correlation
        The correlation ``C``.
    values, vectors
        Eigenvalues and -vectors of ``S S`` in each latent cell, shapes ``(pattern, cell, z)`` and ``(pattern, cell, z,
        z)``.
    pattern
        Pattern that each frame has, shape ``(L,)``.
    shape
        Shape (z, z_lat, z_lon) of a frame.
    independent
        Share of the variance that is independent.
    inverted
        Whether the inverse is meant.
    """

    def __init__(
        self,
        correlation: LatentCorrelation,
        values: Tensor,
        vectors: Tensor,
        pattern: Tensor,
        shape: tuple[int, int, int],
        independent: float,
        *,
        inverted: bool = False,
    ) -> None:
        self._parts = correlation, values, vectors, pattern, shape, independent
        self._correlation, self._pattern, self._frame, self.inverted = correlation, pattern, shape, inverted
        root = (vectors * values.pow(-0.5 if inverted else 0.5)[:, :, None]) @ vectors.mT
        #: Multiply every latent cell of ``(B, L, z, z_lat, z_lon)`` with its root.
        self.scaled = CellMatrices(root, pattern)
        self._share = independent

    @property
    def shape(self) -> Sequence[int]:
        """Shape of what it multiplies."""
        return (len(self._pattern) * self._frame[0] * self._frame[1] * self._frame[2],)

    def _function(self, d: Tensor) -> Tensor:
        shrunk = (1 - self._share) * d + self._share
        return 1 / shrunk if self.inverted else shrunk

    def __matmul__(self, x: Tensor) -> Tensor:
        v = x.reshape(-1, len(self._pattern), *self._frame)
        return self.scaled(self._correlation.apply(self._function, self.scaled(v))).reshape(x.shape)

    def color(self, x: Tensor) -> Tensor:
        """Multiply by a square root."""
        v = x.reshape(-1, len(self._pattern), *self._frame)
        return self.scaled(self._correlation.apply(lambda d: self._function(d).sqrt(), v)).reshape(x.shape)

    def whiten(self, x: Tensor) -> Tensor:
        """Multiply by the transpose of the square root of the inverse, of which `color` of the inverse is the other."""
        inverse = self.inv
        v = inverse.scaled(x.reshape(-1, len(self._pattern), *self._frame))
        return self._correlation.apply(lambda d: inverse._function(d).sqrt(), v).reshape(x.shape)

    @property
    def inv(self) -> LatentCovariance:
        """Inverse."""
        return LatentCovariance(*self._parts, inverted=not self.inverted)


class LatentBackground:
    """The background as an observation of all latents.

    Parameters
    ----------
    prior, spec
        The model's.
    fields
        Map from latents to physical fields.
    sources
        Variables of the background, of which every row sees one element, with complete errors.
    rest
        Trajectory of latents that are zero, shape ``(1, L, z, z_lat, z_lon)``.

    Attributes
    ----------
    y
        Latents of the background, shape ``(n,)``.
    errors
        Error covariance.
    """

    def __init__(
        self, prior: Prior, spec: Spec, fields: FieldMap, sources: Sequence[SourceLikelihood], rest: Tensor
    ) -> None:
        sources = [with_masked_cells(source, spec) for source in sources]
        stated = sources[0].background
        assert stated is not None
        device, length = rest.device, rest.shape[1]
        self._seen = seen = FieldOperator(fields, sources)
        maps = seen.secant(rest)
        spread = np.concatenate([abs(s.matrix) @ fields.spread.cpu().numpy().ravel() for s in sources])
        scale = torch.as_tensor(spread, dtype=torch.float32, device=device).clamp(min=1e-30)
        both = np.concatenate([s.errors.independent for s in sources])
        variance = torch.as_tensor(both, dtype=torch.float32, device=device)
        left_out = (seen.variance - variance).clamp(min=0) + _FIT * variance
        members = None
        if sources[0].ensemble is not None:
            both = np.concatenate([s.ensemble for s in sources if s.ensemble is not None], axis=1)
            members = torch.as_tensor(both, dtype=torch.float32, device=device)
        pattern = torch.as_tensor(patterns(sources, length), device=device)
        column = None if stated.column is None else InColumns(sources, stated.column, length, variance)
        increments = None
        if stated.increments and prior.stationary is not None:
            weight, count = areas(sources, spec, scale), 0 if members is None else len(members)
            year = of_year(prior, sources, scale)
            increments = Increments(prior.stationary, maps, rest, sources, variance, weight, year, members=count)
            variance = increments.ratio * scale**2
            correlation: LatentCorrelation = increments.trajectory(stated, spec)
        else:
            correlation = correlation_of(prior, spec, length, stated, device)
            if stated.distributed:
                weight, year = areas(sources, spec, scale), of_year(prior, sources, scale)
                variance = distributed(sources, variance, scale, weight, year)
        # Cell by cell, which needs a map that does not mix them.
        near = FieldOperator(fields.nearby(), sources).secant(rest)
        # Latents whose channels vary differently have errors that do.
        own = climate = None
        if prior.stationary is not None:
            climate = cell_covariance(prior.stationary.trajectory(1), 1, prior.shape, device)
        if climate is not None and not is_even(climate):
            own = cell_covariance(correlation, length, prior.shape, device)
            climate = climate if increments is None and stated.length is not None else own
        root = None if own is None or climate is None else root_of(climate)
        cells = cell_errors(near, scale, variance, left_out, rest, pattern, column, root)

        def latents_at(departures: Tensor, tolerance: float) -> Tensor:
            return latents_of(
                prior.stationary, departures, maps, left_out, cells.told, cells.directions, pattern,
                tolerance=tolerance, iterations=_ITERATIONS,
            )  # fmt: skip

        latents = latents_at((seen.y - seen(rest)[0])[None], _CLOSE)
        deviations = None if members is None else latents_at(members, _OF_MEMBERS)
        values, vectors = eigh(cells.square if own is None else square_between(own, cells.square))
        values, rest_of = values.clamp(min=1e-8), (vectors, pattern, prior.shape, stated.independent)
        static = LatentCovariance(correlation, values, *rest_of)
        if increments is not None:
            scaled = LatentCovariance(correlation, values.clamp(max=increments.size), *rest_of).scaled
            latents = increments.observed(latents, scaled)
            deviations = None if deviations is None else increments.deviations(deviations, scaled)
        self.y = latents.flatten()
        self.errors: Covariance = static
        if deviations is not None:
            self.errors = _hybrid(static, deviations, stated, prior.shape, spec)

    @property
    def one_slope(self) -> bool:
        """Yes: it is linear."""
        return True

    def __call__(self, z: Tensor) -> Tensor:
        """From latents ``(B, L, *latent)`` to observed values ``(B, n)``: the same."""
        return z.flatten(1)

    def linearize(self, z: Tensor) -> LinearMaps:
        """Product with the Jacobian, and with its adjoint."""
        return lambda v: v.flatten(1), lambda w: w.reshape(-1, *z.shape[1:])


def _hybrid(
    static: LatentCovariance, deviations: Tensor, stated: BackgroundCorrelation, shape: tuple[int, int, int], spec: Spec
) -> Covariance:
    """Covariance of the errors of an ensemble, of which latents deviate from their mean as given."""
    count = len(deviations)
    if stated.static == 1:
        return static
    length = None if spec.flat else stated.localization or _LOCAL * count**0.5
    r = torch.as_tensor(_apart(shape, spec, length), device=deviations.device)
    columns = localized(deviations, (1 + r) * torch.exp(-r))
    white = whitened(static, columns)
    weight = stated.static
    if weight is None:
        # What members cannot know, and what they tell by chance.
        weight = max(static_weight(count, shape[0] if stated.increments else None), sampling_weight(white, count))
        weight = min(weight, _MOST_STATIC)
    rest = (1 - weight) ** 0.5
    return HybridCovariance(static, rest * columns, weight, rest * white)
