"""What a background and its stated errors are in the latents of each cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from xslams.linalg.eigen import eigh

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.inference.latent_background import LatentCorrelation
    from xslams.likelihood import SourceLikelihood
    from xslams.priors.fields import LinearMaps
    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = [
    "CellErrors",
    "InColumns",
    "cell_covariance",
    "cell_errors",
    "is_even",
    "patterns",
    "root_of",
    "square_between",
    "with_masked_cells",
]

# Directions of a latent cell that are seen less than this share of others are not seen, or hardly.
_SEEN, _HARDLY = 1e-3, 1e-5
# Least of what a background says of a latent of unit variance: next to nothing.
_KNOWN = 1e-3
# Variances of channels within this factor are alike. Frames that are drawn to find the covariance of a cell, and their
# seed.
_EVEN, _DRAWS, _SEED = 2.0, 64, 0
# Standard deviations within this factor are the same.
_ALIKE = 1.25
# Ratios that differ less, in rounding, are the same.
_SAME = 1 + 1e-5
# Cells in each direction, from one to the next that a decoder makes no value of in common.
_APART = 3
# Channels that are shown at once, and numbers of latents in all of them.
_AT_ONCE, _NUMBERS = 8, 2**24


def with_masked_cells(source: SourceLikelihood, spec: Spec) -> SourceLikelihood:
    """Give cells that never have a value the value and the error of the nearest cell, as encoded fields have them.

    Latents there would otherwise be what the prior makes of those beside them, which is no state of the model, and
    taken for the background's.

    Parameters
    ----------
    source
        Variable of the background, of which every row sees one element.
    spec
        The model's.
    """
    if spec.masked is None:
        return source
    element = source.matrix.indices.astype(np.intp)
    shape = -1, spec.masked.shape[0], len(spec.lat), len(spec.lon)
    row = np.full(source.matrix.shape[1], -1.0)
    row[element] = np.arange(source.size)
    # Rows of the nearest cells, where the background has a value; doubles hold them exactly.
    row = spec.filled(row.reshape(shape)).ravel()
    more = np.flatnonzero((row >= 0) & np.broadcast_to(spec.masked, row.reshape(shape).shape).ravel())
    rows = np.concatenate([np.arange(source.size), row[more].astype(np.intp)])
    columns = np.concatenate([element, more])
    matrix = sp.csr_array((source.matrix.data[rows], columns, np.arange(rows.size + 1)), (rows.size, row.size))
    ensemble = None if source.ensemble is None else source.ensemble[:, rows]
    return replace(
        source, matrix=matrix, values=source.values[rows], errors=source.errors.keep(rows), ensemble=ensemble
    )


class InColumns:
    """Covariance of the errors of values that are correlated with those above and below them.

    Parameters
    ----------
    sources
        Variables of the background, of which every row sees one element.
    correlation
        Correlation of channels, shape ``(channel, channel)``.
    length
        Number of frames.
    variance
        Variances of the values of all sources, shape ``(n,)``.
    """

    def __init__(
        self, sources: Sequence[SourceLikelihood], correlation: FloatArray, length: int, variance: Tensor
    ) -> None:
        device = variance.device
        self._element = torch.as_tensor(
            np.concatenate([s.matrix.indices for s in sources]).astype(np.int64), device=device
        )
        self._correlation = torch.as_tensor(correlation, dtype=torch.float32, device=device)
        self._shape, self._std = (length, len(correlation), -1), variance.sqrt()
        self._size = sources[0].matrix.shape[1]

    def __call__(self, w: Tensor) -> Tensor:
        """Multiply values ``(B, n)``."""
        field = torch.zeros(len(w), self._size, dtype=w.dtype, device=w.device)
        field[:, self._element] = self._std * w
        field = torch.einsum("cd,bldx->blcx", self._correlation, field.reshape(len(w), *self._shape))
        return self._std * field.flatten(1)[:, self._element]


def patterns(sources: Sequence[SourceLikelihood], length: int) -> np.ndarray:
    """Tell frames with the same elements, whose errors have the same size, by a number, ``(L,)``.

    Parameters
    ----------
    sources
        Variables of the background.
    length
        Number of frames.
    """
    size = np.full(sources[0].matrix.shape[1], np.iinfo(np.int64).min)
    for source in sources:
        size[source.matrix.indices] = np.round(0.5 * np.log(source.errors.independent) / np.log(_ALIKE))
    # Not `numpy.unique`, which sorts all elements: frames are few, and large.
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(frame.tobytes(), len(numbers)) for frame in size.reshape(length, -1)])


class CellErrors(NamedTuple):
    """What is known of each latent cell, in matrices of its channels.

    Attributes
    ----------
    square
        The matrix ``S S`` of errors, ``(pattern, cell, z, z)``; where the root of a covariance is given, covariance of
        the errors itself.
    told, directions
        What the values of the background say of latents, in units of the variance up to which these need not fit them:
        eigenvalues ``(pattern, cell, z)``, and -vectors of the shape of `square`.
    """

    square: Tensor
    told: Tensor
    directions: Tensor


def cell_errors(
    maps: LinearMaps,
    scale: Tensor,
    variance: Tensor,
    left_out: Tensor,
    rest: Tensor,
    pattern: Tensor,
    column: InColumns | None = None,
    root: Tensor | None = None,
) -> CellErrors:
    """Return the matrix ``S S`` of each pattern and latent cell, and what values say of the cell.

    The matrix is the mean of the error variances in units of the climatological ones, over the values that a direction
    of the cell is seen in, and lies between the least and the largest of them.

    Parameters
    ----------
    maps
        From latents to the values of the background, and the adjoint.
    scale, variance, left_out
        Climatological standard deviation of the values, variance of their errors, and variance up to which latents need
        not fit them, each of shape ``(n,)``.
    rest
        Trajectory of latents that are zero, shape ``(1, L, z, z_lat, z_lon)``.
    pattern
        Pattern that each frame has, shape ``(L,)``.
    column
        Covariance of errors that are correlated between levels; by default they are correlated as in the prior.
    root
        Root of the covariance of the channels of a latent cell, ``(z, z)``, of which errors are a share; None: they are
        uncorrelated, and of unit variance.
    """
    weight, squared, known = scale**-2, variance * scale**-4, 1 / left_out
    functions: list[Callable[[Tensor], Tensor]] = [lambda seen: known * seen]
    ratio = variance * weight
    # Errors that are in one ratio to the climate everywhere are so in every direction.
    one = column is None and float(ratio.max()) <= _SAME * float(ratio.min())
    if column is not None:
        in_columns = column
        functions += [lambda seen: weight * seen, lambda seen: weight * in_columns(weight * seen)]
    elif not one:
        functions += [lambda seen: weight * seen, lambda seen: squared * seen]
    precision, *others = (_even(m) for m in _in_cells(maps, functions, rest, pattern))
    own = precision
    if root is not None:
        # As of channels that are uncorrelated, and of unit variance.
        own, *others = (_even(root @ m @ root) for m in (precision, *others))
    if one:
        square = float(ratio.mean()) * torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    else:
        square = _ratio(*others) if column is None else _column_square(*others)
    told, directions = eigh(own)
    total = square + (directions / told.clamp(min=_KNOWN)[..., None, :]) @ directions.mT
    if root is not None:
        total = root @ total @ root
        told, directions = eigh(precision)
    return CellErrors(_even(total).float(), told, directions)


def cell_covariance(correlation: LatentCorrelation, frames: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """Covariance of the channels of a latent cell, in the mean over cells, ``(z, z)``.

    Parameters
    ----------
    correlation
        Correlation of trajectories.
    frames
        Frames of a trajectory.
    shape
        Shape (z, z_lat, z_lon) of a frame.
    device
        Where to compute.
    """
    generator = torch.Generator().manual_seed(_SEED)
    found = torch.zeros(shape[0], shape[0], dtype=torch.float64, device=device)
    count = -(-_DRAWS // frames)
    for _ in range(count):
        white = torch.randn(1, frames, *shape, generator=generator).to(device)
        drawn = correlation.apply(lambda d: d.sqrt(), white)[0].movedim(1, 0).flatten(1).double()
        found += drawn @ drawn.mT / drawn.shape[1] / count
    return found


def is_even(covariance: Tensor) -> bool:
    """Whether the channels of a latent cell have about the same variance."""
    variance = covariance.diagonal()
    return bool(variance.max() <= _EVEN * variance.min())


def root_of(covariance: Tensor, power: float = 0.5) -> Tensor:
    """Power of symmetric positive definite matrices ``(*, z, z)``."""
    values, vectors = eigh(covariance)
    values = values.clamp(min=1e-9 * float(values.max()))
    return _even((vectors * values.pow(power)[..., None, :]) @ vectors.mT)


def square_between(covariance: Tensor, wanted: Tensor) -> Tensor:
    r"""Square of the symmetric matrices ``S`` of which ``S covariance S`` is as wanted: of the geometric mean.

    Parameters
    ----------
    covariance
        Of a latent cell, ``(z, z)``.
    wanted
        Covariances of errors, ``(*, z, z)``.
    """
    root, inverse = root_of(covariance), root_of(covariance, -0.5)
    found = _even(inverse @ root_of(_even(root @ wanted.double() @ root)) @ inverse)
    return _even(found @ found).float()


def _even(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _ratio(own: Tensor, stated: Tensor) -> Tensor:
    """Mean of stated variances in units of the climatological ones, for each direction of a cell."""
    values, vectors = eigh(own)
    least = _HARDLY * values.amax(-1).clamp(min=1e-30)
    # What is not seen has the error of the cell as a whole.
    mean = _trace(stated) / _trace(own).clamp(min=1e-30)
    eye = torch.eye(own.shape[-1], dtype=own.dtype, device=own.device)
    inverse = (vectors * (values.clamp(min=0) + least[..., None]).rsqrt()[..., None, :]) @ vectors.mT
    return inverse @ (stated + (mean * least)[..., None, None] * eye) @ inverse


def _column_square(own: Tensor, stated: Tensor) -> Tensor:
    """Covariance of latents of which the decoder makes the stated one; nothing where it sees nothing."""
    values, vectors = eigh(own)
    least = _SEEN * values.amax(-1, keepdim=True).clamp(min=1e-30)
    factor = torch.where(values > least, 1 / values.clamp(min=least), 0.0)
    inverse = (vectors * factor[..., None, :]) @ vectors.mT
    return inverse @ stated @ inverse


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


def _in_cells(
    maps: LinearMaps, functions: Sequence[Callable[[Tensor], Tensor]], rest: Tensor, pattern: Tensor
) -> list[Tensor]:
    """Products of the adjoint, a function of values, and the map within each cell, each ``(pattern, cell, z, z)``.

    Cells that no value has in common are shown at once, and others in other frames of the pattern.
    """
    forward, adjoint = maps
    channels, rows, columns = rest.shape[2:]
    device = rest.device
    first, second = _colours(rows, device), _colours(columns, device)
    colour = (first[:, None] * (int(second.max()) + 1) + second).flatten()
    count = int(pattern.max()) + 1
    # Of each frame, which one of its pattern it is, and how many the pattern has.
    same = pattern[:, None] == pattern
    rank, frames = same.tril(-1).sum(1), same.sum(1)
    blocks = [
        torch.zeros(count, rows * columns, channels, channels, dtype=torch.float64, device=device) for _ in functions
    ]
    at_once = max(min(_AT_ONCE, _NUMBERS // rest.numel()), 1)
    for turn in range(-(-(int(colour.max()) + 1) // int(frames.min()))):
        shown = colour == (turn * frames + rank)[:, None]
        frame, cell = torch.nonzero(shown, as_tuple=True)
        for some in torch.arange(channels, device=device).split(at_once):
            unit = torch.zeros(len(some), *rest.shape[1:], dtype=rest.dtype, device=device)
            unit[torch.arange(len(some), device=device), :, some] = shown.reshape(-1, rows, columns).to(unit)
            seen = forward(unit)
            for block, function in zip(blocks, functions, strict=True):
                back = adjoint(function(seen)).flatten(3)  # (some, L, z, cell)
                block[pattern[frame], cell, :, some[0] : some[-1] + 1] = back[:, frame, :, cell].mT.double()
    return blocks


def _colours(count: int, device: torch.device) -> Tensor:
    """Numbers of the cells along an axis, that are the same for cells that are apart, also where it is periodic."""
    number = torch.arange(count, device=device)
    whole = count - count % _APART
    return torch.where(number < whole, number % _APART, number - whole + min(_APART, whole))
