"""Unit conversion: pint with the units of CF, plus the spellings of kelvin and of precipitation that files contain."""

from __future__ import annotations

import re
from functools import lru_cache

import xarray as xr

from xslams.errors import UnitError

__all__ = ["convert_units", "unit_factors"]

# Spellings that real files use and that neither UDUNITS nor pint knows, or that pint takes for something else: to it
# "degrees C" is an angle times a charge, and "mb" a millibarn.
_ALIASES = {
    "Kelvin": "K",
    "kelvins": "K",
    "Celsius": "degC",
    "gpm": "m",
    "mb": "hPa",
    "mbs": "hPa",
    "fraction": "1",
    "percent": "%",
    "Watt/m^2": "W m-2",
    "Watts/m^2": "W m-2",
    "Watt m-2": "W m-2",
}
_DEGREES = re.compile(r"deg(?:ree)?s?[ _.]*(C|K|F)(?:elsius|elvin|ahrenheit)?", re.IGNORECASE)
# One kilogram of water per square metre is one millimetre deep.
_WATER_DENSITY = "kg m-2"
_WATER_DEPTH = "mm"


@lru_cache(maxsize=256)
def unit_factors(source: str, target: str) -> tuple[float, float]:
    """Factor and offset that convert values from one unit to another: ``target = factor * source + offset``.

    Parameters
    ----------
    source, target
        Units as in CF, for instance ``"degC"`` or ``"mm day-1"``. A mass of water per area (``"kg m-2 s-1"``) converts
        to a depth (``"mm day-1"``) and back.

    Returns
    -------
    tuple of float
        Factor and offset.

    Raises
    ------
    UnitError
        If either unit is unknown, or they do not measure the same thing.

    Examples
    --------
    >>> unit_factors("degC", "K")
    (1.0, 273.15)
    >>> round(unit_factors("kg m-2 s-1", "mm day-1")[0], 6)
    86400.0
    """
    source, target = (_spelled(u) for u in (source, target))
    if source == target:
        return 1.0, 0.0
    # Imported only now: building the registry takes over a second, and equal units need none.
    import pint
    from cf_xarray.units import units as registry

    try:
        units = [registry.Unit(u) for u in (source, target)]
    except Exception as e:  # pint raises its own errors, and tokenizer and value errors, for what it cannot parse
        msg = f"Got units {source!r} where {target!r} are needed, and cannot read them ({e}). Correct attrs['units']."
        raise UnitError(msg) from e
    water = registry.Unit(_WATER_DEPTH) / registry.Unit(_WATER_DENSITY)
    for bridge in (None, water, 1 / water):
        try:
            start = registry.Quantity(0.0, units[0]) if bridge is None else registry.Quantity(0.0, units[0] * bridge)
            stop = registry.Quantity(1.0, start.units)
            offset = float(start.to(units[1]).magnitude)
            factor = float(stop.to(units[1]).magnitude) - offset
        except (pint.DimensionalityError, pint.OffsetUnitCalculusError):
            continue
        # An offset leaves rounding error in the difference (274.15 - 273.15), which 12 digits remove.
        return (factor, 0.0) if offset == 0 else (float(f"{factor:.12g}"), float(f"{offset:.12g}"))
    msg = (
        f"Cannot convert units {source!r} to {target!r}. Convert the data, or correct attrs['units'] if they are wrong."
    )
    raise UnitError(msg)


def _spelled(units: str) -> str:
    """Units as pint spells them."""
    units = units.strip()
    if degrees := _DEGREES.fullmatch(units):
        letter = degrees[1].upper()
        return letter if letter == "K" else f"deg{letter}"
    return _ALIASES.get(units, units)


def convert_units(da: xr.DataArray, units: str) -> xr.DataArray:
    """Convert a DataArray to other units, lazily where it is lazy.

    Parameters
    ----------
    da
        Data with ``attrs["units"]``.
    units
        Units that are wanted. Where these are an empty string or ``"1"``, data without units are taken as they are.

    Returns
    -------
    xarray.DataArray
        Same data in `units`, which are also in its attributes.

    Raises
    ------
    UnitError
        If the data have no units, or units that cannot be converted.

    Examples
    --------
    >>> import xarray as xr
    >>> convert_units(xr.DataArray([0.0], attrs={"units": "degC"}), "K").values
    array([273.15])
    """
    source = da.attrs.get("units")
    what = f"{da.name!r}" if da.name is not None else "the data"
    if source is None:
        if units.strip() in ("", "1"):
            return da
        msg = f"{what} has no units; {units!r} are needed. Add them: da.assign_attrs(units={units!r})."
        raise UnitError(msg)
    try:
        factor, offset = unit_factors(str(source), units)
    except UnitError as e:
        msg = f"{what}: {e}"
        raise UnitError(msg) from e
    if (factor, offset) != (1.0, 0.0):
        da = (da * factor + offset).assign_attrs(da.attrs)
    return da.assign_attrs(units=units)
