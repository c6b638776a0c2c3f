"""Gridded fields of NOAA's Physical Sciences Laboratory: CPC precipitation, OLR, and the NCEP/NCAR reanalysis.

The files are netCDF with one variable each. Addresses and layout: https://psl.noaa.gov/data/gridded/data.cpc.globalprecip.html,
https://psl.noaa.gov/data/gridded/data.interp_OLR.html, https://psl.noaa.gov/data/gridded/data.ncep.reanalysis.html.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xslams.addresses import cleaned
from xslams.datasets import arguments
from xslams.datasets.arguments import Years, check_choice, check_levels, check_names, check_years, days_in
from xslams.datasets.cache import Access, Provider, Remote, fetch
from xslams.datasets.netcdf import Chunks, Field, check_file, check_year, clean, join, open_file
from xslams.datasets.registry import SOURCES
from xslams.errors import DatasetError, OptionError, SlamsWarning

__all__ = ["cpc", "ncep", "noaa_olr"]

_HOST = "https://downloads.psl.noaa.gov/Datasets"
_CPC = Provider("cpc", f"{_HOST}/cpc_global_precip")
_OLR = Provider("noaa_olr", f"{_HOST}/interp_OLR")
_NCEP = Provider("ncep", f"{_HOST}/ncep.reanalysis")

_PRECIPITATION = Field(
    "precip", "lwe_precipitation_rate", "mm day-1", "precipitation of a day, from gauges", (0.0, 3000.0),
    {"comment": "The day is that of the reporting gauges, which differs from place to place; land only."}, "mm",
)  # fmt: skip
_RADIATION = Field("olr", "toa_outgoing_longwave_flux", "W m-2", "outgoing longwave radiation", (1.0, 600.0))
_STATE = {
    f.name: f
    for f in (
        Field("air", "air_temperature", "K", "air temperature", (100.0, 400.0)),
        Field("hgt", "geopotential_height", "m", "geopotential height", (-2000.0, 60000.0)),
        Field("uwnd", "eastward_wind", "m s-1", "eastward wind", (-300.0, 300.0)),
        Field("vwnd", "northward_wind", "m s-1", "northward wind", (-300.0, 300.0)),
    )
}
#: Levels of the pressure files, hPa.
_LEVELS = (1000.0, 925.0, 850.0, 700.0, 600.0, 500.0, 400.0, 300.0, 250.0, 200.0, 150.0, 100.0, 70.0, 50.0, 30.0,
           20.0, 10.0)  # fmt: skip
_SURFACE = "sig995"
_PLANE = ("time", "lat", "lon")
_VOLUME = ("time", "level", "lat", "lon")
#: Years with known gaps of the OLR: it begins in June 1974, and no satellite measured in most of 1978.
_OLR_GAPS = (1974, 1978)
_OLR_LAST = 2022
#: Month and day of the next year until which NOAA corrects a year.
_SETTLED = (3, 1)


@SOURCES.register("cpc")
def cpc(
    years: Years,
    *,
    chunks: Chunks = "auto",
    base_url: str | os.PathLike[str] | None = None,
    refresh: bool | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Fetch daily precipitation from gauges on a global grid of 0.5 degrees: the CPC Global Unified analysis.

    Parameters
    ----------
    years
        From 1979 to the running year, whose file ends about yesterday.
    chunks
        Chunks of dask, as in `xarray.open_dataset`. A chunk never spans two files.
    base_url
        Address or folder of a mirror with files ``precip.YYYY.nc``. By default the environment variable
        ``XSLAMS_CPC_URL``, or else NOAA PSL.
    refresh
        None checks once a day whether a file has changed that may do so (that of the running year, and a copy made
        before March of the following year); True checks all files, False none.
    progress
        Show progress bars of the downloads.

    Returns
    -------
    Dataset
        Lazy ``precip`` (time, lat, lon) in mm day-1, missing over the sea; latitudes descend, longitudes run from 0.25
        to 359.75. Values are means over the day that begins at their time.

    Raises
    ------
    OptionError
        If an argument is invalid.
    DatasetError
        If a file cannot be fetched, fails its check, or was changed in the cache.

    Examples
    --------
    >>> import xslams
    >>> xslams.datasets.cpc(1850)
    Traceback (most recent call last):
    ...
    xslams.errors.OptionError: years=1850 asks for 1850; the data set has 1979 to ...
    """
    listed = check_years(years, 1979)
    access = Access(base_url, refresh, progress)
    parts = [_year(_CPC, f"precip.{year}.nc", _PRECIPITATION, year, access, chunks) for year in listed]
    about = (
        "CPC Global Unified Gauge-Based Analysis of Daily Precipitation, NOAA PSL",
        "Xie et al. (2007), doi:10.1175/JHM583.1; Chen et al. (2008), doi:10.1029/2007JD009132",
    )
    return _describe(join(parts), *about)


