"""The background as one more source of observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ObservationError, ObservationOptionError
from xslams.labels.coordinates import listed
from xslams.labels.variables import match_variables
from xslams.observations.background_error import BackgroundError, stated_background
from xslams.observations.observation import Observation
from xslams.observations.stated_errors import Error
from xslams.spec import Spec

__all__ = ["background_observation"]

_Error = TypeVar("_Error")


def background_observation(ds: xr.Dataset, spec: Spec, background_error: Error | BackgroundError) -> Observation:
    """Make the background one more source: the state itself, cell by cell.

    Parameters
    ----------
    ds
        State on the model's grid.
    spec
        The model's.
    background_error
        Standard deviation of its error in the units of the Dataset: a number, a mapping per variable, a DataArray, or a
        `BackgroundError`.

    Returns
    -------
    Observation
        Of every state variable.

    Raises
    ------
    ObservationOptionError
        If a number is not positive.
    ObservationError
        If one number stands for variables of several units.
    """
    stated: Error = stated_background(background_error)[0]
    if isinstance(stated, xr.Dataset):
        stated = {str(name): part for name, part in stated.data_vars.items()}
    if isinstance(stated, Mapping):
        stated = {str(name): _positive(part) for name, part in stated.items()}
    else:
        stated = _positive(stated)
    names = match_variables(ds, spec.state)
    if isinstance(stated, Mapping):
        lacking = [given for known, given in names.items() if not {known, given} & set(stated)]
        if lacking:
            msg = (
                f"background_error= names {listed(stated)}, but not {listed(lacking)}. Give each variable of "
                f"the state its standard deviation: background_error={{{', '.join(f'{n!r}: ...' for n in lacking)}}}."
            )
            raise ObservationError(msg)
    units = {str(ds[n].attrs.get("units", "")) for n in names.values()}
    if len(units) > 1 and not isinstance(stated, Mapping):
        msg = (
            f"background_error= is one number for variables in {listed(sorted(units))}. "
            f"Give one each: background_error={{{', '.join(f'{n!r}: ...' for n in names.values())}}}."
        )
        raise ObservationError(msg)
    return Observation(
        ds[list(names.values())],
        variable={given: known for known, given in names.items()},
        error=stated,
        method="nearest",
        name="background",
    )


def _positive(error: _Error) -> _Error | xr.DataArray:
    """Return an error of which no value is zero or less; what is lazy is checked as it is computed."""
    if not isinstance(error, xr.DataArray):
        return error
    if error.chunks is None:
        return error.copy(data=_checked(error.values))
    return error.copy(data=error.data.map_blocks(_checked, dtype=error.dtype, meta=error.data._meta))


def _checked(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if count := int((values <= 0).sum()):
        msg = (
            f"background_error= is zero or less at {count} of {values.size} elements (the smallest is "
            f"{np.nanmin(values):g}); expected standard deviations, all above zero. Leave what is not to be used NaN."
        )
        raise ObservationOptionError(msg)
    return values
