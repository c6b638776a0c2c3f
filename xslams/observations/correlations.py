"""From what a user says of correlated errors to the correlation of the values that are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ObservationOptionError
from xslams.labels.calendar import hours
from xslams.labels.coordinates import coordinate, listed
from xslams.likelihood import Axis, ErrorCorrelation
from xslams.observations.superob import combined, positions
from xslams.observations.vertical import height
from xslams.sphere import EARTH_RADIUS, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.likelihood.errors import IntArray
    from xslams.observations.bound_variable import BoundVariable
    from xslams.observations.error_covariance import ErrorCovariance
    from xslams.observations.places import Places
    from xslams.typing import FloatArray

__all__ = ["correlation_of"]


def correlation_of(variable: BoundVariable, places: Places, valid: npt.NDArray[np.bool_]) -> ErrorCorrelation | None:
    """Correlation of the errors of the valid values of a variable; None where they are independent.

    Parameters
    ----------
    variable
        Variable of a source, bound to a model.
    places
        Where its elements are.
    valid
        Which elements are used, shape of the data.

    Raises
    ------
    ObservationOptionError
        If the covariance does not fit the data.
    """
    stated = variable.covariance
    if stated is None:
        return None
    values = variable.values
    where = _where(variable, places, valid)
    level = height(values)[valid]
    at = hours(variable.stamps).ravel()[places.times[valid]]
    name = coordinate(values, "level")
    axes: list[Axis] = []
    keys: list[FloatArray] = [np.zeros(at.size)]
    # A covariance between stations says how places are correlated, and one between levels how heights are.
    if stated.length is not None:
        axes.append(Axis(EARTH_RADIUS / stated.length * unit_vectors(*where)))
    elif stated.dim not in places.place.dims:
        keys += where
    if stated.vertical is not None:
        axes.append(Axis(level[:, None] / stated.vertical))
    elif name is None or stated.dim not in values[name].dims:
        keys.append(level)
    if stated.time is not None:
        axes.append(Axis(at[:, None] / stated.time, "first"))
    else:
        keys.append(at)
    kind = None if stated.dim is None else _kinds(variable, stated)[valid]
    # Variables that are correlated with each other have the same groups, whichever of their values are there.
    linked = stated.dim == "variable"
    group = _absolute(keys) if linked else combined(*keys)
    link = variable.source if linked else None
    return ErrorCorrelation(group, tuple(axes), kind, stated.between, stated.independent, link)


def _where(variable: BoundVariable, places: Places, valid: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Latitudes and longitudes of values; of a model that is not on the globe the number of the place."""
    number = places.cells[valid]
    if variable.spec.flat or any(coordinate(variable.values, kind) is None for kind in ("lat", "lon")):
        if variable.covariance is not None and variable.covariance.length is not None:
            msg = (
                f"Source {variable.source!r}: length= of its errors is a distance on the globe; the model has "
                f"{variable.geometry}. Give the covariance between places instead, covariance=."
            )
            raise ObservationOptionError(msg)
        return number.astype(float), np.zeros(number.size)
    lat, lon = positions(variable.values, places.place)
    return lat[number], lon[number] % 360.0


def _kinds(variable: BoundVariable, stated: ErrorCovariance) -> IntArray:
    """Element of the covariance that each value belongs to, shape of the data."""
    values, covariance, dim = variable.values, stated.covariance, stated.dim
    assert covariance is not None
    assert dim is not None
    labels = covariance.indexes.get(dim)
    source = f"Source {variable.source!r}: covariance= of its errors"
    if dim == "variable":
        found = [i for i, label in enumerate(covariance[dim].values) if str(label) in variable.names]
        if labels is None or not found:
            msg = f"{source} names {listed(covariance[dim].values)}, but not {variable.name!r}."
            raise ObservationOptionError(msg)
        return np.full(values.shape, found[0], np.intp)
    if dim not in values.dims and dim not in values.coords:
        msg = f"{source} is that between elements of {dim!r}, which the data do not have; they have {values.dims}."
        raise ObservationOptionError(msg)
    if dim in variable.stamps.dims and dim not in variable.values.drop_vars(variable.time).coords:
        msg = f"{source} is that between times; expected time=, the hours after which errors are forgotten."
        raise ObservationOptionError(msg)
    if labels is None or dim not in values.coords:
        if covariance.sizes[dim] != values.sizes.get(dim):
            msg = f"{source} has size {covariance.sizes[dim]} along {dim!r}, the data {values.sizes.get(dim)}."
            raise ObservationOptionError(msg)
        number = xr.DataArray(np.arange(covariance.sizes[dim]), dims=(dim,))
    else:
        own = values[dim].reset_coords(drop=True)
        number = own.copy(data=labels.get_indexer(own.values.ravel()).reshape(own.shape)).drop_vars(
            dim, errors="ignore"
        )
        if bool((number < 0).any()):
            lacking = np.unique(own.values[number.values < 0])[:5]
            msg = f"{source} lacks {listed(lacking)} along {dim!r}. Leave these out of the data, or add them."
            raise ObservationOptionError(msg)
    bare = values.reset_coords(drop=True).drop_vars(values.dims, errors="ignore")
    whole = number.reset_coords(drop=True).broadcast_like(bare).transpose(*values.dims)
    return np.asarray(whole.values, np.intp)


def _absolute(keys: Sequence[FloatArray]) -> IntArray:
    """Return a number for each combination of values, the same in whichever company."""
    number = np.zeros(keys[0].shape, np.uint64)
    for key in keys:
        bits = np.ascontiguousarray(np.round(key, 6) + 0.0).view(np.uint64)
        number = (number ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        number ^= number >> np.uint64(29)
    return number.view(np.int64).astype(np.intp)
