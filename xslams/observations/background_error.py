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
    variables, and in time; the standard deviation is scaled to what is stated.

    Parameters
    ----------
    std
        Standard deviation in the units of the Dataset: a number, a mapping per variable, a DataArray or a Dataset.
    correlation
        ``"prior"``, or ``"none"`` for errors that are independent from value to value.
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
        Share of the variance that is independent.
    localization
        Where the background is an ensemble: length in km over which its sample covariance is localised; by default 500
        times the root of the number of members. On a plane it is two latent cells.
    static
        Where the background is an ensemble: weight of this error against the localised sample covariance of the
        members, above 0 to 1; by default 2 / (members + 3), and 0.05 or more.

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
    correlation: Literal["prior", "none"] = "prior"
    length: float | None = None
    time: float | None = None
    independent: float = 0.01
    localization: float | None = None
    static: float | None = None
    vertical: float | None = None

    def __post_init__(self) -> None:
        given: Any = self.std
        require(given is not None, "std", given, "the standard deviation of the background", ObservationOptionError)
        check_stated(self.std, "background_error", positive=True)
        kind: Any = self.correlation
        known = isinstance(kind, str) and kind in ("prior", "none")
        require(known, "correlation", kind, "'prior' or 'none'", ObservationOptionError)
        for name, units in _LENGTHS.items():
            value: Any = getattr(self, name)
            positive = value is None or (is_number(value) and float(value) > 0)
            require(positive, name, value, f"a positive number of {units}", ObservationOptionError)
            if value is not None and kind == "none":
                msg = f"{name}={shown(value)} with correlation='none'; leave one of them out."
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
        return f"BackgroundError({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return page("xslams.BackgroundError", "", [settings(self)], repr(self))

    @property
    def latent(self) -> BackgroundCorrelation | None:
        """How errors are correlated; None where they are independent."""
        if self.correlation == "none":
            return None
        return BackgroundCorrelation(
            self.length, self.time, self.independent, self.localization, self.static, self.vertical
        )

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
            Root mean square difference of every variable and level, and of every latitude where there are values
            enough, averaged with those within five degrees; larger where differences depend on the truth, as those of
            forecasts that vary as much as it does. With the hours in which differences are forgotten; in space
            correlated as the prior.

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
        std: dict[Any, xr.DataArray] = {}
        for n in names:
            std[n] = xr.DataArray(np.sqrt(_variance(apart[n], truth[n], at)))
            if not bool((std[n] > 0).all()):
                msg = (
                    f"Forecasts and truth of {n!r} do not differ, or have no value in common; there is no error to fit."
                )
                raise ObservationOptionError(msg)
            std[n].attrs = {k: v for k, v in forecasts[n].attrs.items() if k == "units"}
        return cls(xr.Dataset(std), time=_memory(apart / xr.Dataset(std), at))


def _variance(apart: xr.DataArray, truth: xr.DataArray, time: str) -> xr.DataArray:
    r"""Variance of errors that do not depend on the truth and tell as much as those of forecasts.

    Forecasts that vary as much as the truth miss its extremes: with errors of mean square :math:`e^2` that have the
    covariance :math:`-c` with a truth of variance :math:`\sigma^2`, mean and variance of the truth given a forecast
    agree with its actual error for the error variance :math:`e^2 / (1 - 2 c / \sigma^2)`.
    """
    square = _pooled(apart**2)
    if apart.sizes[time] < _TIMES:
        return square
    anomaly = truth.where(apart.notnull())
    anomaly = anomaly - anomaly.mean(time)
    share = -2 * _pooled(apart * anomaly) / _pooled(anomaly**2).clip(min=1e-30)
    return xr.DataArray(square / (1 - share.clip(min=0, max=_MOST_SHARE)))


def _pooled(da: xr.DataArray) -> xr.DataArray:
    """Mean of every level, and of every latitude whose values and those of its neighbours tell it."""
    level, lat = coordinate(da, "level"), coordinate(da, "lat")
    kept = () if level is None else da[level].dims
    if lat is None:
        return xr.DataArray(da.mean([d for d in da.dims if d not in kept]))
    weight = xr.DataArray(np.cos(np.deg2rad(da[lat])).clip(min=1e-6))
    others = [d for d in da.dims if d not in (*kept, lat)]
    known = da.notnull().sum(others)
    if da[lat].dims == (lat,) and int(known.min()) >= _ENOUGH:
        at = np.asarray(da[lat].values, float)
        near = xr.DataArray((np.abs(at[:, None] - at) <= _NEAR) * np.asarray(weight), dims=(lat, "other"))
        sums, counts = (a.drop_vars(lat).rename({lat: "other"}) for a in (da.sum(others), known))
        mean = xr.dot(near, sums, dim="other") / xr.dot(near, counts, dim="other")
        return xr.DataArray(mean.assign_coords({lat: da[lat]}).transpose(*kept, lat))
    return xr.DataArray(da.weighted(weight).mean([d for d in da.dims if d not in kept]))


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
    given = error if isinstance(error, BackgroundError) else BackgroundError(error)  # type: ignore[arg-type]
    return given.std, given.latent
