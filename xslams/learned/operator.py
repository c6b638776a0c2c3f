r"""A learned operator: what each value of a source is, given the state of some frames near it.

With the transform :math:`g` of the source, a value at the place :math:`i` and the time :math:`t` is

.. math:: g(y_{it}) = m_i(s) + d_i \sum_l w_{il}(s) \cdot \big( B x_{t+l} - \bar c(s) \big) + e_{it},

where :math:`B` are the leading patterns of the state around the place, :math:`\bar c` their seasonal cycle, :math:`m_i`
the seasonal cycle of the values (in which their bias is), :math:`d_i` the scale of what is left, and :math:`l` runs
over neighbouring frames. It is linear in the physical fields :math:`x`, so that the likelihood needs rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.learned.errors import LearnedErrors
from xslams.learned.regression import centre_weights
from xslams.learned.transforms import TRANSFORMS
from xslams.seasons import harmonics
from xslams.sphere import EARTH_RADIUS, unit_vectors
from xslams.typing import FloatArray

__all__ = ["Coefficients", "LearnedOperator", "Tile"]

IntArray = npt.NDArray[np.intp]
#: Kilometres within which a place is the one that an operator was learned for.
SAME_PLACE = 2.0


@dataclass(frozen=True, eq=False)
class Tile:
    """Patterns of the state around some places.

    Attributes
    ----------
    columns
        Elements of a flattened frame of fields ``(channel, lat, lon)`` that they are made of, shape ``(m,)``.
    patterns
        Shape ``(q, m)``, in inverse physical units.
    cycle
        Harmonics of the year and of the day of what the patterns see, shape ``(1 + 2 order + 2 day_order, q)``.
    """

    columns: IntArray
    patterns: FloatArray
    cycle: FloatArray


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Coefficients of the patterns of some neighbouring frames, and what they leave.

    Attributes
    ----------
    lags
        Frames, counted from that of the value.
    weights
        Shape ``(centre of the year, lag * q, n)``; of neighbourhoods with fewer than q patterns the last ones are zero.
    error
        Standard deviation of what is left, in units of the scale of the values, shape ``(centre of the year, n)``.
    """

    lags: tuple[int, ...]
    weights: FloatArray
    error: FloatArray

    def sigma(self, season: FloatArray) -> FloatArray:
        """Return the standard deviation of what is left at fractions of the year ``(m,)``, shape ``(m, n)``."""
        return np.asarray(np.sqrt(centre_weights(season, len(self.error)) @ self.error**2))


