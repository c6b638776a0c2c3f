"""Where and when the fields of a model are: on the globe and on dates, or in the space and time of a small system.

The rest of the package asks a `Domain` and does not know which of the two it has. The time of a system has no dates; it
is counted from 1970 on, one hour for each of its units, so that all that is known of times holds for it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import DimensionError, GridError, VariableError
from xslams.labels import channels
from xslams.labels.calendar import hours, on_time_axis, time_labels, year_fraction
from xslams.labels.coordinates import coordinate, listed, match_axis
from xslams.labels.repeats import once_around, without_repeats
from xslams.labels.variables import match_variables
from xslams.seasons import DAYS, in_the_year
from xslams.spec import Spec
from xslams.typing import FloatArray

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Domain", "FlatDomain", "Frames", "GlobeDomain", "domain_of"]

#: Fraction of the year of each frame, and the whole number that keys its noise, each of shape (time,).
Frames = tuple[FloatArray, npt.NDArray[np.int64]]

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)
_UNIT = np.timedelta64(1, "h")
_EPOCH = np.datetime64("1970-01-01", "ns")


class Domain(Protocol):
    """Space and time of the fields of a model."""

    def adopt(self, data: _Data) -> _Data:
        """Return data with dates as times."""
        ...

    def check(self, ds: xr.Dataset, model: str = "model") -> None:
        """Raise unless a Dataset has the times and the grid of the model.

        Parameters
        ----------
        ds
            The Dataset.
        model
            Python expression of the model, for the line of the message that brings the data to its grid.

        Raises
        ------
        DimensionError, GridError, ChunkError
            If times or grid are not those of the model, or a frame lies in several chunks.
        """
        ...

    def template(self, ds: xr.Dataset) -> xr.Dataset:
        """Return the coordinates of an analysis, without anything that could be computed or used."""
        ...

    def label(self, template: xr.Dataset) -> xr.DataArray:
        """Return the times of a template as the user has them, shape (time,)."""
        ...

    def own_template(self, time: xr.DataArray) -> xr.Dataset:
        """Return a template on the grid of the model, at times as the user has them."""
        ...

    def season(self, time: xr.DataArray) -> FloatArray:
        """Return the fraction of the year of adopted times, shape (time,); zero for a system."""
        ...

    def frames(self, time: xr.DataArray, before: int = 0, after: int = 0) -> Frames:
        """Return season and key of adopted times, and of some frames before and after them."""
        ...

    def to_channels(self, ds: xr.Dataset, *, allow_missing: bool = False) -> xr.DataArray:
        """Stack the variables of the model: dimensions (time, channel, lat, lon), in its order and units."""
        ...

    def from_channels(
        self,
        values: xr.DataArray | npt.NDArray[Any],
        template: xr.Dataset,
        member: Sequence[int] | npt.NDArray[np.integer] | None = None,
    ) -> xr.Dataset:
        """Make a Dataset with labels out of ([member,] time, channel, lat, lon) values."""
        ...


def domain_of(spec: Spec) -> Domain:
    """Return the domain of a model.

    Examples
    --------
    >>> import xslams
    >>> type(domain_of(xslams.open_model("speedy-t30").spec)).__name__
    'GlobeDomain'
    """
    return FlatDomain(spec) if spec.flat else GlobeDomain(spec)


class GlobeDomain:
    """Latitudes, longitudes and dates.

    Parameters
    ----------
    spec
        Specification of the model.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def adopt(self, data: _Data) -> _Data:
        """Return the data, which have dates, with columns that go once round the circle as those of the model do."""
        lon = np.asarray(self.spec.lon, float)
        return without_repeats(data) if once_around(lon) == slice(0, len(lon)) else data

    def check(self, ds: xr.Dataset, model: str = "model") -> None:
        """Raise unless a Dataset has the times and the grid of the model."""
        channels.check_time(ds, self.spec)
        channels.grid_positions(self.adopt(ds), self.spec, model)

    def template(self, ds: xr.Dataset) -> xr.Dataset:
        """Return time, latitude and longitude."""
        ds = on_time_axis(self.adopt(ds))
        names = [coordinate(ds, kind) for kind in ("time", "lat", "lon")]
        return xr.Dataset(coords={n: ds[n].reset_coords(drop=True).compute() for n in names if n is not None})

    def label(self, template: xr.Dataset) -> xr.DataArray:
        """Return the times of a template."""
        return template[coordinate(template, "time")]

    def own_template(self, time: xr.DataArray) -> xr.Dataset:
        """Return a template on the grid of the model."""
        lat = ("lat", list(self.spec.lat), {"standard_name": "latitude", "units": "degrees_north"})
        lon = ("lon", list(self.spec.lon), {"standard_name": "longitude", "units": "degrees_east"})
        return xr.Dataset(coords={"time": time, "lat": lat, "lon": lon})

    def season(self, time: xr.DataArray) -> FloatArray:
        """Return the fraction of the year."""
        return year_fraction(time)

    def frames(self, time: xr.DataArray, before: int = 0, after: int = 0) -> Frames:
        """Return fraction of the year and whole hours since 1970, also of frames before and after."""
        fraction, keys = year_fraction(time), time_labels(time)
        if not before + after:
            return fraction, keys
        away = np.arange(-before, time.size + after) * self.spec.time_step
        # Years are as long as the fraction counts them; near enough for the season of frames that are thrown away.
        fraction = in_the_year(fraction[0] * DAYS + away / 24.0)
        return fraction, np.rint(hours(time)[0] + away).astype(np.int64)

    def to_channels(self, ds: xr.Dataset, *, allow_missing: bool = False) -> xr.DataArray:
        """Stack the variables of the model, see `xslams.labels.channels.to_channels`."""
        return channels.to_channels(self.adopt(ds), self.spec, allow_missing=allow_missing)

    def from_channels(
        self,
        values: xr.DataArray | npt.NDArray[Any],
        template: xr.Dataset,
        member: Sequence[int] | npt.NDArray[np.integer] | None = None,
    ) -> xr.Dataset:
        """Make a Dataset with CF metadata, see `xslams.labels.channels.from_channels`."""
        return channels.from_channels(values, self.spec, template, member=member)


