"""What the frames of a result stand for, written down as CF has it: bounds of time and ``cell_methods``.

`xslams.labels.frames` reads both, so that an analysis that is a background, a truth or a source of observations
has the frames that it was made for.
"""

from __future__ import annotations

import xarray as xr

from xslams.labels.calendar import times_at
from xslams.labels.coordinates import coordinate
from xslams.labels.frames import Frames
from xslams.spec import Spec

__all__ = ["with_frames"]

# Of times and their bounds alike: a bound that counts other units than the stamps is one that readers stumble over.
_UNITS = "seconds since 1970-01-01"


def with_frames(ds: xr.Dataset, frames: Frames, spec: Spec) -> xr.Dataset:
    """Return a result whose time and variables say what its frames stand for, where that is known.

    Parameters
    ----------
    ds
        Fields on the frames. Bounds that its coordinates name and that it has not are no longer named.
    frames
        What its frames stand for.
    spec
        The model's.

    Returns
    -------
    Dataset
        The same, with a coordinate of the bounds of time, shape (time, 2), where frames stand for periods.

    Examples
    --------
    >>> import numpy as np
    >>> from xslams.spec import FramePeriod, VariableSpec
    >>> spec = Spec((VariableSpec("t", "K"),), (), (), periodic=False, frame=FramePeriod(hours=24.0, begin=0.0))
    >>> days = xr.DataArray(np.arange("2001-01-01", "2001-01-03", dtype="M8[D]").astype("M8[ns]"), dims="time")
    >>> ds = xr.Dataset({"t": ("time", [280.0, 281.0])}, {"time": days})
    >>> labelled = with_frames(ds, Frames.of(days, spec), spec)
    >>> labelled["t"].attrs["cell_methods"], labelled["time_bnds"].shape
    ('time: mean', (2, 2))
    """
    name = coordinate(ds, "time")
    stamps = None if name is None else ds[name]
    own = None if stamps is None else stamps.attrs.get("bounds", stamps.encoding.get("bounds"))
    ds = _without_absent_bounds(ds)
    if spec.flat or name is None or stamps is None:
        return ds
    methods = dict(frames.methods)
    if frames.edges is not None:
        methods = {v.name: "mean" for v in spec.variables} | methods
    told = {str(n): methods[str(n)] for n in ds.data_vars if str(n) in methods}
    ds = ds.assign({n: ds[n].assign_attrs(cell_methods=f"time: {method}") for n, method in told.items()})
    if frames.edges is None or (told and set(told.values()) == {"point"}):
        return ds
    bounds = own if isinstance(own, str) and own not in ds.variables else f"{name}_bnds"
    two = next(d for d in ("bnds", "nv", f"{bounds}_ends") if d not in ds.variables and ds.sizes.get(d, 2) == 2)
    pairs = xr.Variable((stamps.dims[0], two), times_at(frames.edges, frames.time))
    ds = ds.assign_coords({bounds: pairs})
    ds[name].attrs["bounds"] = bounds
    ds[name].encoding.setdefault("units", _UNITS)
    ds[bounds].encoding.update({k: v for k, v in ds[name].encoding.items() if k in ("units", "calendar")})
    return ds


def _without_absent_bounds(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset whose coordinates name no bounds that it has not; what it was made of is left alone."""
    ds = ds.copy()
    for coord in ds.coords.values():
        for place in (coord.attrs, coord.encoding):
            if place.get("bounds", "") not in ("", *ds.variables):
                del place["bounds"]
    return ds
