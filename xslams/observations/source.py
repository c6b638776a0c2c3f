"""A source of observations, and its likelihood: values, error variances, and the linear map from the model's fields.

Row n of the operator is a product of three rows of weights: which frames (`match_times`), which channels (levels), and
which cells (`point_weights`, `cell_weights`) the n-th value observes. Missing values, and values that lie outside of
the model's domain or period, make no row.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
import xarray as xr

from xslams.coordinates import Grid, check_order, coordinate, hours, listed, stamp
from xslams.errors import CoverageError, DimensionError, ObservationError, SlamsWarning
from xslams.models.spec import Spec, VariableSpec
from xslams.observations.matching import choose, factors
from xslams.observations.places import cells, channels, expand, listed_levels
from xslams.observations.times import TimeMatch, match_times
from xslams.observations.uncertainty import Error, standard_error
from xslams.schema import match_variables
from xslams.typing import Method, SourceArrays
from xslams.weights import row_kron

__all__ = ["Observation", "ObservationsLike", "as_observations", "background_observation"]

_METHODS = ("bilinear", "conservative", "nearest")
# An error of zero is taken as this share of the spread of the values, since a likelihood without error is degenerate.
_EXACT = 1e-3


class Observation:
    """A source of observations on its own grid or at points, with its error.

    Parameters
    ----------
    data
        What was measured: dimensions may be time, a level, and latitude and longitude (a grid) or anything on which
        latitude and longitude depend (stations, tracks, curvilinear grids). Missing values are NaN. Needs units.
    variable
        Which variables of `data` to use: a name, several, or a mapping of names in the data to names in the model. By
        default all that the model has, by standard name or name.
    error
        Standard deviation of the error, of instrument and representativeness, **in the units of the data**: a number, a
        mapping per variable, or a DataArray with some of the dimensions of the data, and ``month`` or another part of
        the date where it varies with it. A value whose error is NaN is not used. Zero stands for a thousandth of the
        spread of the values.
    operator
        Not supported yet; leave it None.
    method
        How a value relates to the model's grid: ``"bilinear"`` interpolates to its place, ``"nearest"`` takes the cell
        that holds it, ``"conservative"`` averages over the cells of a gridded source (their bounds, or half way
        between).
    tolerance
        How far the nearest frame may be, in hours or as ``"3h"``; half a step by default. Averages over longer periods
        (monthly means) observe the mean of the frames in them, see `xslams.observations.times`.
    qc
        Not supported yet; leave it None.
    name
        Name of the source, for messages; by default that of the variable.

    Raises
    ------
    ObservationError
        If an argument is not usable.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr, xslams
    >>> stations = xr.DataArray(
    ...     [[21.5, np.nan]],
    ...     dims=("time", "station"),
    ...     coords={
    ...         "time": pd.date_range("2014-07-01", periods=1),
    ...         "lat": ("station", [40.0, 47.5]),
    ...         "lon": ("station", [-105.2, -120.0]),
    ...     },
    ...     name="tavg",
    ...     attrs={"units": "degC", "standard_name": "air_temperature"},
    ... )
    >>> xslams.Observation(stations, error=1.5, name="USCRN")
    <xslams.Observation 'USCRN': tavg [degC] (time: 1, station: 2), method bilinear, error 1.5>
    """

    def __init__(
        self,
        data: xr.DataArray | xr.Dataset,
        variable: str | Sequence[str] | Mapping[str, str] | None = None,
        error: Error | None = None,
        operator: None = None,
        method: Method = "bilinear",
        tolerance: float | str | pd.Timedelta | np.timedelta64 | None = None,
        qc: None = None,
        name: str | None = None,
    ) -> None:
        # As objects: the annotations say what is allowed, and users pass something else all the same.
        unchecked: dict[str, object] = {"data": data, "operator": operator, "qc": qc}
        if not isinstance(unchecked["data"], xr.DataArray | xr.Dataset):
            msg = (
                f"An Observation needs an xarray DataArray or Dataset; got {type(data).__name__}. "
                "Wrap it with its coordinates."
            )
            raise ObservationError(msg)
        for what in ("operator", "qc"):
            if (value := unchecked[what]) is not None:
                msg = (
                    f"{what}= is not supported yet; got {type(value).__name__}. Apply it to the data before, "
                    f"and leave {what}=None."
                )
                raise ObservationError(msg)
        if method not in _METHODS:
            msg = f"method={method!r} is unknown; expected one of {listed(_METHODS)}."
            raise ObservationError(msg)
        self.data = data
        self.variable = variable
        self.error = error
        self.method: Method = method
        self.tolerance = _as_hours(tolerance)
        self.name = name if name is not None else _default_name(data, variable)

    def replace(self, **changes: Any) -> Observation:
        """Copy with other data, variable, error, method, tolerance or name.

        Parameters
        ----------
        **changes
            Attributes to set.

        Returns
        -------
        Observation
            The copy, which keeps everything else, the exact operator of simulated observations included.
        """
        unknown = set(changes) - {"data", "variable", "error", "method", "tolerance", "name"}
        if unknown:
            msg = f"An Observation has no {listed(sorted(unknown))} to replace."
            raise ObservationError(msg)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, **changes)
        other.tolerance = _as_hours(other.tolerance)
        return other

    def __repr__(self) -> str:
        ds = _as_dataset(self.data)
        names = [str(n) for n in ds.data_vars]
        if isinstance(self.variable, str):
            names = [self.variable] if self.variable in names else names
        elif self.variable is not None:
            names = [n for n in self.variable if n in names]
        fields = ", ".join(f"{n} [{ds[n].attrs.get('units', 'no units')}]" for n in names[:4]) + (
            ", ..." if len(names) > 4 else ""
        )
        sizes = ", ".join(f"{d}: {n}" for d, n in (ds[names[0]].sizes if names else ds.sizes).items())
        error = (
            f"{self.error:g}" if isinstance(self.error, float | int) else "missing" if self.error is None else "given"
        )
        return f"<xslams.Observation {self.name!r}: {fields} ({sizes}), method {self.method}, error {error}>"

    def check(self, spec: Spec, time: xr.DataArray) -> None:
        """Raise or warn as `to_arrays` does, without reading lazy data.

        Parameters
        ----------
        spec
            The model's.
        time
            All frames of the assimilation.
        """
        ds = _as_dataset(self.data)
        lazy = any(da.chunks is not None for da in ds.data_vars.values())
        self._collect(spec, time, strict=True, read=not lazy)

    def to_arrays(self, spec: Spec, time: xr.DataArray, *, strict: bool = True) -> SourceArrays:
        """Build the likelihood of this source for some frames of a model.

        Parameters
        ----------
        spec
            The model's.
        time
            Ascending times of the frames, shape (time,).
        strict
            Raise where there is nothing to assimilate, and warn about what is dropped. A pipeline that works through
            the period in segments checks the whole period first, and then builds each segment with False.

        Returns
        -------
        SourceArrays
            Values and variances in the model's units, and the operator of shape (n, time * channel * lat * lon).

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError
            If the data cannot be understood as observations of the model's variables.
        CoverageError
            If no value lies in the period and domain of the model, or all are missing.
        """
        parts = self._collect(spec, time, strict=strict, read=True)
        shape = (0, len(time) * spec.channels * len(spec.lat) * len(spec.lon))
        return SourceArrays(
            name=self.name,
            operator=sp.csr_array(sp.vstack([p.operator for p in parts], format="csr"))
            if parts
            else sp.csr_array(shape),
            values=np.concatenate([p.values for p in parts]) if parts else np.zeros(0),
            variance=np.concatenate([p.variance for p in parts]) if parts else np.zeros(0),
        )

    def _collect(self, spec: Spec, time: xr.DataArray, *, strict: bool, read: bool) -> list[SourceArrays]:
        """Likelihood of each variable, those without any value left out."""
        check_order(time)
        ds = _as_dataset(self.data)
        parts: list[SourceArrays] = []
        empty: list[str] = []
        for name, variable in choose(ds, self.variable, spec, self.name).items():
            try:
                parts.append(self._one(ds, name, variable, spec, time, strict=strict, read=read))
            except CoverageError as e:
                empty.append(str(e))
        if strict and not parts:
            raise CoverageError("\n".join(empty))
        if strict:
            for text in empty:
                _warn(text)
        return parts

    def _one(
        self,
        ds: xr.Dataset,
        name: str,
        variable: VariableSpec,
        spec: Spec,
        time: xr.DataArray,
        *,
        strict: bool,
        read: bool,
    ) -> SourceArrays:
        da = ds[name]
        factor, offset = factors(da, variable, self.name)
        at = coordinate(da, "time")
        if at is None:
            msg = (
                f"Source {self.name!r}: {name!r} has no time coordinate among {listed(da.coords)}. "
                "Assign one: .assign_coords(time=...)."
            )
            raise DimensionError(msg)
        match = self._match(ds, da, at, spec, time)
        if strict:
            self._report_time(da[at], match, time, spec)
        if not match.matched.any():
            msg = (
                f"Source {self.name!r} covers {_period(da[at])}; the state covers {_period(time)}. No time overlaps. "
                "Select the same period, or check the years and the calendar."
            )
            raise CoverageError(msg)
        if da[at].ndim == 1:
            # What lies outside of the period is not even read.
            keep = np.flatnonzero(match.matched)
            ds, da = ds.isel({da[at].dims[0]: keep}), da.isel({da[at].dims[0]: keep})
            match = TimeMatch(sp.csr_array(match.weights[keep]), match.averages, match.missed)
        space, place = self._cells(ds, da, Grid.of_spec(spec))
        vertical, level = channels(da, variable, spec, self.method, self.name)
        when = xr.DataArray(np.arange(da[at].size).reshape(da[at].shape), dims=da[at].dims)
        extra = [d for d in da.dims if d not in {*place.dims, *level.dims, *when.dims}]
        if extra:
            msg = (
                f"Source {self.name!r}: {name!r} varies along {listed(extra)}, on which neither time, "
                "place nor level depend. "
                f"Select along it with .isel(), or give latitude and longitude that dimension."
            )
            raise DimensionError(msg)
        here, there = np.diff(space.indptr) > 0, np.diff(vertical.indptr) > 0
        if strict:
            self._report_place(here, there, spec, variable)
        if not here.any() or not there.any():
            msg = (
                f"Source {self.name!r}: all {len(here) if not here.any() else len(there)} "
                f"{'places' if not here.any() else 'levels'} lie outside of the model's domain, {Grid.of_spec(spec)}"
                f"{f', levels {listed_levels(variable)}' if not there.any() else ''}. Check latitude, "
                "longitude and level."
            )
            raise CoverageError(msg)
        error = standard_error(self.error, da, (name, variable.name), self.name)
        width = len(time) * spec.channels * len(spec.lat) * len(spec.lon)
        if not read:
            return SourceArrays(self.name, sp.csr_array((0, width)), np.zeros(0), np.zeros(0))
        values = np.asarray(da.values, float)
        t, c, s = (expand(index, da) for index in (when, level, place))
        measured = np.isfinite(values) & here[s] & there[c]
        valid = measured & np.isfinite(error)
        if not valid.any():
            why = "has no finite error (error=) for any of its" if measured.any() else "holds no finite value among its"
            msg = (
                f"Source {self.name!r}: {name!r} {why} {int((here[s] & there[c]).sum())} elements "
                f"in the period and domain of the state. Check missing_value and the selection."
            )
            raise CoverageError(msg)
        if strict and (lost := int((measured & ~valid).sum())):
            _warn(
                f"Source {self.name!r}: {lost} of {int(measured.sum())} values of {name!r} have no finite error "
                "(error=) and are dropped."
            )
        t, c, s = t[valid], c[valid], s[valid]
        operator = row_kron(row_kron(match.weights, vertical, t, c), space, rows_b=s)
        y = factor * values[valid] + offset
        sigma = abs(factor) * error[valid]
        exact = max(_EXACT * float(np.std(y)), 1e-6 * max(float(np.abs(y).max()), 1e-6))
        return SourceArrays(self.name, operator, y, np.where(sigma > 0, sigma, exact) ** 2)

    def _cells(self, ds: xr.Dataset, da: xr.DataArray, grid: Grid) -> tuple[sp.csr_array, xr.DataArray]:
        """Weights of the model's cells for each place, and the place of each element."""
        return cells(ds, da, grid, self.method, self.name)

    def _match(self, ds: xr.Dataset, da: xr.DataArray, at: str, spec: Spec, time: xr.DataArray) -> TimeMatch:
        stamps = da[at]
        if stamps.dims == (at,) and (repeated := int(stamps.to_index().duplicated().sum())):
            msg = (
                f"Source {self.name!r}: {repeated} of {stamps.size} times repeat an earlier one. "
                f"Drop or average them: .drop_duplicates({at!r}) or .groupby({at!r}).mean()."
            )
            raise DimensionError(msg)
        bounds = ds.variables.get(stamps.attrs.get("bounds", stamps.encoding.get("bounds")))
        limits = xr.DataArray(bounds) if bounds is not None else None
        return match_times(stamps, time, spec.time_step, tolerance=self.tolerance, attrs=da.attrs, bounds=limits)

    def _report_time(self, stamps: xr.DataArray, match: TimeMatch, time: xr.DataArray, spec: Spec) -> None:
        if match.missed and match.matched.any():
            _warn(
                f"Source {self.name!r}: {match.missed} of {stamps.size} times lie between the frames of the state and "
                "are dropped. "
                f"Frames are {spec.time_step:g} h apart; raise tolerance= to use them."
            )
        if match.crowding > 1 and stamps.ndim == 1 and stamps.dims[0] == stamps.name:
            _warn(
                f"Source {self.name!r}: up to {match.crowding} times fall on one frame of the state "
                f"({spec.time_step:g} h), each as an "
                "observation with an independent error. Average them first: .resample(time=...).mean()."
            )

    def _report_place(
        self, here: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_], spec: Spec, variable: VariableSpec
    ) -> None:
        if here.any() and (out := int((~here).sum())):
            _warn(
                f"Source {self.name!r}: {out} of {len(here)} places lie outside of the model's domain, "
                f"{Grid.of_spec(spec)}, and are dropped."
            )
        if there.any() and (out := int((~there).sum())):
            _warn(
                f"Source {self.name!r}: {out} of {len(there)} levels lie outside of the model's, "
                f"{listed_levels(variable)}, and are dropped."
            )


