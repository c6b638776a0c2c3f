r"""Spectra along circles of latitude: how much of the variance of a field is at which scale.

A row :math:`x_0 ... x_{n-1}` around the globe has the power :math:`2 |c_m|^2` at wavenumber :math:`m`, where
:math:`c_m` is its Fourier coefficient over :math:`n`; powers over all :math:`m \ge 1` sum up to the variance.
The rows of a region do not close, and a Fourier series would see a step at their ends. Their cosine transform does not
(Denis et al. 2002, doi:10.1175/1520-0493(2002)130<1812:SDOTDA>2.0.CO;2); its powers sum up to the variance as well.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xslams.errors import DimensionError
from xslams.labels.coordinates import coordinate
from xslams.scores.dimensions import area_weights
from xslams.typing import FloatArray

__all__ = ["zonal_spectrum"]


def zonal_spectrum(field: xr.DataArray) -> xr.DataArray:
    """Variance of a field by zonal wavenumber, the mean over all rows by area.

    Parameters
    ----------
    field
        With latitude and evenly spaced longitude as dimensions, global or of a region. Rows with missing values are
        left out.

    Returns
    -------
    DataArray
        The other dimensions and ``wavenumber``, in waves around the globe, which need not be whole for a region; in the
        square of the units of the field. Over all wavenumbers it sums up to the mean variance along rows.

    Raises
    ------
    DimensionError
        If the field has no rows, or longitudes are uneven.

    Examples
    --------
    >>> lon = xr.DataArray(np.arange(0.0, 360.0, 10.0), dims="lon", attrs={"units": "degrees_east"})
    >>> lat = xr.DataArray([0.0, 50.0], dims="lat", attrs={"units": "degrees_north"})
    >>> wave = (np.sqrt(2) * np.cos(3 * np.deg2rad(lon)) * xr.ones_like(lat)).assign_coords(lat=lat, lon=lon)
    >>> power = zonal_spectrum(wave)
    >>> int(power.idxmax("wavenumber")), round(float(power.max()), 3), round(float(power.sum()), 3)
    (3, 1.0, 1.0)
    """
    lat, lon = coordinate(field, "lat"), coordinate(field, "lon")
    if lat not in field.dims or lon not in field.dims:
        msg = f"A zonal spectrum needs rows along latitude and longitude; {field.name!r} has {field.dims}."
        raise DimensionError(msg)
    step, field = _even(field.sortby(lon), str(lon))
    around = abs(step * field.sizes[lon] - 360.0) < 0.01 * step
    count = field.sizes[lon]
    ordered = field.transpose(..., lat, lon).load()
    power = _fourier(ordered.values) if around else _cosine(ordered.values)
    numbers = np.arange(1, power.shape[-1] + 1) * (1.0 if around else 360.0 / (2.0 * count * step))
    units = field.attrs.get("units")
    rows = xr.DataArray(
        power,
        dims=[*ordered.dims[:-1], "wavenumber"],
        coords={**{d: ordered[d] for d in ordered.dims[:-1] if d in ordered.coords}, "wavenumber": numbers},
        name=field.name,
    )
    weights = area_weights(field.isel({lon: 0}, drop=True))
    mean = rows.weighted(weights.fillna(0.0)).mean(lat)
    mean["wavenumber"].attrs = {"long_name": "zonal wavenumber", "units": "1"}
    mean.attrs["long_name"] = "variance by zonal wavenumber"
    if units not in (None, "1"):
        mean.attrs["units"] = f"{units}2" if str(units).isalpha() else f"({units})2"
    return mean


def _even(field: xr.DataArray, lon: str) -> tuple[float, xr.DataArray]:
    """Distance of longitudes, and the field with each of them once."""
    values = field[lon].values.astype(float)
    if values.size > 1 and abs(values[-1] - values[0] - 360.0) < 1e-3:
        field, values = field.isel({lon: slice(-1)}), values[:-1]
    steps = np.diff(values)
    if steps.size < 2 or np.ptp(steps) > 0.01 * steps.mean():
        msg = f"A zonal spectrum needs three or more evenly spaced longitudes; {lon!r} has {values.size} that are not."
        raise DimensionError(msg)
    return float(steps.mean()), field


def _fourier(rows: FloatArray) -> FloatArray:
    count = rows.shape[-1]
    power = 2.0 * np.abs(np.fft.rfft(rows, axis=-1)[..., 1:] / count) ** 2
    if count % 2 == 0:
        power[..., -1] /= 2.0  # the shortest wave has no partner of negative wavenumber
    return np.asarray(power)


def _cosine(rows: FloatArray) -> FloatArray:
    from scipy.fft import dct

    coefficients = dct(np.asarray(rows, float), axis=-1, norm="ortho")[..., 1:]
    return np.asarray(coefficients**2 / rows.shape[-1])
