"""Unit conversion: pint with the units of CF, and the spellings of files."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import xarray as xr

from xslams.errors import UnitError
from xslams.labels.unit_text import UnitText

__all__ = ["convert_units", "unit_factors"]

# One kilogram of water per square metre is one millimetre deep.
_WATER_DENSITY = "kg m-2"
_WATER_DEPTH = "mm"
_DIFFERENCES = {"degC": "delta_degC", "degF": "delta_degF"}


@lru_cache(maxsize=256)
def unit_factors(source: str, target: str) -> tuple[float, float]:
    """Factor and offset that convert values from one unit to another: ``target = factor * source + offset``.

    Parameters
    ----------
    source, target
        Units as in CF or as files spell them, for instance ``"degC"``, ``"mm day-1"`` or ``"mm/3hr"``. A mass of water
        per area (``"kg m-2 s-1"``) converts to a depth (``"mm day-1"``) and back.

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
    source, target = source.strip(), target.strip()
    if source == target:
        return 1.0, 0.0
    try:
        texts = [UnitText.read(u) for u in (source, target)]
    except ValueError as e:
        # What nothing can read, as the numbers of a code table, is the same where the text is.
        if _plain(source) == _plain(target):
            return 1.0, 0.0
        shown = f"{source[:80]!r} where {target[:80]!r}"
        msg = f"Got units {shown} are needed, and cannot read them ({e}). Correct attrs['units']."
        raise UnitError(msg) from e
    if texts[0] == texts[1] or _of_salinity(*texts):
        return 1.0, 0.0
    # Imported only now: building the registry takes over a second, and equal units need none.
    import pint
    from cf_xarray.units import units as registry

    try:
        units = [_unit(text, registry) for text in texts]
    except Exception as e:  # pint raises its own errors, and tokenizer and value errors, for what it cannot parse
        if _plain(source) == _plain(target):
            return 1.0, 0.0
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
        factor, offset = factor * texts[0].scale / texts[1].scale, offset / texts[1].scale
        # An offset leaves rounding error in the difference (274.15 - 273.15), which 12 digits remove.
        return (factor, 0.0) if offset == 0 else (float(f"{factor:.12g}"), float(f"{offset:.12g}"))
    msg = (
        f"Cannot convert units {source!r} to {target!r}. Convert the data, or correct attrs['units'] if they are wrong."
    )
    raise UnitError(msg)


def _of_salinity(first: UnitText, second: UnitText) -> bool:
    """Whether these are the practical salinity, and a unit in which files write the same number.

    It is a pure number, near that of grams per kilogram; some files give it the unit 1, and others 1e-3.
    """
    names = ({"psu": 1}, {"PSU": 1})
    if (first.powers in names) == (second.powers in names):
        return first.powers in names and first.scale == second.scale
    other = second if first.powers in names else first
    return (other.powers == {} and other.scale in (1.0, 1e-3)) or (other.powers == {"g": 1, "kg": -1})


def _plain(text: str) -> str:
    """Text without what spellings of the same words differ by."""
    return " ".join(text.split()).casefold()


def _unit(text: UnitText, registry: Any) -> Any:
    """Return the unit of pint, which gets one name at a time and no expression."""
    if len(text.powers) > 1 or any(power != 1 for power in text.powers.values()):
        # In a product degrees Celsius are a difference.
        powers = {_DIFFERENCES.get(name, name): power for name, power in text.powers.items()}
    else:
        powers = text.powers
    unit = registry.Unit("")
    for name, power in powers.items():
        unit = unit * registry.Unit(name) ** power
    return unit


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
