"""Stations of the U.S. Climate Reference Network: daily values, in one text file for each station and year.

The layout is described at https://www.ncei.noaa.gov/pub/data/uscrn/products/daily01/readme.txt. A line holds one day in
28 fields separated by blanks. Missing values are -9999, or -99 for soil moisture. Days are in the station's local
standard time in all seasons. The files do not contain its offset from UTC, which `utc_offset` derives from the state
and the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xslams.addresses import cleaned
from xslams.datasets.arguments import Years, check_names, check_years
from xslams.datasets.cache import Access, Provider, Remote, fetch
from xslams.datasets.registry import SOURCES
from xslams.errors import DatasetError, OptionError
from xslams.typing import FloatArray

__all__ = ["uscrn", "utc_offset"]

_PROVIDER = Provider("uscrn", "https://www.ncei.noaa.gov/pub/data/uscrn/products/daily01")
_LARGEST = 64 * 2**20  # bytes; a year of a station has some 80 kB
_FIELDS = 28
_FILE = re.compile(r"CRND0103-(\d{4})-(\w[\w.'-]*)\.txt")
#: Month and day of the next year until which a year is corrected.
_SETTLED = (3, 1)
_FIRST = 2000
#: Number of simultaneous downloads.
_AT_ONCE = 4


@dataclass(frozen=True)
class _Column:
    """Column of a file, counted from 0, and its metadata."""

    index: int
    standard_name: str
    units: str
    long_name: str
    method: str = "time: mean"
    missing: float = -9990.0


_COLUMNS = {
    "tavg": _Column(8, "air_temperature", "degC", "mean air temperature of the day"),
    "tmax": _Column(5, "air_temperature", "degC", "maximum air temperature of the day", "time: maximum"),
    "tmin": _Column(6, "air_temperature", "degC", "minimum air temperature of the day", "time: minimum"),
    "tmean": _Column(7, "air_temperature", "degC", "mean of maximum and minimum air temperature", "time: mid_range"),
    "prcp": _Column(9, "lwe_precipitation_rate", "mm day-1", "precipitation of the day"),
    "solrad": _Column(
        10, "surface_downwelling_shortwave_flux_in_air", "MJ m-2 day-1", "global solar radiation of the day"
    ),
    "stavg": _Column(14, "surface_temperature", "degC", "mean infrared surface temperature of the day"),
    "stmax": _Column(12, "surface_temperature", "degC", "maximum infrared surface temperature", "time: maximum"),
    "stmin": _Column(13, "surface_temperature", "degC", "minimum infrared surface temperature", "time: minimum"),
    "rhavg": _Column(17, "relative_humidity", "%", "mean relative humidity of the day"),
    "rhmax": _Column(15, "relative_humidity", "%", "maximum relative humidity of the day", "time: maximum"),
    "rhmin": _Column(16, "relative_humidity", "%", "minimum relative humidity of the day", "time: minimum"),
} | {
    f"{name}{depth}": _Column(first + n, standard, units, f"mean soil {what} at {depth} cm", missing=missing)
    for name, first, standard, units, what, missing in (
        ("sm", 18, "volume_fraction_of_condensed_water_in_soil", "m3 m-3", "moisture", -98.0),
        ("st", 23, "soil_temperature", "degC", "temperature", -9990.0),
    )
    for n, depth in enumerate((5, 10, 20, 50, 100))
}
_DEFAULT = ("tavg", "prcp")

#: Standard time of states and provinces (49 CFR 71) in hours from UTC. For states in two zones: the eastern offset, the
#: longitude of the border, the western offset, and the latitude south of which that holds (the Aleutians, but not the
#: Pribilofs; the south-west of North Dakota, but not its north-west).
_ZONES: dict[str, int | tuple[int, float, int, float]] = {
    **dict.fromkeys("CT DC DE GA IN MA MD ME MI NC NH NJ NY OH ON PA RI SC VA VT WV".split(), -5),
    **dict.fromkeys("AL AR IA IL LA MN MO MS OK WI".split(), -6),
    **dict.fromkeys("AZ CO ID MT NM UT WY".split(), -7),
    **dict.fromkeys("CA NV OR WA".split(), -8),
    "AK": (-9, -169.5, -10, 55.0),
    "FL": (-5, -85.0, -6, 90.0),
    "HI": -10,
    "KS": (-6, -101.5, -7, 90.0),
    "KY": (-5, -85.6, -6, 90.0),
    "ND": (-6, -101.5, -7, 47.7),
    "NE": (-6, -101.0, -7, 90.0),
    "SA": 9,  # Sakha, for the station Tiksi
    "SD": (-6, -101.0, -7, 90.0),
    "TN": (-5, -84.9, -6, 90.0),
    "TX": (-6, -104.9, -7, 90.0),
}


def utc_offset(name: str, lon: float, lat: float = 40.0) -> int:
    """Return the standard time of a station in hours from UTC.

    Parameters
    ----------
    name
        Name of the station, which begins with its state: ``"NY_Millbrook_3_W"``.
    lon, lat
        Longitude and latitude in degrees, which decide in states with two zones and outside the known states.

    Returns
    -------
    int
        Hours to add to UTC.

    Examples
    --------
    >>> utc_offset("MI_Gaylord_9_SSW", -84.72), utc_offset("NE_Harrison_20_SSE", -103.9)
    (-5, -7)
    >>> utc_offset("ND_Northgate_5_ESE", -102.17, 48.97)
    -6
    """
    zone = _ZONES.get(name.partition("_")[0])
    if zone is None:
        return round(lon / 15.0)
    if isinstance(zone, int):
        return zone
    east, border, west, north = zone
    # Longitudes run from -180 to 180: those of the Near Islands are positive.
    return west if lat < north and not border < lon < 0 else east


@SOURCES.register("uscrn")
def uscrn(
    years: Years,
    stations: str | Iterable[str] | None = None,
    *,
    variables: str | Iterable[str] | None = None,
    utc_offsets: Mapping[str, float] | None = None,
    base_url: str | None = None,
    refresh: bool | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Fetch daily values of the stations of the U.S. Climate Reference Network.

    Parameters
    ----------
    years
        From 2000 to the running year, whose files end about yesterday.
    stations
        Names as in the files, ``"NY_Millbrook_3_W"``; by default all that the source lists for these years.
    variables
        By default ``"tavg"`` (air temperature) and ``"prcp"`` (precipitation). Others are ``"tmax"``, ``"tmin"``,
        ``"tmean"``, ``"solrad"``, ``"stavg"``, ``"stmax"``, ``"stmin"``, ``"rhavg"``, ``"rhmax"``, ``"rhmin"``, and the
        soil moisture ``"sm5"`` (at 5 cm) to ``"sm100"`` and soil temperature ``"st5"`` to ``"st100"``.
    utc_offsets
        Standard time of stations in hours from UTC, by name, if state and longitude do not determine it.
    base_url
        Address or folder of a mirror with files ``YYYY/CRND0103-YYYY-STATION.txt``. By default the environment variable
        ``XSLAMS_USCRN_URL``, or else NOAA NCEI. A web server must list its folders.
    refresh, progress
        As for `cpc`.

    Returns
    -------
    Dataset
        Lazy values along ``obs``, one for each station and day. ``time`` is the UTC time at which the local day begins,
        ``time_bnds`` holds its two ends; further coordinates are ``lat``, ``lon``, ``station`` (name), ``wban`` and
        ``date`` (the local day). Stations without a file in a year have no values there, without padding.

    Raises
    ------
    OptionError
        If an argument is invalid.
    DatasetError
        If a file cannot be fetched, fails its check or was changed in the cache, or if a station is unknown.

    Notes
    -----
    Stations and days share one dimension, because days begin at different times. To work with time series::

        series = ds.load().set_index(obs=["date", "station"]).unstack("obs")

    Examples
    --------
    >>> import xslams
    >>> xslams.datasets.uscrn(2014, variables="wind")
    Traceback (most recent call last):
    ...
    xslams.errors.OptionError: variables='wind' holds 'wind'; choose from 'tavg', 'tmax', ...
    """
    listed = check_years(years, _FIRST)
    names = check_names(variables, list(_COLUMNS), _DEFAULT, "variables")
    requested = _station_names(stations)
    access = Access(base_url, refresh, progress)
    available = {year: _station_list(year, access) for year in listed}
    known = sorted({s for found in available.values() for s in found})
    if requested is not None and (unknown := [s for s in requested if s not in known]):
        msg = (
            f"The source has no station {', '.join(map(repr, unknown))} in {', '.join(map(str, listed))}; it has "
            f"{', '.join(map(repr, known[:5]))} and {max(len(known) - 5, 0)} more."
        )
        raise DatasetError(msg)
    if utc_offsets is not None and (unknown := [s for s in utc_offsets if s not in known]):
        msg = f"utc_offsets= names {', '.join(map(repr, unknown))}, which the source does not have in these years."
        raise OptionError(msg)
    wanted = [(year, s) for year, found in available.items() for s in found if requested is None or s in requested]
    return _assemble(_fetch_all(wanted, access), names, utc_offsets or {})