def _warn(text: str) -> None:
    warnings.warn(text, SlamsWarning, stacklevel=2)


def _as_hours(tolerance: float | str | pd.Timedelta | np.timedelta64 | None) -> float | None:
    if tolerance is None:
        return None
    try:
        value = float(tolerance) if isinstance(tolerance, int | float) else pd.Timedelta(tolerance) / pd.Timedelta("1h")
    except (TypeError, ValueError) as e:
        msg = f"tolerance={tolerance!r} is no time span; expected hours, or for instance '3h'."
        raise ObservationError(msg) from e
    if not value >= 0:
        msg = f"tolerance={tolerance!r} must be zero or more."
        raise ObservationError(msg)
    return float(value)


def _default_name(data: xr.DataArray | xr.Dataset, variable: str | Sequence[str] | Mapping[str, str] | None) -> str:
    if isinstance(variable, str):
        return variable
    if variable is not None:
        return "+".join(variable)
    return (
        str(data.name if data.name is not None else "observations")
        if isinstance(data, xr.DataArray)
        else "+".join(map(str, data.data_vars))
    )


def _as_dataset(data: xr.DataArray | xr.Dataset) -> xr.Dataset:
    return (
        data
        if isinstance(data, xr.Dataset)
        else data.to_dataset(name=data.name if data.name is not None else "observations")
    )


