"""Conversion of units."""

from __future__ import annotations

import pytest
import xarray as xr

from xslams.errors import UnitError
from xslams.labels.units import convert_units, unit_factors


@pytest.mark.parametrize(
    ("value", "given", "wanted", "expected"),
    [
        (0.0, "degC", "K", 273.15),
        (280.0, "degK", "K", 280.0),
        (280.0, "Kelvin", "degK", 280.0),
        (50.0, "degF", "degC", 10.0),
        (1.0, "kg m-2 s-1", "mm day-1", 86400.0),
        (24.0, "mm/day", "kg m-2 h-1", 1.0),
        (1000.0, "millibar", "Pa", 1e5),
        (98.0, "m**2 s**-2", "m2 s-2", 98.0),
    ],
)
def test_units(value, given, wanted, expected):
    assert convert_units(xr.DataArray(value, attrs={"units": given}), wanted).item() == pytest.approx(expected)
    factor, offset = unit_factors(wanted, given)
    assert factor * expected + offset == pytest.approx(value)


@pytest.mark.parametrize(
    ("units", "words"), [("mm day-1", "Cannot convert"), ("bananas", "cannot read"), (None, "no units")]
)
def test_units_that_do_not_convert(units, words):
    da = xr.DataArray(1.0, attrs={} if units is None else {"units": units}, name="tavg")
    with pytest.raises(UnitError, match=words) as caught:
        convert_units(da, "K")
    assert "tavg" in str(caught.value)