def _station_names(stations: str | Iterable[str] | None) -> list[str] | None:
    if stations is None:
        return None
    given: object = stations
    listed = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    names = [s for s in listed if isinstance(s, str)]
    if not names or len(names) < len(listed):
        msg = f"stations={given!r}; expected names of stations, such as 'NY_Millbrook_3_W'."
        raise OptionError(msg)
    return names


@dataclass(frozen=True)
class _Series:
    """File of a station and year, and the results of its check."""

    path: Path
    station: str
    wban: int
    days: Sequence[int]  # since 1970-01-01
    lat: FloatArray
    lon: FloatArray


def _final(year: int) -> date:
    return date(year + 1, *_SETTLED)


def _station_list(year: int, access: Access) -> list[str]:
    """Return the names of the stations that have a file for a year."""
    local = _PROVIDER.base(access.base_url).startswith("file:")
    if local:
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        place = Path(url2pathname(urlsplit(f"{_PROVIDER.base(access.base_url)}/{year}").path))
        found = _named(" ".join(p.name for p in place.glob("*.txt")), year)
        if not found:
            msg = f"{place} holds no file CRND0103-{year}-STATION.txt. Check base_url= or {_PROVIDER.variable}."
            raise DatasetError(msg)
        return found

    def check(part: Path) -> dict[str, Any]:
        found = _named(part.read_text(errors="replace"), year)
        if not found:
            msg = f"it lists no file CRND0103-{year}-STATION.txt."
            raise DatasetError(msg)
        return {"stations": found}

    remote = Remote(f"{year}/", check, final=_final(year), listing=True, largest=_LARGEST)
    return list(fetch(_PROVIDER, remote, access).details["stations"])


