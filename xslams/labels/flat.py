"""Datasets of systems that are not on the globe: which they are, and the specification of a model of them.

Such a Dataset has no latitudes, and its time is a number. Its fields lie on two axes, on one, or on none, and may have
a further dimension of independent trajectories. An axis closes where its coordinate says after which length it repeats,
by the attribute ``modulo`` [1]_, or has longitudes all around the circle.

References
----------
.. [1] Modulo axes of Ferret, https://ferret.pmel.noaa.gov/Ferret/documentation/users-guide/Grids-Regions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xslams.errors import DimensionError, UnitError, VariableError
from xslams.geometry import is_periodic
from xslams.labels.calendar import hours
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.domain import FlatDomain
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray

__all__ = ["describe_flat", "lies_flat", "trajectories"]

_MOST_AXES = 2
# Attributes of a simulation that are no parameters of its system.
_OF_THE_RUN = ("seed", "spinup")


def lies_flat(ds: xr.Dataset) -> bool:
    """Whether a Dataset is that of a system on flat axes: without latitudes, and with numbers as times.

    Examples
    --------
    >>> from xslams.systems import Lorenz63, ShallowWater
    >>> lies_flat(Lorenz63().simulate(2)), lies_flat(ShallowWater(truncation=12).simulate(1))
    (True, False)
    """
    if "time" not in ds.coords or coordinate(ds, "lat") is not None:
        return False
    time = ds["time"]
    return time.dtype.kind in "fiu" and " since " not in str(time.attrs.get("units", ""))


def trajectories(ds: xr.Dataset) -> list[xr.Dataset]:
    """Return the independent trajectories of a Dataset of a system; the Dataset itself where there is one.

    Parameters
    ----------
    ds
        Of a system. Its trajectories are along a dimension ``trajectory``, or one whose coordinate has the standard
        name ``realization``.

    Examples
    --------
    >>> from xslams.systems import Lorenz63
    >>> [run.sizes["time"] for run in trajectories(Lorenz63().simulate(4, trajectories=3))]
    [5, 5, 5]
    """
    dim = _realizations(ds)
    return [ds] if dim is None else [ds.isel({dim: i}, drop=True) for i in range(ds.sizes[dim])]


def describe_flat(ds: xr.Dataset, aux: Sequence[str] = (), **given: Any) -> Spec:
    """Specification of a model of a system on flat axes.

    Parameters
    ----------
    ds
        See `lies_flat`.
    aux
        Variables that are observed and not analysed.
    **given
        Further entries of the specification.

    Raises
    ------
    VariableError
        If no variable is left for the state, or an auxiliary variable is not in the Dataset.
    UnitError
        If a variable has no units.
    DimensionError
        If variables do not have the same axes, there are more than two, or there is no time step.
    """
    names = [str(name) for name, da in ds.data_vars.items() if da.dtype.kind in "fiu" and "time" in da.dims]
    missing = [name for name in aux if name not in names]
    state = [name for name in names if name not in aux]
    if missing or not state:
        what = f"there is no {listed(missing)}" if missing else "none is left for the state"
        msg = f"Of the variables with time, {listed(names)}, {what}. Fields have the dimension time and numbers."
        raise VariableError(msg)
    axes = _axes(ds, [*state, *aux])
    variables = tuple(_variable(ds[name], "aux" if name in aux else "state") for name in (*state, *aux))
    lat, lon = ([(0.0,)] * _MOST_AXES + [tuple(map(float, ds[dim].values)) for dim in axes])[-2:]
    numbers = {k: v for k, v in ds.attrs.items() if isinstance(v, int | float) and k not in _OF_THE_RUN}
    spec = Spec(
        variables, lat, lon, bool(axes) and all(_closes(ds[dim]) for dim in axes), dims=axes,
        system={"name": str(ds.attrs.get("system", "the system of the training data")), **numbers}, **given,
    )  # fmt: skip
    time = hours(FlatDomain(spec).adopt(ds[["time"]])["time"])
    if time.size < 2 or not np.median(np.diff(time)) > 0:
        msg = f"'time' has {time.size} values from {time[0]:g}; expected at least two that ascend. Give a time axis."
        raise DimensionError(msg)
    # Sums of steps that are no binary fractions are not exact.
    return dataclasses.replace(spec, time_step=round(float(np.median(np.diff(time))), 9))


def _realizations(ds: xr.Dataset) -> str | None:
    names = [
        str(d)
        for d in ds.dims
        if d == "trajectory" or (d in ds.coords and ds[d].attrs.get("standard_name") == "realization")
    ]
    return names[0] if names else None


def _axes(ds: xr.Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """Dimensions of a field, the same for all variables."""
    apart = ("time", _realizations(ds))
    found = {name: tuple(str(d) for d in ds[name].dims if d not in apart) for name in names}
    axes = found[names[0]]
    other = [name for name in names if set(found[name]) != set(axes)]
    if other:
        msg = (
            f"{other[0]!r} has the axes {listed(found[other[0]])}, and {names[0]!r} {listed(axes)}; expected the same "
            f"for all variables. Leave it out: ds.drop_vars({other[0]!r})."
        )
        raise DimensionError(msg)
    bare = [d for d in axes if d not in ds.coords or ds[d].dtype.kind not in "fiu"]
    if bare or len(axes) > _MOST_AXES:
        remedy = f"Assign it: .assign_coords({bare[0]}=...)" if bare else "Select along the others with .isel()"
        msg = (
            f"A field has the dimensions {listed(axes)}; expected time, and at most two axes, each with numbers as "
            f"coordinates. {remedy}."
        )
        raise DimensionError(msg)
    return axes


def _variable(da: xr.DataArray, role: str) -> VariableSpec:
    if "units" not in da.attrs:
        msg = f"{da.name!r} has no units, without which it cannot be observed. Set ds[{da.name!r}].attrs['units']."
        raise UnitError(msg)
    names = (da.attrs.get("standard_name"), da.attrs.get("long_name"))
    return VariableSpec(str(da.name), str(da.attrs["units"]), role, *names)


def _closes(coord: xr.DataArray) -> bool:
    """Whether an axis goes once around, in even steps."""
    values: FloatArray = np.asarray(coord.values, float)
    if str(coord.attrs.get("units", "")).startswith("degree"):
        return is_periodic(values)
    length, steps = coord.attrs.get("modulo"), np.diff(values)
    if not isinstance(length, int | float) or steps.size < 1:
        return False
    return bool(np.allclose(steps, np.sign(steps[0]) * length / values.size, rtol=1e-3))
