"""Learn an observation operator from arrays; held-out blocks choose transform, neighbouring frames and season."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from xslams.learned.errors import joint_errors
from xslams.learned.operator import Coefficients, LearnedOperator, Tile
from xslams.learned.regression import Regression, nearness, regress
from xslams.learned.transforms import TRANSFORMS
from xslams.seasons import covered_days, harmonics, supported_day_order, supported_order
from xslams.sphere import unit_vectors
from xslams.typing import FloatArray

__all__ = ["FEWEST", "Learned", "Settings", "States", "Values", "in_step", "learn"]

IntArray = npt.NDArray[np.intp]

#: Values without which nothing is learned for a place.
FEWEST = 60
# Elements of a frame around a place, and patterns that they are summed up in: so many, or so much of the variance.
_ELEMENTS, _PATTERNS, _VARIANCE = 600, 100, 0.995
# Samples for each pattern.
_SAMPLES = 8
# Side in degrees of what counts as one neighbourhood, where the grid is larger than that.
_SIDE = 15.0
_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_ORDER, _DAY_ORDER, _FOLDS, _BLOCK_DAYS = 2, 2, 5, 30
# Centres of the year, and the widths in years that are tried for coefficients; that of errors.
_CENTRES, _WIDTHS, _ERROR_WIDTH = 6, (0.2, 0.12, 0.08), 0.12
# Share of the variance by which something has to be better than what is simpler.
_GAIN = 0.002
_SKEWED = 1.0


@dataclass(frozen=True)
class States:
    """Frames of the state to learn from.

    Attributes
    ----------
    fields
        Physical fields ``(T, channel, lat, lon)``.
    season, number
        Fraction of the year, and count of the time steps: frames that follow each other are one apart; ``(T,)``.
    lat, lon
        Grid in degrees.
    time_step
        Hours between frames.
    frame_shape
        Shape of the frames that the operator acts on, whose first channels are those of `fields`.
    """

    fields: FloatArray
    season: FloatArray
    number: FloatArray
    lat: FloatArray
    lon: FloatArray
    time_step: float
    frame_shape: tuple[int, int, int]

    @property
    def day_order(self) -> int:
        """Number of harmonics that the times of the day tell, see `xslams.seasons.supported_day_order`."""
        return supported_day_order(self.season, self.time_step, _DAY_ORDER)

    def keep(self, chosen: npt.NDArray[np.bool_]) -> States:
        """Return some of the frames."""
        return replace(self, fields=self.fields[chosen], season=self.season[chosen], number=self.number[chosen])


@dataclass(frozen=True)
class Values:
    """Values of a source to learn from.

    Attributes
    ----------
    values
        Shape ``(T, n)``, NaN where missing.
    lat, lon
        Places in degrees, shape ``(n,)``.
    name, variable, units, standard_name, bounds
        As in a `LearnedOperator`.
    """

    values: FloatArray
    lat: FloatArray
    lon: FloatArray
    name: str
    variable: str
    units: str
    standard_name: str | None = None
    bounds: tuple[float | None, float | None] = (None, None)

    def keep(self, chosen: npt.NDArray[np.bool_]) -> Values:
        """Return those of some of the frames."""
        return replace(self, values=self.values[chosen])


@dataclass(frozen=True)
class Settings:
    """What trials have chosen.

    Attributes
    ----------
    transform, scale
        Of the values, as in a `LearnedOperator`.
    lags
        Frames that coefficients see, counted from that of the value; the best first, that of the value alone last.
    width
        Standard deviation in years by which samples count near a time of the year; None where the season is no matter.
    """

    transform: str
    scale: float
    lags: tuple[tuple[int, ...], ...]
    width: float | None


@dataclass(frozen=True)
class Learned:
    """An operator, what it leaves of values it has not seen, in units of its errors ``(T, n)``, and its settings."""

    operator: LearnedOperator
    residual: FloatArray
    settings: Settings


def learn(states: States, given: Values, settings: Settings | None = None) -> Learned:
    """Learn the operator of a source.

    Parameters
    ----------
    states, given
        What to learn from. Of places with fewer than `FEWEST` values nothing is learned.
    settings
        What was chosen before; by default trials choose.
    """
    tiles, tile, features = _patterns(states, given.lat, given.lon)
    enough = np.isfinite(given.values).sum(axis=0) >= FEWEST
    values = np.where(enough, given.values, np.nan)
    search = _Search(states, tile, features)
    if settings is None:
        settings, climate, found, trials = _chosen(search, values, given.bounds, states)
    else:
        climate, trials = _anomalies(TRANSFORMS[settings.transform].forward(values, settings.scale), states), []
        found = [search(climate.anomalies, lags, settings.width) for lags in settings.lags]
    kept = found[0]
    coefficients = tuple(_coefficients(lags, part, states) for lags, part in zip(settings.lags, found, strict=True))
    explained = np.nansum(kept.residual**2, axis=0) / np.maximum(np.nansum(climate.anomalies**2, axis=0), 1e-30)
    skill = np.where(enough, 1 - explained, -np.inf)
    residual = kept.residual / coefficients[0].sigma(states.season)
    record = {"skill": round(kept.skill, 4), "penalty": kept.penalty, "trials": trials}
    operator = LearnedOperator(
        given.name, given.variable, given.units, given.standard_name, settings.transform, settings.scale, given.bounds,
        states.frame_shape, given.lat, given.lon, tile, tiles, climate.cycle, climate.spread, coefficients,
        np.maximum(skill, -1.0), joint_errors(in_step(residual, states)), np.arange(given.lat.size), record,
        states.day_order,
    )  # fmt: skip
    return Learned(operator, residual, settings)


def _chosen(
    search: _Search, values: FloatArray, bounds: tuple[float | None, float | None], states: States
) -> tuple[Settings, _Anomalies, list[Regression], list[dict[str, Any]]]:
    """Choose settings by trials: with the anomalies and regressions that belong to them, and what was tried."""
    trials: list[dict[str, Any]] = []

    def attempt(lags: tuple[int, ...], width: float | None, anomalies: FloatArray, **told: Any) -> Regression:
        found = search(anomalies, lags, width)
        trials.append(
            {
                **told,
                "lags": list(lags),
                "width": width,
                "skill": round(found.skill, 5),
                "inverse": round(found.inverse, 5),
            }
        )
        return found

    around, single = (-1, 0, 1), (0,)
    best, chosen, climate = None, ("identity", 1.0), None
    for name, scale in _transforms(values, bounds):
        own = _anomalies(TRANSFORMS[name].forward(values, scale), states)
        found = attempt(around, None, own.anomalies, transform=name)
        if best is None or found.inverse > best.inverse + _GAIN:
            best, chosen, climate = found, (name, scale), own
    assert best is not None
    assert climate is not None
    alone = attempt(single, None, climate.anomalies)
    width = None
    if not covered_days(states.season, states.time_step) and len(states.season) * states.time_step > 2 * 365 * 24:
        for tried in _WIDTHS:
            found = attempt(around, tried, climate.anomalies)
            if found.inverse > best.inverse + _GAIN:
                best, width = found, tried
        alone = search(climate.anomalies, single, width) if width is not None else alone
    parts = {around: best, single: alone} if best.inverse > alone.inverse + _GAIN else {single: alone}
    return Settings(*chosen, tuple(parts), width), climate, list(parts.values()), trials


def in_step(residual: FloatArray, states: States) -> FloatArray:
    """Residuals with an empty frame in every gap, so that frames that follow each other are one apart."""
    breaks = np.flatnonzero(np.diff(states.number) > 1.001) + 1
    return np.insert(residual, breaks, np.nan, axis=0)


# --- the state --------------------------------------------------------------------------------------------------------


def _patterns(states: States, lat: FloatArray, lon: FloatArray) -> tuple[tuple[Tile, ...], IntArray, list[FloatArray]]:
    """Neighbourhoods, that of each place, and what their patterns see of each frame."""
    channels, cells = states.fields.shape[1], states.lat.size * states.lon.size
    near = max(_ELEMENTS // channels, 1)
    tile = np.zeros(lat.size, np.intp)
    if near < cells:
        box = np.stack([np.floor(lat / _SIDE), np.floor((lon % 360.0) / _SIDE)], axis=1)
        tile = np.unique(box, axis=0, return_inverse=True)[1].ravel()
    grid = unit_vectors(*(a.ravel() for a in np.meshgrid(states.lat, states.lon, indexing="ij")))
    order = supported_order(states.season, states.time_step, _ORDER)
    basis = harmonics(states.season, order, states.day_order)
    flat = states.fields.reshape(len(states.season), channels, cells)
    tiles, features = [], []
    for number in range(int(tile.max(initial=0)) + 1):
        centre = unit_vectors(lat[tile == number], lon[tile == number]).mean(axis=0)
        around = np.sort(np.argsort(-(grid @ centre), kind="stable")[:near])
        columns = (np.arange(channels)[:, None] * cells + around).ravel()
        x = flat[:, :, around].reshape(len(flat), -1).astype(float)
        cycle = np.linalg.lstsq(basis, x, rcond=None)[0]
        away = x - basis @ cycle
        scale = np.maximum(away.std(axis=0), 1e-6 * np.abs(x).max(axis=0) + 1e-30)
        values, vectors = np.linalg.eigh((away / scale).T @ (away / scale) / len(away))
        share = np.cumsum(values[::-1]) / values.sum()
        count = min(int(np.searchsorted(share, _VARIANCE)) + 1, _PATTERNS, max(len(x) // _SAMPLES, 1))
        patterns = vectors[:, ::-1][:, :count].T / scale
        tiles.append(Tile(columns, patterns, cycle @ patterns.T))
        features.append(away @ patterns.T)
    return tuple(tiles), tile, features


class _Search:
    """Regressions of all places on the patterns around them."""

    def __init__(self, states: States, tile: IntArray, features: list[FloatArray]) -> None:
        self._states, self._tile, self._features = states, tile, features
        frames = len(states.season)
        days = max(round(_BLOCK_DAYS * 24 / states.time_step), 1)
        block = max(min(days, frames // (2 * _FOLDS)), 1)
        self._block = np.arange(frames) // block % _FOLDS

    def __call__(self, anomalies: FloatArray, lags: tuple[int, ...], width: float | None) -> Regression:
        frames, states = np.arange(len(anomalies)), self._states
        at = [np.clip(frames + lag, 0, len(frames) - 1) for lag in lags]
        apart = [states.number[a] - states.number - lag for a, lag in zip(at, lags, strict=True)]
        whole = np.all(np.abs(apart) < 0.01, axis=0)
        size = len(lags) * max(f.shape[1] for f in self._features)
        centres = 1 if width is None else _CENTRES
        weights, residual = np.zeros((centres, size, anomalies.shape[1])), np.full(anomalies.shape, np.nan)
        penalties, inverse = [], 0.0
        for number, own in enumerate(self._features):
            chosen = np.flatnonzero(self._tile == number)
            found = regress(
                np.concatenate([own[a] for a in at], axis=1)[whole],
                anomalies[np.ix_(whole, chosen)],
                states.season[whole],
                self._block[whole],
                centres=centres,
                width=width,
                penalties=_PENALTIES,
                wanted=np.repeat(np.array(lags) == 0, own.shape[1]),
            )
            # Neighbourhoods with fewer patterns than others leave the rest of the weights at zero.
            each = found.weights.reshape(centres, len(lags), -1, len(chosen))
            room = weights.reshape(centres, len(lags), -1, anomalies.shape[1])
            room[:, :, : each.shape[2], chosen] = each
            residual[np.ix_(whole, chosen)] = found.residual
            penalties.append(found.penalty)
            inverse += found.inverse * len(chosen)
        seen = np.isfinite(residual)
        total = max(float((anomalies[seen] ** 2).sum()), 1e-30)
        skill = 1 - float((residual[seen] ** 2).sum()) / total
        return Regression(weights, residual, skill, float(np.median(penalties)), inverse / max(len(self._tile), 1))


def _coefficients(lags: tuple[int, ...], found: Regression, states: States) -> Coefficients:
    """Coefficients with the standard deviation of their errors by season."""
    square, known = np.nan_to_num(found.residual) ** 2, np.isfinite(found.residual).astype(float)
    whole = not covered_days(states.season, states.time_step)
    near = nearness(states.season, _CENTRES if whole else 1, _ERROR_WIDTH if whole else None)
    overall = square.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    # A season with few values leans on the year.
    count = near @ known
    variance = (near @ square + FEWEST / 2 * overall) / (count + FEWEST / 2)
    return Coefficients(lags, found.weights, np.sqrt(np.maximum(variance, 1e-6)))


# --- the values -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Anomalies:
    """Anomalies in units of their standard deviation, their seasonal cycle and that deviation."""

    anomalies: FloatArray
    cycle: FloatArray
    spread: FloatArray


def _anomalies(values: FloatArray, states: States) -> _Anomalies:
    """Take the seasonal cycle out of transformed values ``(T, n)``."""
    days = states.day_order
    cycle, spread = np.zeros((1 + 2 * _ORDER + 2 * days, values.shape[1])), np.ones(values.shape[1])
    basis, away = harmonics(states.season, _ORDER, days), np.full(values.shape, np.nan)
    for place in range(values.shape[1]):
        known = np.isfinite(values[:, place])
        if not known.any():
            continue
        order = supported_order(states.season[known], states.time_step, _ORDER)
        of_order = harmonics(states.season[known], order, days)
        own = np.linalg.lstsq(of_order, values[known, place], rcond=None)[0]
        # Constant, cosines, sines; those of the day.
        annual = [0, *range(1, 1 + order), *range(1 + _ORDER, 1 + _ORDER + order)]
        where = [*annual, *range(1 + 2 * _ORDER, len(cycle))]
        cycle[where, place] = own
        left = values[known, place] - basis[known] @ cycle[:, place]
        spread[place] = max(float(left.std()), 1e-6 * float(np.abs(values[known, place]).max()) + 1e-12)
        away[known, place] = left / spread[place]
    return _Anomalies(away, cycle, spread)


def _transforms(values: FloatArray, bounds: tuple[float | None, float | None]) -> list[tuple[str, float]]:
    """Names and scales of the transforms to try."""
    known = values[np.isfinite(values)]
    sizes = np.abs(known[known != 0])
    usual = float(np.median(sizes)) if sizes.size else 1.0
    deviation = float(known.std())
    skewness = float(((known - known.mean()) ** 3).mean()) / max(deviation, 1e-30) ** 3
    curved = known.min(initial=0.0) >= 0 and skewness > _SKEWED and deviation > 0
    return [(name, t.share * usual if not t.signed else 1.0) for name, t in TRANSFORMS.items() if t.signed or curved]
