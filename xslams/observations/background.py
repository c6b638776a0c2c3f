"""The background as one more source of observations."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from xslams.errors import ObservationError, ObservationOptionError
from xslams.labels.coordinates import listed
from xslams.labels.variables import match_variables
from xslams.observations.background_error import BackgroundError, stated_background
from xslams.observations.observation import Observation
from xslams.observations.stated_errors import Error
from xslams.spec import Spec

__all__ = ["background_observation"]


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
    for part in stated.values() if isinstance(stated, Mapping) else [stated]:
        if isinstance(part, xr.DataArray) and part.chunks is None and bool((part <= 0).any()):
            msg = "background_error= is zero or less somewhere; expected standard deviations, all above zero."
            raise ObservationOptionError(msg)
    names = match_variables(ds, spec.state)
    units = {str(ds[n].attrs.get("units", "")) for n in names.values()}
    if len(units) > 1 and not isinstance(stated, Mapping | xr.Dataset):
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
