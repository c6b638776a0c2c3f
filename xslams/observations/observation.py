"""A source of observations, and its likelihood: values, error variances, and the linear map from the model's fields.

Row n of the operator is a product of three rows of weights: which frames (`match_times`), which channels (levels), and
which cells (`point_weights`, `cell_weights`) the n-th value observes. Missing values, and values that lie outside of
the model's domain or period, make no row.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
import xarray as xr

from xslams.errors import CoverageError, DimensionError, ObservationError, SlamsWarning, UnitError
from xslams.geometry import Grid
from xslams.labels.calendar import check_order, hours, stamp
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.grid import grid_of_spec
from xslams.labels.variables import match_variables
from xslams.observations.errors import Error, spread_over, standard_error
from xslams.observations.flags import Rule, accepted, ancillary, passes
from xslams.observations.horizontal import cells, expand
from xslams.observations.quality import QualityControl
from xslams.observations.reading import as_dataset, drop_padding
from xslams.observations.reading import read as read_data
from xslams.observations.superob import boxes, combined, model_cells, positions, reduced, row_keys, within_cell
from xslams.observations.temporal import TimeMatch, bounds_of, is_sum, match_times, period_lengths
from xslams.observations.variables import choose, factors
from xslams.observations.vertical import channels, listed_levels
from xslams.spec import Spec, VariableSpec
from xslams.typing import PER_VALUE, FieldFunction, FloatArray, Method, SourceArrays
from xslams.weights import row_kron

__all__ = ["Observation", "ObservationsLike", "Owner", "as_observations", "background_observation", "warn"]

_METHODS = ("bilinear", "conservative", "nearest")
# An error of zero is taken as this share of the spread of the values, since a likelihood without error is degenerate.
_EXACT = 1e-3


@dataclass(frozen=True)
class Owner:
    """Frames of which a segment of the time axis keeps the result; their observations are counted there and only there.

    Attributes
    ----------
    time
        Times of all frames.
    first, last
        Range of the frames that the segment keeps.
    """

    time: xr.DataArray
    first: int
    last: int


IntArray = npt.NDArray[np.intp]


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
        spread of the values. By default the variable with standard name ``... standard_error`` that
        ``ancillary_variables`` names.
    operator
        What the instrument sees of the state, where that is no variable of the model: a function of physical fields,
        a mapping from the name of every variable of the model to a torch tensor of shape (batch, time, [level,] lat,
        lon) in the model's units, that returns a tensor of shape (batch, time, lat, lon) in the units of the data, or
        in those that its attribute ``units`` names. It has to be differentiable; see `xslams.testing.check_adjoint`.
    method
        How a value relates to the model's grid: ``"bilinear"`` interpolates to its place, ``"nearest"`` takes the cell
        that holds it, ``"conservative"`` averages over the cells of a gridded source (their bounds, or half way
        between).
    tolerance
        How far the nearest frame may be, in hours or as ``"3h"``; half a step by default. Averages over longer periods
        (monthly means) observe the mean of the frames in them, see `xslams.observations.temporal`.
    qc
        Quality control: a `QualityControl`, or a dict of its attributes.
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
        operator: FieldFunction | None = None,
        method: Method = "bilinear",
        tolerance: float | str | pd.Timedelta | np.timedelta64 | None = None,
        qc: QualityControl | Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        # As objects: the annotations say what is allowed, and users pass something else all the same.
        unchecked: dict[str, object] = {"data": data, "operator": operator}
        if not isinstance(unchecked["data"], xr.DataArray | xr.Dataset):
            msg = (
                f"An Observation needs an xarray DataArray or Dataset; got {type(data).__name__}. "
                "Wrap it with its coordinates."
            )
            raise ObservationError(msg)
        if unchecked["operator"] is not None and not callable(unchecked["operator"]):
            msg = (
                f"operator= must be a function of physical fields (a mapping from name to torch tensor); got "
                f"{type(operator).__name__}."
            )
            raise ObservationError(msg)
        if method not in _METHODS:
            msg = f"method={method!r} is unknown; expected one of {listed(_METHODS)}."
            raise ObservationError(msg)
        self.data = data
        self.variable = variable
        self.error = error
        self.operator = operator
        self.method: Method = method
        self.tolerance = _as_hours(tolerance)
        self.qc = QualityControl.of(qc)
        self.name = name if name is not None else _default_name(data, variable)

    def replace(self, **changes: Any) -> Observation:
        """Copy with other data, variable, error, operator, method, tolerance, qc or name.

        Parameters
        ----------
        **changes
            Attributes to set.

        Returns
        -------
        Observation
            The copy, which keeps everything else, the exact operator of simulated observations included.
        """
        unknown = set(changes) - {"data", "variable", "error", "operator", "method", "tolerance", "qc", "name"}
        if unknown:
            msg = f"An Observation has no {listed(sorted(unknown))} to replace."
            raise ObservationError(msg)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, **changes)
        other.tolerance = _as_hours(other.tolerance)
        other.qc = QualityControl.of(other.qc)
        return other

    def __repr__(self) -> str:
        ds = as_dataset(self.data)
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
        operator = "" if self.operator is None else f", operator {getattr(self.operator, '__name__', 'given')}"
        return f"<xslams.Observation {self.name!r}: {fields} ({sizes}), method {self.method}, error {error}{operator}>"

    def check(self, spec: Spec, time: xr.DataArray) -> None:
        """Raise or warn as `to_arrays` does, without reading lazy data.

        Parameters
        ----------
        spec
            The model's.
        time
            All frames of the assimilation.
        """
        ds = as_dataset(self.data)
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
        parts = [reduced(p) for p in self.to_parts(spec, time, strict=strict) if p.values.size]
        if len(parts) == 1:
            return replace(parts[0], name=self.name)
        width = len(time) * (1 if self.operator is not None else spec.channels) * len(spec.lat) * len(spec.lon)
        if not parts:
            return SourceArrays(self.name, sp.csr_array((0, width)), np.zeros(0), np.zeros(0), self.operator)
        operator = sp.csr_array(sp.vstack([p.operator for p in parts], format="csr"))
        # Quality control is that of the source, so that all parts have the same attributes; biases are their own.
        names = [n for n in PER_VALUE if getattr(parts[0], n) is not None]
        arrays: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
        if parts[0].group is not None:
            sizes = np.cumsum([0, *(int(p.group.max()) + 1 for p in parts if p.group is not None)])
            shift = np.repeat(sizes[:-1], [p.values.size for p in parts])
            arrays["group"] = arrays["group"] + shift
        rejected = sum((Counter(p.rejected) for p in parts), Counter())
        given = sum(p.given for p in parts)
        return replace(parts[0], name=self.name, operator=operator, given=given, rejected=rejected, **arrays)

    def to_parts(
        self, spec: Spec, time: xr.DataArray, *, strict: bool = True, owner: Owner | None = None
    ) -> list[SourceArrays]:
        """Build the likelihood of each variable, not yet thinned and averaged, and count what is left out.

        Parameters
        ----------
        spec, time, strict
            As for `to_arrays`.
        owner
            Frames whose observations are counted here; by default all.

        Returns
        -------
        list of SourceArrays
            One for each variable, also for those without any value; named like `labels`.

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError, CoverageError
            As `to_arrays`.
        """
        return self._collect(spec, time, strict=strict, read=True, owner=owner)

    def labels(self, spec: Spec) -> list[str]:
        """Names of the parts: that of the source, with the variable where it has several."""
        names = list(self._chosen(read_data(self.data, self.name), spec))
        return [self.name] if len(names) == 1 else [f"{self.name}:{name}" for name in names]

    def units(self, spec: Spec) -> list[str]:
        """Units of the values of the parts."""
        return [v.units for v in self._chosen(read_data(self.data, self.name), spec).values()]

    def _chosen(self, ds: xr.Dataset, spec: Spec) -> dict[str, VariableSpec]:
        """Variables of the data and what they observe."""
        if self.operator is None:
            return choose(ds, self.variable, spec, self.name)
        asked = [self.variable] if isinstance(self.variable, str) else list(self.variable or ds.data_vars)
        if len(asked) != 1 or asked[0] not in ds.data_vars:
            msg = (
                f"Source {self.name!r}: an operator= makes one variable; the data have {listed(ds.data_vars)}"
                f"{f', and variable= names {listed(asked)}' if self.variable is not None else ''}. "
                "Choose one of them: variable='name'."
            )
            raise ObservationError(msg)
        name = str(asked[0])
        units = getattr(self.operator, "units", None) or ds[name].attrs.get("units", "1")
        return {name: VariableSpec(name, str(units))}

    def _collect(
        self, spec: Spec, time: xr.DataArray, *, strict: bool, read: bool, owner: Owner | None = None
    ) -> list[SourceArrays]:
        """Likelihood of each variable."""
        check_order(time)
        ds = read_data(self.data, self.name)
        parts: list[SourceArrays] = []
        empty: list[str] = []
        for label, (name, variable) in zip(self.labels(spec), self._chosen(ds, spec).items(), strict=True):
            # What an operator makes is as good as the only variable of a model.
            of = spec if self.operator is None else replace(spec, variables=(variable,))
            part, why = self._one(ds, name, variable, of, time, strict=strict, read=read, owner=owner)
            parts.append(replace(part, name=label))
            if why:
                empty.append(why)
        if strict and len(empty) == len(parts):
            raise CoverageError("\n".join(empty))
        if strict:
            for text in empty:
                warn(text)
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
        owner: Owner | None,
    ) -> tuple[SourceArrays, str]:
        """Likelihood of one variable, and why it is empty."""
        ds, padding = drop_padding(ds, name)
        da = ds[name]
        at = coordinate(da, "time")
        if at is None:
            called = f" ({'time'!r} is of type {da['time'].dtype}, which is no time)" if "time" in da.coords else ""
            msg = (
                f"Source {self.name!r}: {name!r} has no time coordinate among {listed(da.coords)}{called}. "
                "Assign one: .assign_coords(time=pandas.to_datetime(...))."
            )
            raise DimensionError(msg)
        if da.dtype.kind not in "fiub":
            msg = f"Source {self.name!r}: {name!r} is of type {da.dtype}; expected numbers. Convert it: .astype(float)."
            raise ObservationError(msg)
        if not da.size or not da[at].size:
            return SourceArrays(
                name, sp.csr_array((0, len(time) * spec.channels * len(spec.lat) * len(spec.lon))), np.zeros(0),
                np.zeros(0), self.operator,
            ), f"Source {self.name!r}: {name!r} is empty, {dict(da.sizes)}. Check the selection."  # fmt: skip
        factor, offset = self._factors(ds, da, at, variable)
        match = self._match(ds, da, at, spec, time)
        count = _Count(*self._owned(ds, da, at, spec, match, owner), da.size // max(da[at].size, 1))
        count.given += padding * (owner is None or owner.first == 0)
        count.rejected["missing"] += padding * (owner is None or owner.first == 0)
        width = len(time) * spec.channels * len(spec.lat) * len(spec.lon)

        def nothing() -> SourceArrays:
            empty = sp.csr_array((0, width)), np.zeros(0), np.zeros(0)
            return SourceArrays(name, *empty, self.operator, given=count.given, rejected=dict(count.rejected))

        if strict:
            self._report_time(da, at, match, time, spec)
        if not match.matched.any():
            return nothing(), (
                f"Source {self.name!r} covers {_period(da[at])}; the state covers {_period(time)}. No time overlaps. "
                "Select the same period, or check the years and the calendar."
            )
        if da[at].ndim == 1:
            # What lies outside of the period is not even read.
            keep = np.flatnonzero(match.matched)
            ds, da = ds.isel({da[at].dims[0]: keep}), da.isel({da[at].dims[0]: keep})
            match = replace(match, weights=sp.csr_array(match.weights[keep]))
            factor = factor[keep] if isinstance(factor, np.ndarray) else factor
            count.select(keep)
        space, place = self._cells(ds, da, grid_of_spec(spec))
        vertical, level = channels(ds, da, variable, spec, self.method, self.name, read=read)
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
        names = (name, variable.name)
        error, flags = self._quality(ds, da, names)
        t, c, s = (expand(index, da) for index in (when, level, place))
        if read:
            # Of data that are not read there may be more than memory holds; even a mask is too large.
            count.reject("time", match.matched[t], t)
            count.reject("place", here[s], t)
            count.reject("level", there[c], t)
        if not here.any() or not there.any():
            return nothing(), (
                f"Source {self.name!r}: all {len(here) if not here.any() else len(there)} "
                f"{'places' if not here.any() else 'levels'} lie outside of the model's domain, {grid_of_spec(spec)}"
                f"{f', levels {listed_levels(variable)}' if not there.any() else ''}. Check latitude, "
                "longitude and level."
            )
        if not read:
            return nothing(), ""
        values = np.asarray(da.values, float)
        what, known = "error (error=)", np.isfinite(error)
        if self.qc.bias is not None:
            bias = spread_over(self.qc.bias, da, names, self.name, "bias", signed=True)
            what, known = "error or bias (error=, qc bias)", known & np.isfinite(bias)
            values = values - np.where(np.isfinite(bias), bias, 0.0)
        count.reject("missing", np.isfinite(values), t)
        for flag, rules, bits in flags:
            count.reject("flag", passes(np.asarray(flag.values), rules, bits=bits), t)
        measured = count.valid.copy()
        valid = count.reject("error", known, t)
        if not valid.any():
            if measured.any():
                why = f"has no finite {what} for any of its"
            elif count.rejected["flag"]:
                why = f"is rejected by its flag {listed(f.name for f, *_ in flags)} for all of its"
            else:
                why = "holds no finite value among its"
            return nothing(), (
                f"Source {self.name!r}: {name!r} {why} {int((here[s] & there[c]).sum())} elements "
                f"in the period and domain of the state. Check missing_value and the selection."
            )
        if strict and (lost := int((measured & ~valid).sum())):
            warn(
                f"Source {self.name!r}: {lost} of {int(measured.sum())} values of {name!r} have no finite {what} "
                "and are dropped."
            )
        t, c, s = t[valid], c[valid], s[valid]
        slope = factor[t] if isinstance(factor, np.ndarray) else factor
        y = slope * values[valid] + offset
        scale = np.abs(slope)
        sigma = scale * error[valid]
        exact = max(_EXACT * float(np.std(y)), 1e-6 * max(float(np.abs(y).max()), 1e-6))
        sigma = np.where(sigma > 0, sigma, exact)
        # What goes with each value; chosen and averaged alike.
        more = self._more(ds, da, names, match, grid_of_spec(spec), valid, t, s, scale)
        operator = row_kron(row_kron(match.weights, vertical, t, c), space, rows_b=s)
        if self.qc.thin is not None or self.qc.superob:
            more |= self._boxes(da, place, spec, row_keys(match.weights)[t], c, s)
        if owner is not None:
            more["owned"] = count.owns(t)
        return SourceArrays(
            name, operator, y, sigma**2, self.operator, self.qc.likelihood, self.qc.background_check,
            given=count.given, rejected=dict(count.rejected), **more,
        ), ""  # fmt: skip

    def _boxes(
        self, da: xr.DataArray, place: xr.DataArray, spec: Spec, frame: IntArray, level: IntArray, s: IntArray
    ) -> dict[str, Any]:
        """Return the boxes in which values of the same frames and level are thinned or averaged."""
        lat, lon = positions(da, place)
        out: dict[str, Any] = {"spot": combined(lat, lon)[s]}
        if self.qc.thin is not None:
            box, distance = boxes(lat, lon, self.qc.thin)
            out |= {"thin_box": combined(frame, level, box[s]), "thin_distance": distance[s]}
        side = self.qc.superob
        if side:
            box = model_cells(spec, lat, lon) if side is True else boxes(lat, lon, float(side))[0]
            out["mean_box"] = combined(frame, level, box[s])
        return out

    def _factors(
        self, ds: xr.Dataset, da: xr.DataArray, at: str, variable: VariableSpec
    ) -> tuple[float | FloatArray, float]:
        """Factor and offset to the units of the model; a factor for each time where amounts become rates."""
        try:
            return factors(da, variable, self.name)
        except UnitError:
            if not is_sum(da.attrs):
                raise
            lengths = period_lengths(da[at], da.attrs, bounds_of(ds, da[at]))
            if lengths is None:
                raise
            rate = da.assign_attrs(units=f"{da.attrs['units']} day-1")
            daily, offset = factors(rate, variable, self.name)
            return daily * 24.0 / lengths.ravel(), offset

    def _quality(
        self, ds: xr.Dataset, da: xr.DataArray, names: tuple[str, ...]
    ) -> tuple[FloatArray, list[tuple[xr.DataArray, list[Rule], bool]]]:
        """Return standard errors with the shape of the data, and flags with their rules."""
        deviation, flags = ancillary(ds, da)
        given = self.error
        named = not isinstance(given, Mapping | xr.Dataset) or any(n in given for n in names)
        if deviation is not None and (given is None or not named):
            given = deviation
        error = standard_error(given, da, names, self.name)
        if self.qc.flags is False:
            return error, []
        if self.qc.flags is not None and not flags:
            msg = (
                f"Source {self.name!r}: flags={self.qc.flags!r}, but no flag belongs to {names[0]!r}. Name it: "
                f"ds[{names[0]!r}].attrs['ancillary_variables'] = 'name', and give the Dataset that holds both."
            )
            raise ObservationError(msg)
        found = []
        for flag in flags:
            rules, bits = accepted(flag, self.qc.flags, self.name)
            extra = [d for d in flag.dims if d not in da.dims]
            if extra:
                msg = f"Source {self.name!r}: the flag {flag.name!r} varies along {listed(extra)}, the data do not."
                raise ObservationError(msg)
            whole = flag.reset_coords(drop=True).broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims)
            found.append((whole, rules, bits))
        return error, found

    def _more(
        self,
        ds: xr.Dataset,
        da: xr.DataArray,
        names: tuple[str, ...],
        match: TimeMatch,
        grid: Grid,
        valid: npt.NDArray[np.bool_],
        t: IntArray,
        s: IntArray,
        scale: float | FloatArray,
    ) -> dict[str, Any]:
        """Return what quality control adds to each valid value, in the units of the model."""
        out: dict[str, Any] = {}
        if isinstance(self.qc.representativeness, str):
            if self.operator is not None:
                msg = (
                    f"Source {self.name!r}: representativeness='auto' is known for variables of the model, not for "
                    "what an operator= makes. Give its standard deviation."
                )
                raise ObservationError(msg)
            # Errors of places are taken to be independent from frame to frame.
            squares = np.asarray(match.weights.power(2).sum(axis=1)).ravel()
            out["subgrid"] = within_cell(da, grid, self.method) * squares[t]
        elif self.qc.representativeness is not None:
            out["local"] = (
                scale * spread_over(self.qc.representativeness, da, names, self.name, "representativeness")[valid]
            )
        if self.qc.bias_error is not None:
            out["bias_error"] = scale * spread_over(self.qc.bias_error, da, names, self.name, "bias_error")[valid]
            out["group"] = self._groups(ds, da, valid)
        return out

    def _groups(self, ds: xr.Dataset, da: xr.DataArray, valid: npt.NDArray[np.bool_]) -> IntArray:
        """Which valid values share a bias."""
        per = self.qc.bias_per
        if per == "source":
            return np.zeros(int(valid.sum()), np.intp)
        names = [coordinate(da, "lat"), coordinate(da, "lon")] if per == "station" else [per]
        if any(n not in da.coords for n in names):
            msg = (
                f"Source {self.name!r}: bias_per={per!r} is neither 'source' nor 'station' nor a coordinate of the "
                f"data, {listed(da.coords)}."
            )
            raise ObservationError(msg)
        key = np.zeros(int(valid.sum()), np.intp)
        for n in names:
            whole = da[n].reset_coords(drop=True).broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims)
            number = np.unique(whole.values[valid], return_inverse=True)[1]
            key = np.unique(key * (number.max(initial=0) + 1) + number, return_inverse=True)[1]
        return key

    def _owned(
        self, ds: xr.Dataset, da: xr.DataArray, at: str, spec: Spec, match: TimeMatch, owner: Owner | None
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which observation times are counted here, and which of them match no frame here."""
        if owner is None:
            owned = np.ones(da[at].size, bool)
        else:
            whole = self._match(ds, da, at, spec, owner.time).weights
            empty = np.diff(whole.indptr) == 0
            first = np.full(da[at].size, 0, np.intp)
            first[~empty] = whole.indices[whole.indptr[:-1][~empty]]
            owned = (first >= owner.first) & (first < owner.last)
        return owned, owned & ~match.matched

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
        limits = bounds_of(ds, stamps)
        try:
            hours(stamps)
        except DimensionError as e:
            msg = f"Source {self.name!r}: {e}"
            raise DimensionError(msg) from e
        return match_times(stamps, time, spec.time_step, tolerance=self.tolerance, attrs=da.attrs, bounds=limits)

    def _report_time(self, da: xr.DataArray, at: str, match: TimeMatch, time: xr.DataArray, spec: Spec) -> None:
        stamps, lat = da[at], coordinate(da, "lat")
        methods = str(da.attrs.get("cell_methods", ""))
        if extreme := re.search(r"time:\s*(maximum|minimum|range|median|variance|standard_deviation)", methods):
            warn(
                f"Source {self.name!r}: cell_methods of {da.name!r} say {extreme[0]!r}; it is taken for the value of "
                "the nearest frame. Say what it is of the frames with operator=, or correct cell_methods."
            )
        if match.missed and match.matched.any():
            warn(
                f"Source {self.name!r}: {match.missed} of {stamps.size} times lie between the frames of the state and "
                "are dropped. "
                f"Frames are {spec.time_step:g} h apart; raise tolerance= to use them."
            )
        if match.undated:
            warn(
                f"Source {self.name!r}: {match.undated} of {stamps.size} dates are not in the calendar of the state, "
                f"{time.dt.calendar!r}, and are dropped."
            )
        # Who moves is at another place each time.
        moving = lat is not None and set(stamps.dims) <= set(da[lat].dims)
        if match.crowding > 1 and stamps.dims == (stamps.name,) and not moving and not self.qc.superob:
            warn(
                f"Source {self.name!r}: up to {match.crowding} times fall on one frame of the state "
                f"({spec.time_step:g} h), each as an "
                "observation with an independent error. Average them first: .resample(time=...).mean(), or "
                "qc={'superob': True}."
            )

    def _report_place(
        self, here: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_], spec: Spec, variable: VariableSpec
    ) -> None:
        if here.any() and (out := int((~here).sum())):
            warn(
                f"Source {self.name!r}: {out} of {len(here)} places lie outside of the model's domain, "
                f"{grid_of_spec(spec)}, and are dropped."
            )
        if there.any() and (out := int((~there).sum())):
            warn(
                f"Source {self.name!r}: {out} of {len(there)} levels lie outside of the model's, "
                f"{listed_levels(variable)}, and are dropped."
            )