def _period(time: xr.DataArray) -> str:
    at = hours(time).ravel()
    stamps = time.values.ravel()
    return f"{stamp(stamps[at.argmin()])} to {stamp(stamps[at.argmax()])}"


ObservationsLike = Observation | xr.DataArray | xr.Dataset | Sequence[Observation | xr.DataArray | xr.Dataset]
"""What ``obs=`` accepts."""


def as_observations(obs: ObservationsLike) -> list[Observation]:
    """List of observations, whatever was given.

    Parameters
    ----------
    obs
        An Observation, DataArray or Dataset, or a list of them.

    Returns
    -------
    list of Observation
        One for each.

    Raises
    ------
    ObservationError
        If something else is given.
    """
    items: object = [obs] if isinstance(obs, Observation | xr.DataArray | xr.Dataset) else obs
    if not isinstance(items, Sequence) or isinstance(items, str):
        msg = f"obs= must be an Observation, DataArray or Dataset, or a list of them; got {type(obs).__name__}."
        raise ObservationError(msg)
    return [o if isinstance(o, Observation) else Observation(o) for o in items]


def background_observation(ds: xr.Dataset, spec: Spec, background_error: Error) -> Observation:
    """Make the background one more source: the state itself, cell by cell.

    Parameters
    ----------
    ds
        State on the model's grid.
    spec
        The model's.
    background_error
        Standard deviation of its error in the units of the Dataset: a number, a mapping per variable, or a DataArray.

    Returns
    -------
    Observation
        Of every state variable.

    Raises
    ------
    ObservationError
        If one number stands for variables of several units.
    """
    names = match_variables(ds, spec.state)
    units = {str(ds[n].attrs.get("units", "")) for n in names.values()}
    if len(units) > 1 and not isinstance(background_error, Mapping | xr.Dataset):
        msg = (
            f"background_error= is one number for variables in {listed(sorted(units))}. "
            f"Give one each: background_error={{{', '.join(f'{n!r}: ...' for n in names.values())}}}."
        )
        raise ObservationError(msg)
    return Observation(
        ds[list(names.values())],
        variable={here: there for there, here in names.items()},
        error=background_error,
        method="nearest",
        name="background",
    )
