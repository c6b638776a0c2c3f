"""What a user says of the error of a background: standard deviations, and how the errors are correlated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from xslams.arguments import is_number, require, shown
from xslams.display import page, settings
from xslams.errors import ObservationOptionError
from xslams.labels.calendar import hours
from xslams.labels.coordinates import coordinate, listed
from xslams.likelihood import BackgroundCorrelation
from xslams.observations.stated_errors import Error, check_stated

__all__ = ["BackgroundError", "stated_background"]

# Correlations in time that are told from none and from all.
_LEAST, _MOST = 0.05, 0.98
# Values of differences that tell the error of a latitude, and degrees within which it is the same.
_ENOUGH, _NEAR = 500, 5.0
# Times that tell how errors depend on the truth, and largest share of its variance in which they do.
_TIMES, _MOST_SHARE = 20, 0.75
# Dependence above which errors are those of forecasts that vary as the truth does.
_DEPENDENT = 0.5
# Correlation of the variances of places in halves of the times above which places differ.
_TOLD = 0.3
# Lengths that may be stated, and their units.
_LENGTHS = {
    "length": "km", "time": "hours", "localization": "km", "vertical": "logarithms of pressure, or units of the levels"
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class BackgroundError:
    r"""Error of a background, with its correlation.

    Errors of a forecast are weather: they have the size of pressure systems, the same sign through the column, and last
    for days. Taken for independent from cell to cell and day to day, the mean over neighbours looks far more certain
    than it is. By default errors are correlated as states of the model's prior are, in space, between levels and
    variables, and in time; the standard deviation is scaled to what is stated. A plain number, or plain fields, in
    place of this class mean ``correlation="increments"``, which is what most forecasts ask for.

    Parameters
    ----------
    std
        Standard deviation in the units of the Dataset: a number, a mapping per variable, a DataArray or a Dataset.
    correlation
        ``"prior"``; or ``"increments"`` for errors like differences between two states of the prior some time apart: a
        forecast varies as the truth does, forgets small scales before large ones, and is regressed on the truth scale
        by scale. The time is that at which differences have the standard deviation that is stated, which is a mean over
        the places for which the same is stated: the prior knows where it is larger. Or ``"none"`` for errors that are
        independent from value to value.
    length
        Length of the correlation in space in km, in place of that of the prior: at a distance :math:`d` it is
        :math:`(1 + d / L) e^{-d / L}`. Levels and variables of one place are correlated as in the prior.
    vertical
        Length of the correlation between levels, by the same function, in place of that of the prior; to be given with
        `length`. Distances are those of logarithms of pressure or sigma, 0.1 of which are about 0.8 km, and for other
        levels those of their values. Errors of different variables are then independent.
    time
        Hours after which the correlation in time is :math:`1 / e`, in place of that of the prior.
    independent
        Share of the variance that is independent from latent to latent. Real errors are in part in patterns that the
        prior takes for impossible, and must not look certain there.
    localization
        Where the background is an ensemble: length in km over which its sample covariance is localised; by default 500
        times the root of the number of members. On a plane it is two latent cells.
    static
        Where the background is an ensemble: weight of this error against the localised sample covariance of the
        members, above 0 to 1; by default 2 / (members + 3), and 0.05 or more; with increments n / (n + members - 1) for
        n latents of a cell, as these know the spread of the day, and members few of the directions of errors; and no
        less than what makes the error of the covariance the least, by what members have in common beyond chance.
    places
        ``"stated"``: errors have the standard deviation that is stated at every place. ``"prior"``: they are larger
        where and when the climate of the model varies more, and values for which the same is stated have that standard
        deviation in the mean over places and seasons. With ``correlation="increments"`` they always are.

    Raises
    ------
    ObservationOptionError
        If a value is out of range.

    Examples
    --------
    >>> BackgroundError(2.0, time=36.0)
    BackgroundError(std=2.0, correlation='prior', time=36.0)
    """

    std: Error
    correlation: Literal["prior", "increments", "none"] = "prior"
    length: float | None = None
    time: float | None = None
    independent: float = 0.1
    localization: float | None = None
    static: float | None = None
    vertical: float | None = None
    places: Literal["stated", "prior"] = "stated"

    def __post_init__(self) -> None:
        given: Any = self.std
        require(given is not None, "std", given, "the standard deviation of the background", ObservationOptionError)
        check_stated(self.std, "background_error", positive=True)
        kind: Any = self.correlation
        known = isinstance(kind, str) and kind in ("prior", "increments", "none")
        require(known, "correlation", kind, "'prior', 'increments' or 'none'", ObservationOptionError)
        places: Any = self.places
        known = isinstance(places, str) and places in ("stated", "prior")
        require(known, "places", places, "'stated' or 'prior'", ObservationOptionError)
        if places == "prior" and kind == "none":
            msg = "places='prior' with correlation='none'; leave one of them out."
            raise ObservationOptionError(msg)
        for name, units in _LENGTHS.items():
            value: Any = getattr(self, name)
            positive = value is None or (is_number(value) and float(value) > 0)
            require(positive, name, value, f"a positive number of {units}", ObservationOptionError)
            if value is not None and (kind == "none" or (kind == "increments" and name in ("length", "vertical"))):
                msg = f"{name}={shown(value)} with correlation={kind!r}; leave one of them out."
                raise ObservationOptionError(msg)
        if self.vertical is not None and self.length is None:
            msg = (
                f"vertical={shown(self.vertical)} without length=; give the length of the correlation in space, too: "
                "the correlation of the prior is one of levels and places together."
            )
            raise ObservationOptionError(msg)
        share: Any = self.independent
        within = is_number(share, 1e-6) and float(share) <= 1
        require(within, "independent", share, "a share of the variance, from 1e-6 to 1", ObservationOptionError)
        weight: Any = self.static
        within = weight is None or (is_number(weight, 1e-3) and float(weight) <= 1)
        require(within, "static", weight, "a weight from 0.001 to 1", ObservationOptionError)

    def __repr__(self) -> str:
        parts = [f"std={shown(self.std)}", f"correlation={self.correlation!r}"]
        parts += [f"{n}={getattr(self, n)!r}" for n in (*_LENGTHS, "static") if getattr(self, n) is not None]
        parts += [f"places={self.places!r}"] if self.places != "stated" else []
        return f"BackgroundError({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return page("xslams.BackgroundError", "", [settings(self)], repr(self))

    @property
    def latent(self) -> BackgroundCorrelation | None:
        """How errors are correlated; None where they are independent."""
        if self.correlation == "none":
            return None
        return BackgroundCorrelation(
            self.length, self.time, self.independent, self.localization, self.static, self.vertical,
            increments=self.correlation == "increments", distributed=self.places == "prior",
        )  # fmt: skip

    @classmethod
    def fit(cls, forecasts: xr.Dataset, truth: xr.Dataset) -> BackgroundError:
        """Estimate the error of forecasts where the truth is known, or by the NMC method.

        Parameters
        ----------
        forecasts
            Forecasts as they would be taken for a background, with dimension time.
        truth
            What they are compared with, of the same times, places and units: an analysis; or for the NMC method other
            forecasts that are valid at the same times, of another lead. Then the difference of two forecasts stands for
            the error of one of them.

        Returns
        -------
        BackgroundError
            Where differences depend on the truth as those of forecasts that vary as much as it does: root mean square
            difference of every variable and level, with ``correlation="increments"``, and the hours in which is
            forgotten what a regression on the truth leaves. Else with the correlation of the prior in space, and the
            hours in which differences are forgotten: that of every level with ``places="prior"``, where differences
            are larger at places where the truth varies more; otherwise that of every latitude, too, where there are
            values enough, averaged with those within five degrees.

        Raises
        ------
        ObservationOptionError
            If there are no common variables, fewer than three common times, or no differences.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> time = np.datetime64("2001-01-01") + np.arange(50)
        >>> truth = xr.Dataset({"t": (("time", "lat"), 9.0 * rng.normal(size=(50, 40)))}, {"time": time})
        >>> float(BackgroundError.fit(truth + 2.0 * rng.normal(size=(50, 40)), truth).std["t"].round(1))
        2.0
        """
        names = [n for n in forecasts.data_vars if n in truth.data_vars]
        if not names:
            msg = f"The forecasts have {listed(forecasts.data_vars)}, the truth {listed(truth.data_vars)}; rename them."
            raise ObservationOptionError(msg)
        at = coordinate(forecasts[names[0]], "time")
        apart = xr.Dataset({n: forecasts[n] - truth[n] for n in names})
        if at is None or apart.sizes.get(at, 0) < 3:
            count = 0 if at is None else apart.sizes.get(at, 0)
            msg = f"Forecasts and truth have {count} common times; expected three or more, of one dimension time."
            raise ObservationOptionError(msg)
        parts = {n: _Sample(apart[n], truth[n], at) for n in names}
        follow = float(np.mean([part.dependence for part in parts.values()])) > _DEPENDENT
        vary = not follow and float(np.mean([part.variation for part in parts.values()])) > _DEPENDENT
        std: dict[Any, xr.DataArray] = {}
        for n, part in parts.items():
            square = part.overall if follow else _of_levels(part.independent) if vary else part.independent
            std[n] = xr.DataArray(np.sqrt(square))
            if not bool((std[n] > 0).all()):
                msg = (
                    f"Forecasts and truth of {n!r} do not differ, or have no value in common; there is no error to fit."
                )
                raise ObservationOptionError(msg)
            std[n].attrs = {k: v for k, v in forecasts[n].attrs.items() if k == "units"}
        rest = xr.Dataset({n: part.rest if follow else part.apart for n, part in parts.items()})
        kind: Literal["increments", "prior"] = "increments" if follow else "prior"
        time = _memory(rest / xr.Dataset(std), at)
        return cls(xr.Dataset(std), correlation=kind, time=time, places="prior" if vary else "stated")


class _Sample:
    r"""Errors of a variable, and how they depend on the truth.

    Forecasts that vary as much as the truth miss its extremes: their errors of mean square :math:`e^2` have the
    covariance :math:`c = -e^2 / 2` with it.

    Parameters
    ----------
    apart, truth
        Errors, and the truth.
    time
        Name of the time.
    """

    def __init__(self, apart: xr.DataArray, truth: xr.DataArray, time: str) -> None:
        self.apart, self.square = apart, _pooled(apart**2)
        anomaly = truth.where(apart.notnull())
        self._anomaly = anomaly - anomaly.mean(time)
        self._time, self._known = time, apart.sizes[time] >= _TIMES
        self._both = _pooled(apart * self._anomaly) * float(self._known)
        self._variance = _pooled(self._anomaly**2).clip(min=1e-30)

    @property
    def overall(self) -> xr.DataArray:
        """Mean square of a level, which the prior distributes over places as it is in that season."""
        return _of_levels(self.apart**2)

    @property
    def dependence(self) -> float:
        """Twice the covariance with the truth in units of the mean square: 0 of independent errors, 1 of increments."""
        return float((-2 * self._both / self.square.clip(min=1e-30)).mean())

    @property
    def independent(self) -> xr.DataArray:
        r"""Variance of errors that do not depend on the truth and tell as much as those of forecasts.

        Mean and variance of the truth given a forecast agree with its actual error for the error variance
        :math:`e^2 / (1 + 2 c / \sigma^2)` with a truth of variance :math:`\sigma^2`.
        """
        share = -2 * self._both / self._variance
        return xr.DataArray(self.square / (1 - share.clip(min=0, max=_MOST_SHARE)))

    @property
    def variation(self) -> float:
        """By which power of the variance of the truth at a place the mean square of errors there grows.

        Variances of few times are off by chance, which flattens a regression on them: those of one half of the times
        are related to those of the other, which are off by something else.
        """
        if not self._known:
            return 0.0
        half = self.apart.sizes[self._time] // 2
        first, last = (self._logarithms({self._time: part}) for part in (slice(half), slice(-half, None)))
        pairs = [(first, last), (last, first)]
        own = sum(float((truth * other).mean()) for (_, truth), (_, other) in pairs)
        both = sum(float((error * other).mean()) for (error, _), (_, other) in pairs)
        # Where halves have little in common, places do not differ, or cannot be told apart.
        noise = sum(float((truth**2).mean()) for _, truth in (first, last))
        return both / own if own > _TOLD * noise > 0 else 0.0

    def _logarithms(self, part: dict[str, slice]) -> tuple[xr.DataArray, xr.DataArray]:
        """Logarithms of mean squares of errors and of the truth at each place, less their means over a level."""
        level = coordinate(self.apart, "level")
        kept = () if level is None else self.apart[level].dims
        some = [(da.isel(part) ** 2).mean(self._time) for da in (self.apart, self._anomaly)]
        logs = [da.copy(data=np.log(np.where(da > 0, da, np.nan))) for da in some]
        error, truth = (da - da.mean([d for d in da.dims if d not in kept]) for da in logs)
        return error, truth

    @property
    def rest(self) -> xr.DataArray:
        """What a regression of forecasts on the truth leaves."""
        return self.apart - self._both / self._variance * self._anomaly


def _pooled(da: xr.DataArray) -> xr.DataArray:
    """Mean of every level, and of every latitude whose values and those of its neighbours tell it."""
    level, lat = coordinate(da, "level"), coordinate(da, "lat")
    kept = () if level is None else da[level].dims
    if lat is None:
        return _of_levels(da)
    others = [d for d in da.dims if d not in (*kept, lat)]
    known = da.notnull().sum(others)
    if da[lat].dims != (lat,) or int(known.min()) < _ENOUGH:
        return _of_levels(da)
    at = np.asarray(da[lat].values, float)
    near = xr.DataArray((np.abs(at[:, None] - at) <= _NEAR) * np.asarray(_area(da[lat])), dims=(lat, "other"))
    sums, counts = (a.drop_vars(lat).rename({lat: "other"}) for a in (da.sum(others), known))
    mean = xr.dot(near, sums, dim="other") / xr.dot(near, counts, dim="other")
    return xr.DataArray(mean.assign_coords({lat: da[lat]}).transpose(*kept, lat))


def _of_levels(da: xr.DataArray) -> xr.DataArray:
    """Mean of every level over area and time."""
    level, lat = coordinate(da, "level"), coordinate(da, "lat")
    others = [d for d in da.dims if level is None or d not in da[level].dims]
    return xr.DataArray(da.mean(others) if lat is None else da.weighted(_area(da[lat])).mean(others))


def _area(lat: xr.DataArray) -> xr.DataArray:
    return xr.DataArray(np.cos(np.deg2rad(lat)).clip(min=1e-6))


def _memory(apart: xr.Dataset, time: str) -> float:
    """Hours after which differences are forgotten, by the correlation of neighbouring times."""
    step = float(np.median(np.diff(hours(apart[time]))))
    both = square = 0.0
    for da in apart.data_vars.values():
        values = np.moveaxis(np.asarray(da.values, float), da.get_axis_num(time), 0)
        pair = np.isfinite(values[1:]) & np.isfinite(values[:-1])
        both += float((values[1:] * values[:-1])[pair].sum())
        square += float(((values[1:] ** 2 + values[:-1] ** 2) / 2)[pair].sum())
    return -step / float(np.log(np.clip(both / max(square, 1e-30), _LEAST, _MOST)))


def stated_background(error: object) -> tuple[Any, BackgroundCorrelation | None]:
    """Return what a user gives as ``background_error=`` as standard deviations, and how errors are correlated."""
    given = error if isinstance(error, BackgroundError) else BackgroundError(error, correlation="increments")  # type: ignore[arg-type]
    return given.std, given.latent
