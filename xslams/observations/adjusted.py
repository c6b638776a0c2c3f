"""Values that a file holds twice: as they were measured, and as adjusted by the delayed quality control, as of Argo."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

__all__ = ["adjusted", "is_adjusted", "without_superseded"]

_ADJUSTED = "_ADJUSTED"


def without_superseded(ds: xr.Dataset) -> xr.Dataset:
    """Leave out values as they were measured where there are adjusted ones, ``TEMP`` where there is ``TEMP_ADJUSTED``.

    In a file that holds values of real time alone (Argo's ``DATA_MODE`` is ``R`` throughout), adjusted ones are
    missing, and are left out.

    Examples
    --------
    >>> list(without_superseded(xr.Dataset({"TEMP": 1.0, "TEMP_ADJUSTED": 1.1, "PSAL": 35.0})))
    ['TEMP_ADJUSTED', 'PSAL']
    """
    pairs = adjusted(ds)
    if not pairs:
        return ds
    return ds.drop_vars(list(pairs.values()) if _in_real_time(ds) else list(pairs))


def is_adjusted(name: str) -> bool:
    """Whether a variable of this name holds adjusted values.

    Examples
    --------
    >>> is_adjusted("TEMP_ADJUSTED")
    True
    """
    return name.upper().endswith(_ADJUSTED)


def adjusted(ds: xr.Dataset) -> dict[Hashable, Hashable]:
    """Return the names of adjusted values and coordinates, by those of what was measured.

    Examples
    --------
    >>> adjusted(xr.Dataset({"TEMP": 1.0, "TEMP_ADJUSTED": 1.1, "PSAL": 35.0}))
    {'TEMP': 'TEMP_ADJUSTED'}
    """
    folded = {str(n).upper(): n for n in ds.variables}
    found = {n: folded.get(f"{str(n).upper()}{_ADJUSTED}") for n in ds.variables}
    return {n: other for n, other in found.items() if other is not None}


def _in_real_time(ds: xr.Dataset) -> bool:
    if "DATA_MODE" not in ds.variables:
        return False
    modes = np.asarray(ds["DATA_MODE"].values).astype("U")
    return bool(modes.size) and bool((np.char.strip(modes) == "R").all())
