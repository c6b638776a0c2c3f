"""ERA5 as ChaosBench publishes it on Hugging Face: one archive with a small zarr store for each day.

The archive is a compressed tar in two parts, https://huggingface.co/datasets/LEAP/ChaosBench/tree/main/era5, whose
published hashes are checked. The stores of the requested years (``era5_full_1.5deg_YYYYMMDD.zarr``) are extracted and
converted to one netCDF file per year in the cache.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import xarray as xr

from xslams.addresses import cleaned
from xslams.datasets.arguments import Years, check_levels, check_names, check_years, days_in
from xslams.datasets.cache import Access, Provider, Remote, derive, fetch, folder, is_cached
from xslams.datasets.netcdf import Chunks, Field, check_file, clean, join, open_file
from xslams.datasets.registry import SOURCES
from xslams.errors import DatasetError, SlamsWarning

__all__ = ["era5_chaosbench"]

_PROVIDER = Provider("era5_chaosbench", "https://huggingface.co/datasets/LEAP/ChaosBench/resolve/main/era5")
_LARGEST = 256 * 2**30  # bytes of a part
#: Parts of the archive in order, with the sha256 that Hugging Face publishes for each.
_PARTS = {
    "era5_chunks.tar.gz.aa": "12d3ba0a0347b4492ed4b3f27bd5bc3932b8f4d053d071be835509ffc76efa30",
    "era5_chunks.tar.gz.ab": "201fa576d36a9936d2719554bf4c5c7c223b1c7d2b3aef3e2b4211914c6fdad3",
}
_FIRST, _LAST = 1979, 2023
_LEVELS = (1000.0, 925.0, 850.0, 700.0, 500.0, 300.0, 200.0, 100.0, 50.0, 10.0)
_FIELDS = {
    f.name: f
    for f in (
        Field("z", "geopotential_height", "m", "geopotential height", (-2000.0, 60000.0)),
        Field("q", "specific_humidity", "1", "specific humidity", (-0.01, 0.1)),
        Field("t", "air_temperature", "K", "air temperature", (100.0, 400.0)),
        Field("u", "eastward_wind", "m s-1", "eastward wind", (-300.0, 300.0)),
        Field("v", "northward_wind", "m s-1", "northward wind", (-300.0, 300.0)),
        Field("w", "lagrangian_tendency_of_air_pressure", "Pa s-1", "vertical velocity", (-200.0, 200.0)),
    )
}
_DIMS = ("time", "level", "lat", "lon")
_STORE = re.compile(r"era5_full_1\.5deg_((\d{4})\d{4})\.zarr")


@SOURCES.register("era5_chaosbench")
def era5_chaosbench(
    years: Years,
    levels: float | Iterable[float] | None = None,
    *,
    variables: str | Iterable[str] | None = None,
    chunks: Chunks = "auto",
    base_url: str | os.PathLike[str] | None = None,
    refresh: bool | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Fetch ERA5 at 00 UTC of every day on a global grid of 1.5 degrees, as the benchmark ChaosBench publishes it.

    The source is one archive of 45 GB, which is fetched as a whole with the first year and kept in the cache. Each year
    then takes up to 2.5 GB more. Request all years at once, because every call that needs a new year reads the whole
    archive. You may delete the archive afterwards; it is fetched again when another year is needed.

    Parameters
    ----------
    years
        From 1979 to 2023.
    levels
        Pressure levels in hPa, by default all ten: 1000, 925, 850, 700, 500, 300, 200, 100, 50, 10.
    variables
        Some of ``"z"``, ``"q"``, ``"t"``, ``"u"``, ``"v"`` and ``"w"``; by default all.
    chunks, progress
        As for `cpc`.
    base_url
        Address or folder of a mirror with ``era5_chunks.tar.gz.aa`` and ``.ab``. By default the environment variable
        ``XSLAMS_ERA5_CHAOSBENCH_URL``, or else Hugging Face.
    refresh
        True extracts the years from the archive again; the archive has a published hash and cannot change.

    Returns
    -------
    Dataset
        Lazy fields (time, level, lat, lon); latitudes descend from 90, longitudes run from 0 to 358.5. Values are
        instantaneous at 00 UTC, not daily means. ``z`` is geopotential height in m.

    Raises
    ------
    OptionError
        If an argument is invalid.
    DatasetError
        If the archive cannot be fetched, does not have the published hash or lacks some of the years, or if a file was
        changed in the cache.

    Examples
    --------
    >>> import xslams
    >>> xslams.datasets.era5_chaosbench(2016, levels=600)
    Traceback (most recent call last):
    ...
    xslams.errors.OptionError: levels=600 holds 600; the data set has 1000, 925, 850, 700, 500, ...
    """
    listed = check_years(years, _FIRST, _LAST)
    wanted = check_levels(levels, _LEVELS)
    names = check_names(variables, list(_FIELDS), list(_FIELDS), "variables")
    access = Access(base_url, refresh, progress)
    parts = [
        clean(open_file(path, chunks), [_FIELDS[n] for n in names], mean=False, step=24)
        for path in _year_files(listed, access)
    ]
    ds = join(parts)
    if lacking := [f"{v:g}" for v in wanted if v not in ds["level"].values]:
        msg = f"The archive has no level {', '.join(lacking)} hPa. Leave these levels out."
        raise DatasetError(msg)
    ds = ds.sel(level=wanted)
    ds.attrs = {
        "Conventions": "CF-1.11",
        "title": "ERA5 reanalysis at 00 UTC on 1.5 degrees, ChaosBench",
        "references": "Nathaniel et al. (2024), arXiv:2402.00712; Hersbach et al. (2020), doi:10.1002/qj.3803",
    }
    return ds