def warn(text: str) -> None:
    """Warn of what a user can change, at the user's line."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "xslams":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, SlamsWarning, stacklevel=level)


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


class _Count:
    """Tally of the values of one variable that take no part, in the order of the checks."""

    def __init__(self, owned: npt.NDArray[np.bool_], unmatched: npt.NDArray[np.bool_], each: int) -> None:
        self.owned = owned
        self.given = int(owned.sum()) * each
        self.rejected: Counter[str] = Counter(time=int(unmatched.sum()) * each)
        self.valid: npt.NDArray[np.bool_] = np.ones((), bool)

    def select(self, keep: IntArray) -> None:
        """Go on with some of the times; what is left out has been counted."""
        self.owned = self.owned[keep]

    def owns(self, t: IntArray) -> npt.NDArray[np.bool_]:
        """Whether values at these times are counted here."""
        return self.owned[t]

    def reject(self, reason: str, good: npt.NDArray[np.bool_], t: IntArray) -> npt.NDArray[np.bool_]:
        """Go on with the values that are good, and count the others."""
        if self.valid.shape != t.shape:
            self.valid = np.ones(t.shape, bool)
        if not good.all():
            if reason != "time":  # these have been counted
                self.rejected[reason] += int((self.valid & ~good & self.owned[t]).sum())
            self.valid &= good
        return self.valid


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
        One for each; those that are called alike get numbers.

    Raises
    ------
    ObservationError
        If something else is given.
    """
    items: object = [obs] if isinstance(obs, Observation | xr.DataArray | xr.Dataset) else obs
    if not isinstance(items, Sequence) or isinstance(items, str):
        msg = f"obs= must be an Observation, DataArray or Dataset, or a list of them; got {type(obs).__name__}."
        raise ObservationError(msg)
    sources = [o if isinstance(o, Observation) else Observation(o) for o in items]
    seen: Counter[str] = Counter()
    for i, source in enumerate(sources):
        seen[source.name] += 1
        if seen[source.name] > 1:
            sources[i] = source.replace(name=f"{source.name} {seen[source.name]}")
    return sources


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
