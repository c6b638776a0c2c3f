"""Training data that begin or end with a year unlike the others, as simulations do that have not spun up."""

from __future__ import annotations

import numpy as np

from xslams.errors import warn
from xslams.spec import Spec
from xslams.typing import FloatArray

__all__ = ["YearlyMeans"]

# Hours of a year, and years that there have to be: one, and some to compare it with.
_YEAR, _LEAST = 8766.0, 4
# Share of a year that may be missing of a whole one.
_NEARLY = 0.02
# What a first or last year may be away from the others, in units of what it is by a trend alone, and in standard
# deviations of a level.
_UNLIKE, _LARGE = 2.2, 0.15


class YearlyMeans:
    """Zonal means of the years of a stretch of frames.

    Parameters
    ----------
    spec
        Variables, grid and time step.
    frames
        Number of frames of the stretch; of those that make no whole year nothing is kept.
    """

    def __init__(self, spec: Spec, frames: int) -> None:
        self._spec = spec
        self._length = 0.0 if spec.flat else _YEAR / spec.time_step
        self.years = 0 if spec.flat else int(frames / self._length + _NEARLY)
        shape = self.years, spec.state_channels, len(spec.lat)
        self._sums, self._squares, self._counts = (np.zeros(shape) for _ in range(3))

    def add(self, first: int, values: FloatArray) -> None:
        """Take frames ``(T, channel, lat, lon)`` into account, of which the first has the position `first`."""
        if self.years < _LEAST:
            return
        values = values[:, : self._spec.state_channels]
        year = ((first + np.arange(len(values))) / self._length).astype(int)
        for own in range(year[0], min(year[-1] + 1, self.years)):
            part = values[year == own].astype(float)
            known = np.isfinite(part)
            part = np.where(known, part, 0.0)
            self._sums[own] += part.sum((0, 3))
            self._squares[own] += np.square(part).sum((0, 3))
            self._counts[own] += known.sum((0, 3))

    def unlike(self) -> list[tuple[str, float, bool]]:
        """Return the variables of which a year at an end is unlike all others.

        Returns
        -------
        list of tuple
            Name of each, by how much its worst level is away in standard deviations, and whether it is the last year.
        """
        if self.years < _LEAST:
            return []
        counts = np.maximum(self._counts, 1)
        means, some = self._sums / counts, counts.sum(0)
        variance = self._squares.sum(0) / some - (self._sums.sum(0) / some) ** 2
        std = np.sqrt(np.maximum(variance.mean(-1), 1e-30))  # of each channel, over the year and along latitude circles
        found = []
        for last in (False, True):
            ordered = means[::-1] if last else means
            rest = ordered[1:].mean(0)
            away = np.sqrt(np.average(np.square(ordered - rest), axis=-1, weights=self._spec.area_weights())) / std
            # By a trend, the year at an end is so many times as far from the mean of the others as any of these.
            trend = self.years / (self.years - 2)
            worst = np.where(away[0] > _UNLIKE * trend * away[1:].max(0), away[0], 0.0)
            start = 0
            for v in self._spec.state:
                size = float(worst[start : start + v.channels].max())
                start += v.channels
                if size > _LARGE:
                    found.append((v.name, size, last))
        return found

    def warn(self) -> None:
        """Warn of a year at an end that is unlike all others."""
        for name, size, last in self.unlike():
            which, part = ("last", "slice(None, -n)") if last else ("first", "slice(n, None)")
            warn(
                f"The training data: the {which} of {self.years} years is unlike the others in {name!r}, by {size:.1f} "
                f"standard deviations in the mean over a level. Climatology and spread are those of all years. If it "
                f"has spun up or drifted, leave it out: ds.isel(time={part})."
            )