@SOURCES.register("noaa_olr")
def noaa_olr(
    years: Years,
    *,
    frequency: str = "daily",
    chunks: Chunks = "auto",
    base_url: str | os.PathLike[str] | None = None,
    refresh: bool | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Fetch outgoing longwave radiation on a global grid of 2.5 degrees: the NOAA interpolated OLR.

    All years are in one file, which is fetched as a whole.

    Parameters
    ----------
    years
        From 1974 (June) to 2022, or from 1979 for ``"12h"``; there are no measurements in most of 1978.
    frequency
        ``"daily"`` means (``olr.day.mean.nc``), or ``"12h"``, the values of the passes twice a day
        (``olr.2xdaily.1979-2022.nc``).
    chunks, refresh, progress
        As for `cpc`.
    base_url
        Address or folder of a mirror with these files. By default the environment variable ``XSLAMS_NOAA_OLR_URL``, or
        else NOAA PSL.

    Returns
    -------
    Dataset
        Lazy ``olr`` (time, lat, lon) in W m-2; latitudes descend from 90, longitudes run from 0 to 357.5. Daily values
        are means over the day that begins at their time.

    Raises
    ------
    OptionError
        If an argument is invalid.
    DatasetError
        If the file cannot be fetched, fails its check, lacks some of the years, or was changed in the cache.

    Examples
    --------
    >>> import xslams
    >>> xslams.datasets.noaa_olr(2010, frequency="hourly")
    Traceback (most recent call last):
    ...
    xslams.errors.OptionError: frequency='hourly'; choose one of 'daily', '12h'.
    """
    daily = check_choice(frequency, ("daily", "12h"), "frequency") == "daily"
    listed = check_years(years, 1974 if daily else 1979, _OLR_LAST)
    access = Access(base_url, refresh, progress)
    name, step = ("olr.day.mean.nc", 24) if daily else ("olr.2xdaily.1979-2022.nc", 12)
    cached = fetch(_OLR, Remote(name, _check_olr), access)
    ds = open_file(cached.path, chunks)
    counts = {year: int((ds["time"].dt.year == year).sum()) for year in listed}
    short = {y: n for y, n in counts.items() if n != days_in(y) * 24 // step}
    if lacking := [y for y in short if y not in _OLR_GAPS]:
        msg = (
            f"{name} has {', '.join(f'{short[y]} times of {y}' for y in lacking)}; expected complete years. Pass "
            "refresh=True to fetch it again, or leave these years out."
        )
        raise DatasetError(msg)
    for year, count in short.items():
        warnings.warn(f"The OLR has {count} of {days_in(year)} days of {year}.", SlamsWarning, stacklevel=2)
    ds = ds.isel(time=np.flatnonzero(ds["time"].dt.year.isin(listed).values))
    about = (
        "NOAA Interpolated Outgoing Longwave Radiation, NOAA PSL",
        "Liebmann and Smith (1996), Bulletin of the American Meteorological Society 77, 1275-1277",
    )
    return _describe(clean(ds, [_RADIATION], mean=daily, step=step), *about)


@SOURCES.register("ncep")
def ncep(
    years: Years,
    levels: float | Iterable[float] | str | None = None,
    *,
    variables: str | Iterable[str] | None = None,
    frequency: str = "daily",
    chunks: Chunks = "auto",
    base_url: str | os.PathLike[str] | None = None,
    refresh: bool | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Fetch temperature, geopotential height and wind of the NCEP/NCAR reanalysis on a global grid of 2.5 degrees.

    Parameters
    ----------
    years
        From 1948 to the running year.
    levels
        Pressure levels in hPa, by default all 17 from 1000 to 10; or ``"sig995"``, the level near the surface where
        pressure is 0.995 times the surface pressure.
    variables
        Some of ``"air"``, ``"hgt"``, ``"uwnd"`` and ``"vwnd"``; by default all, near the surface all but ``"hgt"``.
    frequency
        ``"daily"`` for means of the four analyses of a day; ``"6h"`` for the analyses.
    chunks, refresh, progress
        As for `cpc`.
    base_url
        Address or folder of a mirror with files ``Dailies/pressure/air.YYYY.nc`` and so on. By default the environment
        variable ``XSLAMS_NCEP_URL``, or else NOAA PSL.

    Returns
    -------
    Dataset
        Lazy fields (time, level, lat, lon), in K, m and m s-1; latitudes descend from 90, longitudes run from 0 to
        357.5. Fields near the surface have a scalar coordinate ``sigma`` instead of ``level``.

    Raises
    ------
    OptionError
        If an argument is invalid.
    DatasetError
        If a file cannot be fetched, fails its check, or was changed in the cache.

    Examples
    --------
    >>> import xslams
    >>> xslams.datasets.ncep(2010, levels=[500, 501])
    Traceback (most recent call last):
    ...
    xslams.errors.OptionError: levels=[500, 501] holds 501; the data set has 1000, 925, ...
    """
    listed = check_years(years, 1948)
    surface = isinstance(levels, str) and levels == _SURFACE
    if isinstance(levels, str) and not surface:
        msg = f"levels={levels!r}; expected levels in hPa, or {_SURFACE!r} for the level near the surface."
        raise OptionError(msg)
    wanted = None if isinstance(levels, str) else check_levels(levels, _LEVELS)
    known = [n for n in _STATE if not (surface and n == "hgt")]
    names = check_names(variables, known, known, "variables")
    daily = check_choice(frequency, ("daily", "6h"), "frequency") == "daily"
    access = Access(base_url, refresh, progress)
    directory = ("Dailies/" if daily else "") + ("surface" if surface else "pressure")
    suffix, dims = (f".{_SURFACE}", _PLANE) if surface else ("", _VOLUME)
    columns = []
    for name in names:
        files = {year: f"{directory}/{name}{suffix}.{year}.nc" for year in listed}
        parts = [_year(_NCEP, f, _STATE[name], y, access, chunks, dims, daily=daily) for y, f in files.items()]
        columns.append(join(parts))
    try:
        ds = xr.merge(columns, join="exact", compat="override", combine_attrs="override")
    except ValueError as e:
        msg = f"The files of {', '.join(names)} are on different grids or times ({e}). Open them one by one."
        raise DatasetError(msg) from cleaned(e)
    if wanted is not None:
        lacking = [f"{v:g}" for v in wanted if v not in ds["level"].values]
        if lacking:
            msg = f"The files have no level {', '.join(lacking)} hPa. Pass refresh=True, or leave these levels out."
            raise DatasetError(msg)
        ds = ds.sel(level=wanted)
    else:
        ds = ds.assign_coords(sigma=((), 0.995, {"standard_name": "atmosphere_sigma_coordinate", "units": "1"}))
    return _describe(ds, "NCEP/NCAR Reanalysis 1, NOAA PSL", "Kalnay et al. (1996), Bulletin of the American "
                     "Meteorological Society 77, 437-470")  # fmt: skip


def _year(
    provider: Provider,
    path: str,
    what: Field,
    year: int,
    access: Access,
    chunks: Chunks,
    dims: tuple[str, ...] = _PLANE,
    *,
    daily: bool = True,
) -> xr.Dataset:
    """Fetch and open one variable of one year."""
    step = 24 if daily else 6
    final = date(year + 1, *_SETTLED)

    def check(part: Path) -> dict[str, Any]:
        return check_year(check_file(part, what, dims), year, step, partial=arguments.now().date() < final)

    cached = fetch(provider, Remote(path, check, final=final), access)
    return clean(open_file(cached.path, chunks), [what], mean=daily, step=step)


def _check_olr(path: Path) -> dict[str, Any]:
    times = check_file(path, _RADIATION, _PLANE)
    return {"times": len(times), "first": str(times[0])[:16], "last": str(times[-1])[:16]}


def _describe(ds: xr.Dataset, title: str, references: str) -> xr.Dataset:
    ds.attrs = {"Conventions": "CF-1.11", "title": title, "references": references}
    return ds
