"""Bounds of physical quantities: precipitation is never negative, and no fraction is above one."""

from __future__ import annotations

import re

__all__ = ["Bounds", "bounds_of_quantity", "is_rain"]

#: Smallest and largest possible value; None where there is no bound.
Bounds = tuple[float | None, float | None]

# Words of standard names, and of names in long, of quantities that are zero or more.
_POSITIVE = re.compile(
    r"precipitation|rainfall|snowfall|humidity|mixing_ratio|mass_content|_concentration|optical_(thickness|depth)"
    r"|soil_moisture|snow_(amount|thickness|depth)|ice_(amount|thickness)|wind_speed|speed_of|significant_height"
    r"|(outgoing|incoming|downwelling|upwelling)_(longwave|shortwave)|(surface|sea_level|^)_?air_pressure|^visibility"
)
# Of quantities that are parts of a whole.
_PARTS = re.compile(
    r"fraction|cloud_cover|ice_cover|snow_cover|vegetation_cover|albedo|emissivity|probability|binary_mask"
)
# What is made of these may have any sign.
_SIGNED = re.compile(
    r"anomal|tendency|change|difference|error|increment|bias|product|covariance|correlation|divergence|convergence"
    r"|derivative|logarithm|^log_|_log_|eastward|northward|upward|downward|_net_|^net_|effect|forcing|transport"
)
# Of what falls.
_RAIN = ("precipitation", "rainfall", "snowfall")
# What variables without a standard name are often called.
_NAMES = {
    "pr": "precipitation", "precip": "precipitation", "tp": "precipitation", "prate": "precipitation",
    "hus": "specific_humidity", "huss": "specific_humidity", "shum": "specific_humidity",
    "rh": "relative_humidity", "hur": "relative_humidity", "hurs": "relative_humidity",
    "rhum": "relative_humidity", "tcc": "cloud_cover", "clt": "cloud_cover", "siconc": "ice_cover", "sic": "ice_cover",
}  # fmt: skip
# The whole, in units that are told apart from others.
_WHOLE = {
    "": 1.0,
    "1": 1.0,
    "fraction": 1.0,
    "(0 - 1)": 1.0,
    "0-1": 1.0,
    "%": 100.0,
    "percent": 100.0,
    "per cent": 100.0,
}


def bounds_of_quantity(name: str, units: str, standard_name: str | None = None, long_name: str | None = None) -> Bounds:
    """Return the smallest and the largest value that a quantity can have.

    Parameters
    ----------
    name, standard_name, long_name
        What it is called; the standard name says it best.
    units
        Its units, which tell what the whole of a fraction is.

    Returns
    -------
    tuple
        Bounds in `units`, None where there is none. Humidity has no upper one, as air can be supersaturated.

    Examples
    --------
    >>> bounds_of_quantity("clt", "%", "cloud_area_fraction"), bounds_of_quantity("hurs", "%", "relative_humidity")
    ((0.0, 100.0), (0.0, None))
    >>> bounds_of_quantity("dq", "s-1", "tendency_of_specific_humidity")
    (None, None)
    """
    given = standard_name or long_name or _NAMES.get(name.lower(), "")
    text = re.sub(r"[\s-]+", "_", given.strip().lower())
    also = f"{text} {long_name or ''} {name}".lower()
    if _SIGNED.search(text) or "anomal" in also:
        return None, None
    if _PARTS.search(text):
        return 0.0, _WHOLE.get(units.strip().lower())
    return (0.0 if _POSITIVE.search(text) else None), None


def is_rain(name: str, standard_name: str | None) -> bool:
    """Whether a variable is precipitation.

    Parameters
    ----------
    name, standard_name
        As in the data.

    Examples
    --------
    >>> is_rain("x", "rainfall_flux"), is_rain("pr", None), is_rain("t", None)
    (True, True, False)
    """
    return any(word in str(standard_name) for word in _RAIN) or name in ("pr", "precip", "tp")