def _named(text: str, year: int) -> list[str]:
    return sorted({m[2] for m in _FILE.finditer(text) if m[1] == str(year)})


def _fetch_series(year: int, station: str, access: Access) -> _Series:
    def check(part: Path) -> dict[str, Any]:
        return _check_lines(part, year)

    remote = Remote(f"{year}/CRND0103-{year}-{station}.txt", check, final=_final(year), largest=_LARGEST)
    cached = fetch(_PROVIDER, remote, access)
    d = cached.details
    shape = (len(d["days"]),)
    lat, lon = (np.broadcast_to(np.asarray(d[c], float), shape) for c in ("lat", "lon"))
    return _Series(cached.path, station, int(d["wban"]), d["days"], lat, lon)


def _fetch_all(wanted: Sequence[tuple[int, str]], access: Access) -> list[_Series]:
    """Fetch files, a few at a time, because they are small and most of the time is spent waiting for the server."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return list(pool.map(lambda pair: _fetch_series(pair[0], pair[1], access), wanted))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # downloads that have not begun
            raise


def _check_lines(path: Path, year: int) -> dict[str, Any]:
    """Check a file, and return its days and its place."""
    text = path.read_text(errors="replace")
    rows = [line.split() for line in text.splitlines()]
    if not text.endswith("\n") or not rows:
        msg = f"it {'ends within a line' if rows else 'is empty'}."
        raise DatasetError(msg)
    days, lats, lons, stations = [], [], [], set()
    for number, row in enumerate(rows, 1):
        try:
            if len(row) != _FIELDS:
                msg = f"{len(row)} fields"
                raise ValueError(msg)
            day = datetime.strptime(row[1], "%Y%m%d").date()
            stations.add(int(row[0]))
            lons.append(float(row[3]))
            lats.append(float(row[4]))
            for c in _COLUMNS.values():
                float(row[c.index])
        except ValueError as e:
            msg = f"line {number} is not a day of {_FIELDS} fields ({e}): {' '.join(row)[:60]!r}."
            raise DatasetError(msg) from cleaned(e)
        days.append((day - date(1970, 1, 1)).days)
        if day.year != year or (len(days) > 1 and days[-1] <= days[-2]):
            msg = f"line {number} is for {day}; expected a day of {year} after that of the previous line."
            raise DatasetError(msg)
    if len(stations) != 1:
        msg = f"it mixes the stations {', '.join(map(str, sorted(stations)))}."
        raise DatasetError(msg)
    if not all(-90 <= v <= 90 for v in lats) or not all(-180 <= v <= 180 for v in lons):
        msg = "its latitudes or longitudes are out of range."
        raise DatasetError(msg)
    # Stations hardly ever move.
    lat, lon = (v[0] if len(set(v)) == 1 else v for v in (lats, lons))
    return {"wban": stations.pop(), "days": days, "lat": lat, "lon": lon}


def _read_columns(path: Path, names: Sequence[str]) -> FloatArray:
    """Read values from a file, shape (variable, day), with NaN where missing."""
    columns = [_COLUMNS[n] for n in names]
    rows = [line.split() for line in path.read_text().splitlines()]
    values = np.array([[float(row[c.index]) for row in rows] for c in columns])
    lowest = np.array([c.missing for c in columns])[:, None]
    return np.where(values > lowest, values, np.nan)


def _assemble(series: Sequence[_Series], names: Sequence[str], offsets: Mapping[str, float]) -> xr.Dataset:
    import dask.array
    from dask.delayed import delayed

    arrays: Any = dask.array  # its functions are not typed
    read = delayed(_read_columns)
    blocks = [arrays.from_delayed(read(s.path, list(names)), (len(names), len(s.days)), dtype=float) for s in series]
    values = arrays.concatenate(blocks, axis=1)
    counts = [len(s.days) for s in series]

    def along(per_station: Sequence[Any]) -> Any:
        return np.repeat(np.asarray(per_station), counts)

    days = (
        np.concatenate([np.asarray(s.days, "int64") for s in series]).astype("datetime64[D]").astype("datetime64[ns]")
    )
    hours = [offsets.get(s.station, utc_offset(s.station, float(s.lon[0]), float(s.lat[0]))) for s in series]
    start = days - along([pd.Timedelta(hours=float(h)).to_timedelta64() for h in hours])
    ds = xr.Dataset(
        {
            name: (
                "obs",
                values[n],
                {
                    "standard_name": _COLUMNS[name].standard_name,
                    "long_name": _COLUMNS[name].long_name,
                    "units": _COLUMNS[name].units,
                    "cell_methods": _COLUMNS[name].method,
                },
            )
            for n, name in enumerate(names)
        },
        coords={
            "time": ("obs", start, {"standard_name": "time", "axis": "T", "bounds": "time_bnds"}),
            "time_bnds": (("obs", "bnds"), np.stack([start, start + np.timedelta64(24, "h")], axis=1)),
            "lat": (
                "obs",
                np.concatenate([s.lat for s in series]),
                {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
            ),
            "lon": (
                "obs",
                np.concatenate([s.lon for s in series]),
                {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
            ),
            "station": ("obs", along([s.station for s in series]), {"long_name": "station name"}),
            "wban": ("obs", along([s.wban for s in series]), {"long_name": "WBAN number"}),
            "date": ("obs", days, {"long_name": "day of local standard time"}),
        },
        attrs={
            "Conventions": "CF-1.11",
            "featureType": "point",
            "title": "U.S. Climate Reference Network, daily, NOAA NCEI",
            "references": "Diamond et al. (2013), doi:10.1175/BAMS-D-12-00170.1",
        },
    )
    return ds