class FlatDomain:
    """Space and time of a small system, as `xslams.systems` label them.

    Parameters
    ----------
    spec
        Specification of the model; its `dims` are those of a field.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def adopt(self, data: _Data) -> _Data:
        """Return data whose times are dates, one hour since 1970 for each unit of time.

        Raises
        ------
        DimensionError
            If time is neither numbers nor dates.
        """
        if "time" not in data.coords or np.issubdtype(data["time"].dtype, np.datetime64):
            return data
        time = data["time"]
        if time.dtype.kind not in "fiu":
            msg = f"'time' has type {time.dtype}; expected the time of {self._name}, as numbers."
            raise DimensionError(msg)
        dates = _EPOCH + np.rint(np.asarray(time.values, float) * 3.6e12).astype("timedelta64[ns]")
        return data.assign_coords(time=(time.dims, dates))

    def check(self, ds: xr.Dataset, model: str = "model") -> None:
        """Raise unless a Dataset has the times and the sites of the system."""
        if "time" not in ds.coords:
            msg = f"Found no time among {listed(ds.coords)}; expected that of {self._name}. Assign it: {self._remedy}."
            raise DimensionError(msg)
        channels.check_time(self.adopt(ds), self.spec)
        self._positions(ds)

    def template(self, ds: xr.Dataset) -> xr.Dataset:
        """Return time and the dimensions of a field."""
        return xr.Dataset(coords={n: ds[n].reset_coords(drop=True).compute() for n in ("time", *self.spec.dims)})

    def label(self, template: xr.Dataset) -> xr.DataArray:
        """Return the times of a template."""
        return template["time"]

    def own_template(self, time: xr.DataArray) -> xr.Dataset:
        """Return a template with the sites of the model."""
        axes = {
            # By this the axes of a plane are known from other dimensions.
            dim: (dim, list(self.spec.lat), {"axis": "Y"})
            if array == "lat"
            else (dim, list(self.spec.lon), {"axis": "X"})
            for dim, array in self._arrays.items()
        }
        return xr.Dataset(coords={"time": time, **axes})

    def season(self, time: xr.DataArray) -> FloatArray:
        """Return zeros: a system has no seasons."""
        return np.zeros(time.size)

    def frames(self, time: xr.DataArray, before: int = 0, after: int = 0) -> Frames:
        """Return zeros and the numbers of the time steps since time zero, also of frames before and after."""
        keys = np.rint(hours(time) / self.spec.time_step).astype(np.int64)
        if before + after:
            keys = keys[0] + np.arange(-before, time.size + after)
        return np.zeros(keys.size), keys

    def to_channels(self, ds: xr.Dataset, *, allow_missing: bool = False) -> xr.DataArray:
        """Stack the variables of the model; those that are missing are NaN where they may be."""
        names = match_variables(ds, self.spec.variables, allow_missing=allow_missing)
        if not names:
            wanted = listed(v.name for v in self.spec.variables)
            msg = f"The Dataset has none of the variables of {self._name}: {wanted}. Take them from its simulate()."
            raise VariableError(msg)
        self.check(ds[list(names.values())])
        parts = {wanted: self._field(ds[given]) for wanted, given in names.items()}
        blank = xr.full_like(next(iter(parts.values())), np.nan)
        stacked = xr.concat(
            [parts.get(v.name, blank) for v in self.spec.variables], "channel", coords="minimal", compat="override"
        )
        if stacked.chunks is not None:
            # The channel dimension is ours, so joining its pieces is no rechunking of the user's.
            stacked = stacked.chunk({"channel": -1})
        return self.adopt(stacked.transpose("time", "channel", "lat", "lon")).rename("channels")

    def from_channels(
        self,
        values: xr.DataArray | npt.NDArray[Any],
        template: xr.Dataset,
        member: Sequence[int] | npt.NDArray[np.integer] | None = None,
    ) -> xr.Dataset:
        """Make a Dataset with the labels of the system."""
        if not isinstance(values, xr.DataArray):
            dims = ("time", "channel", "lat", "lon") if member is None else ("member", "time", "channel", "lat", "lon")
            values = xr.DataArray(values, dims=dims)
        values = values.drop_vars([c for c in values.coords if c != "member"])
        for unused, size in zip(("lat", "lon"), (len(self.spec.lat), len(self.spec.lon)), strict=True):
            if unused not in self._arrays.values():
                assert size == 1
                values = values.isel({unused: 0})
        values = values.rename({array: dim for dim, array in self._arrays.items() if array != dim})
        for dim, index in self._positions(template).items():
            if not np.array_equal(index, np.arange(index.size)):
                values = values.isel({dim: np.argsort(index)})
        chosen = self.spec.state if values.sizes["channel"] == self.spec.state_channels else self.spec.variables
        out = {}
        for variable in chosen:
            (at,) = range(*self.spec.channel_slice(variable.name).indices(self.spec.channels))
            attrs = {"long_name": variable.long_name, "units": variable.units}
            out[variable.name] = values.isel(channel=at).assign_attrs({k: v for k, v in attrs.items() if v})
        ds = xr.Dataset(out).assign_coords(template.coords)
        if member is not None:
            ds = ds.assign_coords(member=np.asarray(member))
            ds["member"].attrs.update(standard_name="realization", units="1")
        return ds

    @property
    def _name(self) -> str:
        return str(self.spec.system.get("name", self.spec.name))

    @property
    def _remedy(self) -> str:
        return f"ds.assign_coords(time={self.spec.time_step:g} * numpy.arange(...))"

    @property
    def _arrays(self) -> dict[str, str]:
        """Dimension of the arrays of a model for each dimension of a field."""
        return dict(zip(self.spec.dims, ("lat", "lon")[2 - len(self.spec.dims) :], strict=True))

    def _positions(self, ds: xr.Dataset) -> dict[str, npt.NDArray[np.intp]]:
        """Positions of the sites of the model in the data, for each dimension of a field."""
        found = {}
        for dim, array in self._arrays.items():
            wanted = np.asarray(self.spec.lat if array == "lat" else self.spec.lon, float)
            have = np.asarray(ds[dim].values, float) if dim in ds.coords else np.empty(0)
            index = match_axis(have, wanted)
            if index is None or have.size != wanted.size:
                held = f"{have.size} values of {dim!r}" if dim in ds.coords else f"no {dim!r}"
                msg = (
                    f"The data have {held}; {self._name} has {wanted.size}, from {wanted[0]:g} to {wanted[-1]:g}. "
                    f"Simulate it with the parameters of the model: {self.spec.system}."
                )
                raise GridError(msg)
            found[dim] = index
        return found

    def _field(self, da: xr.DataArray) -> xr.DataArray:
        """One variable with dimensions (time, lat, lon), in the order of the model."""
        extra = [d for d in da.dims if d not in ("time", *self.spec.dims)]
        lacking = [d for d in ("time", *self.spec.dims) if d not in da.dims]
        if extra or lacking:
            msg = (
                f"{da.name!r} has dimensions {da.dims}; expected time{''.join(f', {d}' for d in self.spec.dims)}. "
                + (f"Select along {listed(extra)} with .isel(). " if extra else "")
                + (f"Add {listed(lacking)} with .expand_dims()." if lacking else "")
            )
            raise DimensionError(msg)
        for dim, index in self._positions(da.to_dataset(name="values")).items():
            if not np.array_equal(index, np.arange(index.size)):
                da = da.isel({dim: index})
        da = da.drop_vars([c for c in da.coords if c != "time"])
        da = da.rename({dim: array for dim, array in self._arrays.items() if dim != array})
        return da.expand_dims([a for a in ("lat", "lon") if a not in da.dims])