@dataclass(frozen=True, eq=False)
class LearnedOperator:
    """Observation operator of a source, learned for each of its places.

    Attributes
    ----------
    name, variable, units, standard_name
        Name of the source; name, units and standard name of what it observes.
    transform, scale
        Name of the transform of the values in `xslams.learned.transforms.TRANSFORMS`, and its scale.
    bounds
        Smallest and largest possible value, None where there is no bound.
    frame_shape
        Shape ``(channel, lat, lon)`` of the frames of physical fields that it acts on.
    lat, lon
        Places in degrees, shape ``(n,)``.
    tile
        Which of `tiles` each place belongs to, shape ``(n,)``.
    tiles
        Patterns of the state.
    cycle, spread
        Harmonics of the year and of the day of the transformed values, ``(1 + 2 order + 2 day_order, n)``; standard
        deviation of their anomalies, ``(n,)``.
    coefficients
        With neighbouring frames where these help, then with the frame of the value alone, for the ends of an analysis.
    skill
        Share of the variance of the anomalies of each place that was explained where it was not seen, shape ``(n,)``.
    errors, kind
        Correlation of errors, and the element of it that belongs to each place, shape ``(n,)``.
    record
        What was tried and chosen, for the header of a model file.
    day_order
        Number of daily harmonics.
    """

    name: str
    variable: str
    units: str
    standard_name: str | None
    transform: str
    scale: float
    bounds: tuple[float | None, float | None]
    frame_shape: tuple[int, int, int]
    lat: FloatArray
    lon: FloatArray
    tile: IntArray
    tiles: tuple[Tile, ...]
    cycle: FloatArray
    spread: FloatArray
    coefficients: tuple[Coefficients, ...]
    skill: FloatArray
    errors: LearnedErrors
    kind: IntArray
    record: Mapping[str, Any] = field(default_factory=dict)
    day_order: int = 0

    def __repr__(self) -> str:
        return (
            f"<xslams.LearnedOperator {self.name!r}: {self.variable} [{self.units}] at {self.lat.size} places, "
            f"{int(self.informative.sum())} of which tell of the state; held-out skill {self.held_out_skill:.2f}>"
        )

    @property
    def held_out_skill(self) -> float:
        """Share of the variance of the anomalies that was explained where it was not seen, over all places."""
        return float(self.record.get("skill", np.nanmean(self.skill)))

    @property
    def informative(self) -> npt.NDArray[np.bool_]:
        """Which places tell anything of the state, shape ``(n,)``."""
        return np.asarray(self.skill > 0) & (self.held_out_skill > 0)

    def with_errors(self, errors: LearnedErrors, kind: IntArray) -> LearnedOperator:
        """Return the operator with correlations of its errors."""
        return replace(self, errors=errors, kind=kind)

    def with_inflation(self, factor: float) -> LearnedOperator:
        """Return the operator with larger errors: standard deviations times a factor, which its record keeps."""
        coefficients = tuple(replace(part, error=part.error * factor) for part in self.coefficients)
        return replace(self, coefficients=coefficients, record={**self.record, "inflation": factor})

    def places(self, lat: FloatArray, lon: FloatArray) -> IntArray:
        """Return the known place that each given one is, -1 where it was not seen in training.

        Parameters
        ----------
        lat, lon
            Degrees, shape ``(m,)``.
        """
        chord = np.linalg.norm(unit_vectors(lat, lon)[:, None] - unit_vectors(self.lat, self.lon), axis=-1)
        nearest = chord.argmin(axis=1)
        near = chord[np.arange(len(nearest)), nearest] * EARTH_RADIUS <= SAME_PLACE
        return np.where(near, nearest, -1)

    def anomalies(self, values: FloatArray, place: IntArray, season: FloatArray) -> FloatArray:
        """Return transformed values without their seasonal cycle, in units of their standard deviation.

        Parameters
        ----------
        values
            In the units of the operator, shape ``(n,)``.
        place, season
            Place and fraction of the year of each.
        """
        transformed = TRANSFORMS[self.transform].forward(values, self.scale)
        return np.asarray((transformed - self._climate(place, season)) / self.spread[place])

    def _climate(self, place: IntArray, season: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("nk,kn->n", self._basis(season, self.cycle), self.cycle[:, place]))

    def _basis(self, season: FloatArray, cycle: FloatArray) -> FloatArray:
        return harmonics(season, (len(cycle) - 1) // 2 - self.day_order, self.day_order)

    def rows(
        self, frame: IntArray, place: IntArray, season: FloatArray, first: IntArray, last: IntArray, width: int
    ) -> tuple[sp.csr_array, FloatArray, FloatArray]:
        """Return how values depend on physical fields.

        Parameters
        ----------
        frame, place
            Frame and place of each value, shape ``(n,)``.
        season
            Fraction of the year of each frame, shape ``(frames,)``.
        first, last
            Stretch of consecutive frames that each may use, the last one excluded, shape ``(n,)``.
        width
            Number of frames that the rows act on.

        Returns
        -------
        tuple
            Rows of shape ``(n, width * channel * lat * lon)``, what they predict where fields are zero, and the
            standard deviations of the errors, each of shape ``(n,)``; all in units of `spread`, as `anomalies` are.
        """
        size = int(np.prod(self.frame_shape))
        offset, sigma = np.zeros(frame.size), np.zeros(frame.size)
        data: list[FloatArray] = [np.zeros(0)] * frame.size
        columns: list[IntArray] = [np.zeros(0, np.intp)] * frame.size
        left = np.ones(frame.size, bool)
        for part in self.coefficients:
            fits = left & (frame + min(part.lags) >= first) & (frame + max(part.lags) < last)
            left &= ~fits
            for at, number in {(int(f), int(self.tile[p])) for f, p in zip(frame[fits], place[fits], strict=True)}:
                chosen = np.flatnonzero(fits & (frame == at) & (self.tile[place] == number))
                tile, lags = self.tiles[number], len(part.lags)
                between = centre_weights(season[at : at + 1], len(part.weights))[0]
                weights = np.tensordot(between, part.weights[:, :, place[chosen]], 1).T.reshape(len(chosen), lags, -1)
                weights = weights[:, :, : len(tile.patterns)]
                cycle = self._basis(season[at : at + 1], tile.cycle)[0] @ tile.cycle
                offset[chosen] = -(weights.sum(axis=1) @ cycle)
                sigma[chosen] = part.sigma(season[at : at + 1])[0, place[chosen]]
                block = (weights @ tile.patterns).reshape(len(chosen), -1)
                where = np.concatenate([(at + lag) * size + tile.columns for lag in part.lags])
                for n, values in zip(chosen, block, strict=True):
                    data[n], columns[n] = values, where
        ends = np.concatenate([[0], np.cumsum([len(c) for c in columns])])
        joined = np.concatenate(data) if data else np.zeros(0), np.concatenate(columns) if columns else np.zeros(0)
        return sp.csr_array((*joined, ends), shape=(frame.size, width * size)), offset, sigma