def _year_files(years: Sequence[int], access: Access) -> list[Path]:
    """Return the files of the years, which are made from the archive if they are not in the cache."""
    origin = " ".join(_PARTS.values())
    files = {year: f"era5_full_1.5deg_{year}.nc" for year in years}
    needed = [y for y, f in files.items() if access.refresh or not is_cached(_PROVIDER, f, origin)]
    with _stores(needed, access) as place:
        paths = []
        for year, file in files.items():

            def make(part: Path, year: int = year) -> None:
                _write_year(place, year, part)

            paths.append(derive(_PROVIDER, file, origin, make, _check, access).path)
    return paths


@contextmanager
def _stores(years: Sequence[int], access: Access) -> Iterator[Path]:
    """Provide a temporary folder with the daily stores of some years."""
    if not years:
        yield Path()
        return
    keep = Access(access.base_url, None, access.progress)  # the archive cannot change and is not fetched again
    archive = [
        fetch(_PROVIDER, Remote(p, _check_part, sha256=h, largest=_LARGEST), keep).path for p, h in _PARTS.items()
    ]
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder(_PROVIDER)) as place:
        _extract(archive, set(years), Path(place))
        yield Path(place)


def _check_part(path: Path) -> dict[str, Any]:
    return {}  # the published hash suffices


class _Joined(io.RawIOBase):
    """Several files, read one after another as if they were one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._left = list(paths)
        self._file: io.BufferedReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._file is not None or self._left:
            if self._file is None:
                self._file = self._left.pop(0).open("rb")
            if count := self._file.readinto(buffer):
                return count
            self._file.close()
            self._file = None
        return 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


def _extract(archive: Sequence[Path], years: set[int], place: Path) -> None:
    """Extract the stores of some years from the archive."""
    left = {str(y): days_in(y) for y in years}
    last = ""
    try:
        with io.BufferedReader(_Joined(archive)) as stream, tarfile.open(fileobj=stream, mode="r|gz") as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                store = next((i for i, part in enumerate(parts) if _STORE.fullmatch(part)), None)
                if store is None or not member.isfile() or ".." in parts:
                    continue
                found = _STORE.fullmatch(parts[store])
                year = found[2] if found else ""
                if parts[store] != last:
                    if not any(left.values()):
                        break  # the entries of a store are contiguous, so the rest belongs to other years
                    last = parts[store]
                    if year in left:
                        left[year] -= 1
                content = tar.extractfile(member)
                if year not in left or content is None:
                    continue
                target = place.joinpath(*parts[store:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, OSError) as e:
        msg = (
            f"The archive in {archive[0].parent} cannot be extracted ({type(e).__name__}: {e}). Check the free disk "
            "space: each year takes about 1 GB until its file of up to 2.5 GB is written."
        )
        raise DatasetError(msg) from cleaned(e)


def _write_year(place: Path, year: int, target: Path) -> None:
    """Write one file from the stores of a year."""
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(days_in(year))]
    stores = {day: place / f"era5_full_1.5deg_{day:%Y%m%d}.zarr" for day in days}
    found = {day: path for day, path in stores.items() if path.is_dir()}
    if not found:
        msg = f"The archive has no day of {year}. Leave the year out."
        raise DatasetError(msg)
    if len(found) < len(days):
        first = next(day for day in days if day not in found)
        warnings.warn(
            f"The archive has {len(found)} of {len(days)} days of {year}; the first missing day is {first}.",
            SlamsWarning,
            stacklevel=6,
        )
    frames = [_open_store(path, day) for day, path in found.items()]
    try:
        ds = xr.concat(frames, "time", data_vars="all", coords="minimal", compat="override", join="exact")
    except ValueError as e:
        msg = f"The days of {year} are on different grids ({e})."
        raise DatasetError(msg) from cleaned(e)
    chunks = (1, *(ds.sizes[d] for d in _DIMS[1:]))
    encoding: dict[str, dict[str, Any]] = {
        n: {"dtype": "float32", "zlib": True, "complevel": 1, "shuffle": True, "chunksizes": chunks} for n in _FIELDS
    }
    encoding["time"] = {"units": "hours since 1970-01-01", "dtype": "int64"}
    ds.to_netcdf(target, engine="h5netcdf", encoding=encoding)


def _open_store(path: Path, day: date) -> xr.Dataset:
    """Open the store of a day, with the names and units that all data sets of the package share."""
    try:
        ds = xr.open_dataset(path, engine="zarr", chunks={}, consolidated=False)
        ds = ds.rename({"latitude": "lat", "longitude": "lon"})[list(_FIELDS)]
        valid = all(ds[n].dims == _DIMS[1:] for n in _FIELDS) and ds["time"].values == np.datetime64(day)
    except Exception as e:  # zarr and xarray raise many kinds for a truncated or unknown store
        msg = f"{path.name} cannot be read ({type(e).__name__}: {e})."
        raise DatasetError(msg) from cleaned(e)
    if not valid:
        msg = f"{path.name} holds {dict(ds.sizes)} at {ds['time'].values!s:.16}; expected {day} on {_DIMS[1:]}."
        raise DatasetError(msg)
    for name, what in _FIELDS.items():
        ds[name].attrs = {"units": what.units}
        ds[name].encoding = {}
    return ds.drop_attrs(deep=False)


def _check(path: Path) -> dict[str, Any]:
    times = [check_file(path, what, _DIMS) for what in _FIELDS.values()]
    with open_file(path) as ds:
        if 500 in ds["level"].values:
            # Most values of a geopotential that is not divided by gravity would count as impossible.
            height = float(ds["z"].isel(time=0).sel(level=500).mean())
            if not 4000.0 < height < 7000.0:
                msg = f"its mean z at 500 hPa is {height:g}, which is not a geopotential height in m."
                raise DatasetError(msg)
    return {"times": len(times[0])}
