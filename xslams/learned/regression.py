r"""Ridge regression with coefficients that vary with the season, judged on blocks of time that are left out.

Around each of some centres of the year, samples count by their distance in the season,

.. math:: W_c = \Big( \sum_t k_c(t) f_t f_t^\top + \lambda \mu I \Big)^{-1} \sum_t k_c(t) f_t y_t^\top ,

with the mean variance :math:`\mu` of the features. Coefficients in between are interpolated linearly. Values may have
gaps: those with about the same gaps are regressed together, their gaps filled by what is guessed of them without their
block.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xslams.learned.inversion import ByBlock, inverse_skill, judged
from xslams.typing import FloatArray

__all__ = ["Regression", "centre_weights", "regress"]

# Share of times that values must have in common to be regressed together, and how often the gaps of some are filled in.
_SHARED, _FILLINGS = 0.8, 2
# Samples that count less than this are left out of a centre.
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Regression:
    """Coefficients, and what they leave of values that they have not seen.

    Attributes
    ----------
    weights
        Shape ``(centre, feature, value)``.
    residual
        Of each sample, by coefficients that were found without its block, shape ``(sample, value)``.
    skill
        One less the squared residual over the square of the values, in all; at most 1.
    penalty
        The one that was chosen.
    inverse
        Skill with which the features are found again, by which it was chosen, see `xslams.learned.inversion`.
    """

    weights: FloatArray
    residual: FloatArray
    skill: float
    penalty: float
    inverse: float


def centre_weights(season: FloatArray, centres: int) -> FloatArray:
    """Weights by which the coefficients of the centres of the year are interpolated, shape ``(n, centre)``.

    Examples
    --------
    >>> centre_weights(np.array([0.125, 0.25, 0.0]), 4)
    array([[1. , 0. , 0. , 0. ],
           [0.5, 0.5, 0. , 0. ],
           [0.5, 0. , 0. , 0.5]])
    """
    place = (np.asarray(season, float) * centres - 0.5) % centres
    first = np.floor(place).astype(int) % centres
    out = np.zeros((len(place), centres))
    rows = np.arange(len(place))
    out[rows, first] += 1 - (place - np.floor(place))
    out[rows, (first + 1) % centres] += place - np.floor(place)
    return out


def nearness(season: FloatArray, centres: int, width: float | None) -> FloatArray:
    """How much samples count at each centre, shape ``(centre, n)``; the same everywhere where `width` is None."""
    if width is None:
        return np.ones((centres, len(season)))
    middle = (np.arange(centres)[:, None] + 0.5) / centres
    apart = np.abs((season - middle + 0.5) % 1.0 - 0.5)
    near: FloatArray = np.exp(-0.5 * (apart / width) ** 2)
    return np.where(near > _NEGLIGIBLE, near, 0.0)


def regress(
    features: FloatArray,
    values: FloatArray,
    season: FloatArray,
    block: npt.NDArray[np.intp],
    *,
    centres: int,
    width: float | None,
    penalties: Sequence[float],
    wanted: npt.NDArray[np.bool_],
) -> Regression:
    """Regress values on features, with the penalty by which these are found again best in blocks that were left out.

    Parameters
    ----------
    features
        Shape ``(sample, feature)``, of mean zero.
    values
        Shape ``(sample, value)``, of mean zero, NaN where missing.
    season
        Fraction of the year of each sample, shape ``(sample,)``.
    block
        Which part of the samples each belongs to, numbers from 0, shape ``(sample,)``; each is left out in turn.
    centres, width
        Number of centres of the year, and standard deviation in years by which samples count near them; None for
        coefficients that are the same all over the year.
    penalties
        To choose from, in units of the mean variance of the features.
    wanted
        Features that are to be found again, shape ``(feature,)``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((400, 2))
    >>> found = regress(x, x @ [[1.0], [0.0]], np.zeros(400), np.arange(400) // 80, centres=1, width=None,
    ...                 penalties=(0.001, 1.0), wanted=np.array([True, False]))
    >>> found.penalty, found.skill > 0.99, found.weights.round(2)[0, :, 0]
    (0.001, True, array([1., 0.]))
    """
    near, between = nearness(season, centres, width), centre_weights(season, centres)
    shape = len(penalties), centres, features.shape[1], values.shape[1]
    weights, guess = np.zeros(shape), np.zeros((len(penalties), *values.shape))
    chosen = judged(np.isfinite(values))
    parts: list[list[ByBlock]] = [[{} for _ in range(centres)] for _ in penalties]
    for columns in _alike(np.isfinite(values)):
        own, rows = values[:, columns], np.flatnonzero(np.isfinite(values[:, columns]).any(axis=1))
        missing = np.isnan(own[rows])
        filled = np.where(missing, 0.0, own[rows])
        sample = features[rows], near[:, rows], between[rows], block[rows]
        for _ in range(1 + _FILLINGS * bool(missing.any())):
            found, seen, each = _fitted(filled, *sample, penalties)
            wrong = np.where(missing, 0.0, own[rows] - seen)
            filled = np.where(missing, seen[int(np.argmin((wrong**2).sum(axis=(1, 2))))], own[rows])
        weights[..., columns] = found
        guess[:, rows[:, None], columns] = seen
        _gather(parts, each, *np.intersect1d(chosen, columns, assume_unique=True, return_indices=True)[1:], chosen.size)
    scores = [
        inverse_skill(
            parts[k], features, values[:, chosen], (values - guess[k])[:, chosen], between.argmax(axis=1), block, wanted
        )
        for k in range(len(penalties))
    ]  # fmt: skip
    best = int(np.argmax(scores))
    residual = values - guess[best]
    skill = 1 - float(np.nansum(residual**2)) / max(float(np.nansum(values**2)), 1e-30)
    return Regression(weights[best], residual, skill, float(penalties[best]), scores[best])


def _fitted(
    values: FloatArray,
    features: FloatArray,
    near: FloatArray,
    between: FloatArray,
    block: npt.NDArray[np.intp],
    penalties: Sequence[float],
) -> tuple[FloatArray, FloatArray, list[list[ByBlock]]]:
    """Coefficients of values without gaps for each penalty, what is guessed of each block without it, and by which."""
    weights = np.zeros((len(penalties), len(near), features.shape[1], values.shape[1]))
    guess = np.zeros((len(penalties), *values.shape))
    each: list[list[ByBlock]] = [[{} for _ in near] for _ in penalties]
    for centre, own in enumerate(near):
        use = own > 0
        if not use.any():
            continue
        part = _Normal(features[use], values[use], own[use], block[use], len(own))
        for k, penalty in enumerate(penalties):
            weights[k, centre] = part.solve(penalty)
            for left_out in np.unique(block[between[:, centre] > 0]).tolist():
                rows = np.flatnonzero((block == left_out) & (between[:, centre] > 0))
                each[k][centre][left_out] = part.solve(penalty, left_out)
                guess[k, rows] += between[rows, centre, None] * (features[rows] @ each[k][centre][left_out])
    return weights, guess, each


def _gather(
    parts: list[list[ByBlock]],
    each: list[list[ByBlock]],
    at: npt.NDArray[np.intp],
    own: npt.NDArray[np.intp],
    count: int,
) -> None:
    """Put the coefficients of the values `own` of a group where they are `at` among `count` values of all groups."""
    for total, some in zip(itertools.chain(*parts), itertools.chain(*each), strict=True):
        for left_out, coefficients in some.items():
            if left_out not in total:
                total[left_out] = np.zeros((len(coefficients), count))
            total[left_out][:, at] = coefficients[:, own]


class _Normal:
    """Normal equations of one centre, block by block."""

    def __init__(
        self, features: FloatArray, values: FloatArray, near: FloatArray, block: npt.NDArray[np.intp], count: int
    ) -> None:
        self.blocks = np.unique(block).tolist()
        weighted = features * near[:, None]
        self._grams, self._products = {}, {}
        for b in self.blocks:
            rows = block == b
            self._grams[b] = weighted[rows].T @ features[rows]
            self._products[b] = weighted[rows].T @ values[rows]
        size = features.shape[1], features.shape[1]
        self._gram = sum(self._grams.values(), np.zeros(size))
        self._product = sum(self._products.values(), np.zeros((size[0], values.shape[1])))
        # The fewer the samples that count, the more they are penalised.
        self._unit = np.trace(self._gram) / size[0] * count / max(near.sum(), 1e-30) + 1e-30

    def solve(self, penalty: float, without: int | None = None) -> FloatArray:
        gram, product = self._gram, self._product
        if without in self._grams:
            gram, product = gram - self._grams[without], product - self._products[without]
        return np.asarray(np.linalg.solve(gram + penalty * self._unit * np.eye(len(gram)), product))


def _alike(known: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.intp]]:
    """Columns that have about the same gaps; none of those without any value."""
    groups: list[tuple[npt.NDArray[np.bool_], list[int]]] = []
    for column in np.flatnonzero(known.any(axis=0)):
        own = known[:, column]
        for first, members in groups:
            if (own & first).sum() >= _SHARED * (own | first).sum():
                members.append(int(column))
                break
        else:
            groups.append((own, [int(column)]))
    yield from (np.asarray(members) for _, members in groups)
