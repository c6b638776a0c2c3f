"""Which variables of a Dataset are those of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xslams.errors import VariableError
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.units import unit_factors
from xslams.spec import VariableSpec
from xslams.typing import FloatArray

__all__ = ["align_levels", "match_variables", "same_quantity"]

# Total precipitation, as rate or amount, of mass or of depth.
_PRECIPITATION = frozenset(
    ("precipitation_flux", "lwe_precipitation_rate", "precipitation_amount", "lwe_thickness_of_precipitation_amount")
)


def match_variables(
    ds: xr.Dataset,
    variables: Sequence[VariableSpec],
    *,
    allow_missing: bool = False,
    instead: str = "rename the right one",
) -> dict[str, str]:
    """Find the variables of a model in a Dataset.

    The variable with the same standard name is taken, with levels where the model has levels and without where it has
    none; where several have it, the one of the same name. A variable of the same name without a standard name comes
    second. Rates and amounts of precipitation stand for each other, as units tell how they are measured.

    Parameters
    ----------
    ds
        Dataset to search.
    variables
        Variables of the model that are wanted.
    allow_missing
        Leave out what is not found instead of raising.
    instead
        What the message advises where several variables match.

    Returns
    -------
    dict
        Name in the model to name in the Dataset.

    Raises
    ------
    VariableError
        Listing every variable that is missing or ambiguous.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"tas": ("x", [280.0], {"standard_name": "air_temperature"})})
    >>> match_variables(ds, [VariableSpec("t2m", "K", standard_name="air_temperature")])
    {'t2m': 'tas'}
    """
    found: dict[str, str] = {}
    troubles: list[str] = []
    for variable in variables:
        wanted = variable.standard_name
        namesake = ds[variable.name].attrs.get("standard_name") if variable.name in ds.data_vars else None
        if variable.name in ds.data_vars and (wanted is None or same_quantity(namesake, wanted)):
            found[variable.name] = variable.name
            continue
        names = [
            str(n)
            for n, da in ds.data_vars.items()
            if wanted is not None and same_quantity(da.attrs.get("standard_name"), wanted)
        ]
        level = coordinate(ds, "level") if names else None
        fitting = [n for n in names if (level in ds[n].dims) == (len(variable.levels) > 1)]
        if variable.name in ds.data_vars and namesake is None and len(fitting) != 1:
            found[variable.name] = variable.name
            continue
        names = (fitting or names) if len(names) > 1 else names
        if len(names) == 1:
            found[variable.name] = names[0]
        elif names:
            troubles.append(f"{variable.name!r}: standard_name {wanted!r} is shared by {listed(names)}; {instead}")
        else:
            but = f" (the one of this name is {namesake!r})" if namesake is not None else ""
            called = f" or standard_name {wanted!r}" if wanted is not None else ""
            troubles.append(f"{variable.name!r} ({variable.units}): no variable of this name{called}{but}")
    ambiguous = [t for t in troubles if "is shared by" in t]
    if ambiguous or (troubles and not allow_missing):
        bad = ambiguous if allow_missing else troubles
        missing = len(bad) > len(ambiguous)
        msg = (
            f"{len(bad)} of the {len(variables)} variables of the model {'are missing or ' if missing else ''}"
            f"cannot be told among {listed(ds.data_vars)}:\n" + "\n".join(f"  {t}" for t in bad)
        ) + ("\nRename those of other names: ds.rename({...})." if missing else "")
        raise VariableError(msg)
    return found


def same_quantity(first: str | None, second: str | None) -> bool:
    """Whether two standard names mean the same, but for the units.

    Examples
    --------
    >>> same_quantity("precipitation_flux", "lwe_precipitation_rate"), same_quantity(None, "precipitation_flux")
    (True, False)
    """
    return first is not None and (first == second or {first, second} <= _PRECIPITATION)


def align_levels(level: xr.DataArray, variable: VariableSpec) -> FloatArray:
    """Values of a vertical coordinate in the units of a variable of the model (hPa to Pa, say)."""
    values = np.asarray(level.values, float)
    given, wanted = level.attrs.get("units"), variable.level_attrs.get("units")
    if given is None or wanted is None:
        return values
    factor, offset = unit_factors(str(given), str(wanted))
    return factor * values + offset
