"""Public data sets: files of their layout from a server on this machine, and everything that can go wrong with them."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import multiprocessing
import pickle
import socket
import tarfile
import threading
import warnings
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xslams
from tests.problems.zones import OTHERS, ZONES
from xslams import datasets
from xslams.datasets import arguments, cache, chaosbench, stations
from xslams.datasets.netcdf import Field, check_file, clean, join, open_file
from xslams.datasets.stations import utc_offset
from xslams.errors import DatasetError, OptionError, SlamsWarning
from xslams.labels.grid import grid_of
from xslams.labels.units import unit_factors
from xslams.observations.temporal import match_times

SENTINEL = np.float32(-9.96921e36)
DIMS = ("time", "lat", "lon")


def refuse(*args, **kwargs):
    raise AssertionError("computed while the data set was opened")


# ---------------------------------------------------------------------------------------------------------------------
# A server, and the ways in which it fails
# ---------------------------------------------------------------------------------------------------------------------
class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and misbehaves where it is told to."""

    faults: dict[str, str]
    requests: list[tuple[str, int]]

    def do_GET(self):
        fault = next((f for name, f in self.faults.items() if name in self.path), None)
        path = Path(self.translate_path(self.path))
        if fault is None:
            super().do_GET()
            return
        if fault.isdigit():
            self.send_error(int(fault))
            return
        if fault.startswith("once "):
            self.faults.clear()
            self.send_error(int(fault[5:]))
            return
        body = path.read_bytes()
        start = 0
        if fault == "drops" and self.headers.get("If-Range") == '"one"':
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if fault == "drops":  # sends a third of the file with every answer, but can go on
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(body) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            self.wfile.write(body[start : start + len(body) // 3 + 1])
            return
        if fault == "html":
            body = b"<!DOCTYPE html><html><body>Service temporarily moved</body></html>"
        if fault in ("short", "html"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault in ("short", "cut") else body)

    def log_request(self, code="-", size="-"):
        self.requests.append((self.path, int(code)))

    def log_message(self, *args):
        pass


class Server:
    def __init__(self, folder: Path, address: str, handler: type[Handler]) -> None:
        self.folder, self.address, self.handler = folder, address, handler

    def fail(self, name: str, how: str) -> None:
        self.handler.faults[name] = how

    @property
    def requests(self) -> list[tuple[str, int]]:
        return self.handler.requests


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of its own for each test, which all sources are fetched from, and an empty cache."""
    folder = tmp_path / "www"
    folder.mkdir()
    handler = type("OwnHandler", (Handler,), {"faults": {}, "requests": []})
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_PAUSE", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as httpd:
        address = f"http://127.0.0.1:{httpd.server_port}"
        for name in ("CPC", "NOAA_OLR", "NCEP", "USCRN", "ERA5_CHAOSBENCH"):
            monkeypatch.setenv(f"XSLAMS_{name}_URL", address)
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield Server(folder, address, handler)
        httpd.shutdown()
        thread.join()


@pytest.fixture
def today(monkeypatch):
    """Set the date."""

    def set_date(text: str) -> None:
        monkeypatch.setattr(arguments, "now", lambda: datetime.fromisoformat(text).replace(tzinfo=UTC))

    return set_date


def cached(tmp_path: Path) -> list[str]:
    """Names of all files in the cache."""
    return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file())


# ---------------------------------------------------------------------------------------------------------------------
# Files of the published layouts
# ---------------------------------------------------------------------------------------------------------------------
def grid(step: float, offset: float) -> dict[str, xr.Variable]:
    lat = np.arange(90 - offset, -90 - 1e-6, -step, dtype="float32")
    lon = np.arange(offset, 360, step, dtype="float32")
    return {
        "lat": xr.Variable("lat", lat, {"units": "degrees_north", "long_name": "Latitude", "axis": "Y"}),
        "lon": xr.Variable("lon", lon, {"units": "degrees_east", "long_name": "Longitude", "axis": "X"}),
    }


def psl_file(
    path: Path,
    name: str,
    units: str,
    time: pd.DatetimeIndex,
    field: object,
    *,
    level: list[float] | None = None,
    step: float = 30.0,
    offset: float = 15.0,
    packed: bool = False,
    classic: bool = False,
    **attrs: str,
) -> xr.Dataset:
    """A file as NOAA PSL writes it: COARDS, no standard name, a fill value in float32, hours since 1800 or 1900."""
    coords = {"time": time, **grid(step, offset)}
    dims = ["time", "lat", "lon"]
    if level is not None:
        coords["level"] = xr.Variable("level", np.asarray(level, "float32"), {"units": "millibar", "positive": "down"})
        dims.insert(1, "level")
    shape = [len(coords[d]) for d in dims]
    values = np.broadcast_to(np.asarray(field, "float32"), shape).copy()
    ds = xr.Dataset({name: (dims, values, {"units": units, "long_name": f"Daily {name}", **attrs})}, coords)
    ds.attrs = {"Conventions": "COARDS", "title": "made for a test"}
    fill: dict[str, object] = {"missing_value": SENTINEL, "_FillValue": None}
    if packed:
        fill = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 127.65, "missing_value": np.int16(32766),
                "_FillValue": None}  # fmt: skip
    encoding = {name: fill, "time": {"units": "hours since 1800-01-01 00:00:0.0", "dtype": "float64"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {"engine": "scipy", "format": "NETCDF3_CLASSIC"} if classic else {"engine": "h5netcdf"}
    ds.to_netcdf(path, encoding=encoding, **kind)
    return ds


def days(year: int, count: int | None = None) -> pd.DatetimeIndex:
    return pd.date_range(f"{year}-01-01", f"{year}-12-31")[:count]


def cpc_file(folder: Path, year: int, count: int | None = None, **options: object) -> xr.Dataset:
    """Rain that grows by the day of the year, and no values where longitudes are beyond 180 degrees: the sea."""
    time = days(year, count)
    rain = np.arange(len(time), dtype="float32")[:, None, None] / 10 + np.zeros((1, 6, 12), "float32")
    rain[..., 6:] = SENTINEL
    return psl_file(folder / f"precip.{year}.nc", "precip", "mm", time, rain, cell_methods="time: sum", **options)


def olr_file(folder: Path, time: pd.DatetimeIndex, name: str = "olr.day.mean.nc", **options: object) -> xr.Dataset:
    field = 200 + (np.arange(len(time), dtype="float32") % 100)[:, None, None]
    return psl_file(folder / name, "olr", "W/m^2", time, field, offset=0.0, **options)


def ncep_file(folder: Path, name: str, year: int, count: int | None = None, **options: object) -> xr.Dataset:
    units, value = {"air": ("degK", 280.0), "hgt": ("m", 1500.0), "uwnd": ("m/s", -3.0), "vwnd": ("m/s", 2.0)}[name]
    levels = [1000.0, 850.0, 500.0, 10.0]
    field = value - np.arange(4, dtype="float32")[:, None, None]
    path = folder / "Dailies" / "pressure" / f"{name}.{year}.nc"
    return psl_file(path, name, units, days(year, count), field, level=levels, offset=0.0, **options)


def uscrn_line(wban: int, day: pd.Timestamp, lon: float, lat: float, values: dict[int, float]) -> str:
    """A line of daily01: fields of the published widths; 5 digits of soil moisture and radiation, one of others."""
    out = [f"{wban:5d}", f"{day:%Y%m%d}", " 2.422", f"{lon:7.2f}", f"{lat:7.2f}"]
    for index in range(5, 28):
        if index == 11:
            out.append("C")
        elif index == 10:
            out.append(f"{values.get(index, -9999.0):8.2f}")
        elif 18 <= index <= 22:
            out.append(f"{values.get(index, -99.0):7.3f}")
        else:
            out.append(f"{values.get(index, -9999.0):7.1f}")
    return " ".join(out)


STATIONS = {"NY_Millbrook_3_W": (64756, -73.74, 41.79), "CO_Boulder_14_W": (94075, -105.54, 40.04)}


def uscrn_file(
    folder: Path, year: int, station: str, count: int | None = None, values: list[dict[int, float]] | None = None
) -> None:
    wban, lon, lat = STATIONS[station]
    rows = [
        uscrn_line(wban, day, lon, lat, values[n] if values is not None else {8: n / 10, 9: float(n % 3)})
        for n, day in enumerate(days(year, count))
    ]
    (folder / str(year)).mkdir(exist_ok=True)
    (folder / str(year) / f"CRND0103-{year}-{station}.txt").write_text("\n".join(rows) + "\n")


def chaosbench_store(folder: Path, day: pd.Timestamp, height: float = 5500.0) -> None:
    """A day as ChaosBench makes it: the reanalysis from netCDF, packed, its time a scalar, z divided by gravity."""
    levels = np.array([10, 500, 850], "int32")
    lat, lon = np.linspace(90, -90, 4, dtype="float32"), np.arange(0, 360, 60, dtype="float32")
    values = {"z": height, "q": 1e-3, "t": 250.0 + day.day_of_year / 10, "u": 5.0, "v": -5.0, "w": 0.1}
    units = {"q": "kg kg**-1", "t": "K", "u": "m s**-1", "v": "m s**-1", "w": "Pa s**-1"}
    ds = xr.Dataset(
        {
            n: (("level", "latitude", "longitude"), np.full((3, 4, 6), v, "float32"), {"units": units.get(n, "")})
            for n, v in values.items()
        },
        coords={"level": levels, "latitude": lat, "longitude": lon, "time": day.to_datetime64()},
    )
    ds["t"].encoding = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 250.0, "_FillValue": np.int16(-32767)}
    ds.to_zarr(folder / f"era5_full_1.5deg_{day:%Y%m%d}.zarr", zarr_format=2, consolidated=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> bytes:
    """An archive of one short year, of which the data set has 4 days, and a day of another one."""
    folder = tmp_path_factory.mktemp("archive")
    for day in [*pd.date_range("2016-01-01", periods=4), pd.Timestamp("2017-01-01")]:
        chaosbench_store(folder, day)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(folder, "era5_tmp")
    return gzip.compress(content.getvalue(), 1)


@pytest.fixture
def published(server, archive, monkeypatch):
    """The archive in two parts on the server, and years of four days, so that they are complete."""
    middle = len(archive) * 2 // 3
    parts = {"era5_chunks.tar.gz.aa": archive[:middle], "era5_chunks.tar.gz.ab": archive[middle:]}
    for name, content in parts.items():
        (server.folder / name).write_bytes(content)
    monkeypatch.setattr(chaosbench, "_PARTS", {n: hashlib.sha256(c).hexdigest() for n, c in parts.items()})
    monkeypatch.setattr(chaosbench, "days_in", lambda year: 4)
    return server


def check_metadata(ds: xr.Dataset, names: dict[str, str]) -> None:
    """Names, units and coordinates that the package and cf-xarray understand."""
    import cf_xarray  # noqa: F401  registers .cf

    assert {n: ds[n].attrs["standard_name"] for n in ds.data_vars} == names
    for name, da in ds.data_vars.items():
        unit_factors(da.attrs["units"], da.attrs["units"] + " ")
        assert da.attrs["long_name"], name
        assert da.attrs["cell_methods"].startswith("time: "), name
    for key in ("time", "latitude", "longitude"):
        assert key in ds.cf.standard_names
    assert ds.attrs["references"]
    assert ds.attrs["title"]


# ---------------------------------------------------------------------------------------------------------------------
# What is returned
# ---------------------------------------------------------------------------------------------------------------------
def test_precipitation(server, tmp_path):
    for year in (2003, 2004):
        cpc_file(server.folder, year)
    with dask.config.set(scheduler=refuse):
        ds = datasets.cpc([2004, 2003])
    check_metadata(ds, {"precip": "lwe_precipitation_rate"})
    assert dict(ds.sizes) == {"time": 365 + 366, "lat": 6, "lon": 12, "bnds": 2}
    assert ds["precip"].dtype == np.float32
    assert ds["precip"].chunksizes["time"] == (365, 366)
    assert ds["precip"].attrs["units"] == "mm day-1"
    np.testing.assert_array_equal(ds["precip"].isnull().mean(("time", "lat")), [0] * 6 + [1] * 6)
    np.testing.assert_allclose(ds["precip"].sel(time="2004-01-11").values[:, :6], 1.0)
    assert ds["time_bnds"].dtype == ds["time"].dtype
    assert (ds["time_bnds"][:, 1] - ds["time_bnds"][:, 0] == np.timedelta64(1, "D")).all()
    assert grid_of(ds).periodic
    assert cached(tmp_path)[1] == "precip.2003.nc.json"
    pickle.loads(pickle.dumps(ds))["precip"].isel(time=0).load()


def test_what_is_returned_can_be_written_and_read_again(server, tmp_path):
    cpc_file(server.folder, 2003)
    ds = datasets.cpc(2003)
    ds.to_netcdf(tmp_path / "copy.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "copy.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back["precip"].load(), ds["precip"].load())
        assert back["precip"].attrs == ds["precip"].attrs


def test_chunks_can_be_chosen(server):
    cpc_file(server.folder, 2003)
    assert datasets.cpc(2003, chunks={"time": 100})["precip"].chunksizes["time"] == (100, 100, 100, 65)


def test_radiation_daily_and_twice_a_day(server):
    olr_file(server.folder, pd.date_range("1978-01-01", "1980-12-31").delete(slice(75, 365)))
    twice = pd.date_range("1979-01-01", "1980-12-31T12", freq="12h")
    olr_file(server.folder, twice, "olr.2xdaily.1979-2022.nc")
    with dask.config.set(scheduler=refuse):
        daily, passes = datasets.noaa_olr(1979), datasets.noaa_olr([1980], frequency="12h")
    check_metadata(daily, {"olr": "toa_outgoing_longwave_flux"})
    assert (daily.sizes["time"], passes.sizes["time"]) == (365, 732)
    assert daily["olr"].attrs["cell_methods"] == "time: mean"
    assert passes["olr"].attrs["cell_methods"] == "time: point"
    assert "time_bnds" not in passes
    assert daily["time"].values[0] == np.datetime64("1979-01-01")
    with pytest.warns(SlamsWarning, match="75 of 365 days of 1978"):
        assert datasets.noaa_olr([1978, 1980]).sizes["time"] == 75 + 366
    assert [path for path, _ in server.requests] == ["/olr.day.mean.nc", "/olr.2xdaily.1979-2022.nc"]
    with pytest.raises(DatasetError, match=r"has 0 times of 1990; expected complete years"):
        datasets.noaa_olr([1979, 1990])


@pytest.mark.parametrize("form", [{}, {"packed": True}, {"classic": True, "packed": True}])
def test_reanalysis_on_levels(server, form):
    for name in ("air", "hgt", "uwnd", "vwnd"):
        for year in (2001, 2002):
            ncep_file(server.folder, name, year, **(form if name == "air" else {}))
    with dask.config.set(scheduler=refuse):
        ds = datasets.ncep(range(2001, 2003), levels=[500, 1000])
    names = ("air_temperature", "geopotential_height", "eastward_wind", "northward_wind")
    check_metadata(ds, dict(zip(("air", "hgt", "uwnd", "vwnd"), names, strict=True)))
    assert ds["level"].values.tolist() == [1000, 500]
    assert ds["level"].attrs == {
        "standard_name": "air_pressure",
        "units": "hPa",
        "axis": "Z",
        "positive": "down",
    }
    assert ds["air"].attrs["units"] == "K"
    assert ds.sizes["time"] == 730
    np.testing.assert_allclose(ds["air"].isel(time=400, lat=0, lon=0), [280.0, 278.0], atol=0.01)
    assert set(ds["air"].chunksizes["time"]) <= set(range(366))


def test_a_level_that_the_files_lack(server):
    ncep_file(server.folder, "air", 2001)
    with pytest.raises(DatasetError, match="no level 925 hPa"):
        datasets.ncep(2001, levels=[925, 850], variables="air")


def test_reanalysis_near_the_surface_every_six_hours(server):
    time = pd.date_range("2001-01-01", "2001-12-31T18", freq="6h")
    psl_file(server.folder / "surface" / "air.sig995.2001.nc", "air", "degK", time, 285.0)
    ds = datasets.ncep(2001, "sig995", variables="air", frequency="6h")
    check_metadata(ds, {"air": "air_temperature"})
    assert ds["air"].dims == ("time", "lat", "lon")
    assert float(ds["sigma"]) == 0.995
    assert ds["air"].attrs["cell_methods"] == "time: point"
    assert ds.sizes["time"] == 4 * 365


def test_era5(published, tmp_path):
    ds = datasets.era5_chaosbench(2016, levels=[850, 500], variables=["t", "z"])
    check_metadata(ds, {"z": "geopotential_height", "t": "air_temperature"})
    assert dict(ds.sizes) == {"time": 4, "level": 2, "lat": 4, "lon": 6}
    assert ds["level"].values.tolist() == [850, 500]
    assert ds["t"].attrs["cell_methods"] == "time: point"
    assert ds["t"].chunks is not None
    np.testing.assert_allclose(ds["t"].isel(level=0, lat=0, lon=0), 250 + np.arange(1, 5) / 10, atol=0.006)
    assert (ds["time"].values == pd.date_range("2016-01-01", periods=4).values).all()
    assert not [n for n in cached(tmp_path) if n.startswith(".part")]
    # The year is in the cache now, and another one comes out of the archive, which is not fetched again.
    before = len(published.requests)
    with dask.config.set(scheduler=refuse):
        datasets.era5_chaosbench(2016, 500)
    with pytest.warns(SlamsWarning, match="1 of 4 days of 2017; the first missing day is 2017-01-02"):
        assert datasets.era5_chaosbench([2016, 2017], 500).sizes["time"] == 5
    assert len(published.requests) == before == 2
    with pytest.raises(DatasetError, match="no day of 1990"):
        datasets.era5_chaosbench(1990)
    with pytest.raises(DatasetError, match="no level 925 hPa"):
        datasets.era5_chaosbench(2016, levels=925)


def test_an_archive_of_another_release_is_refused(published, tmp_path):
    path = published.folder / "era5_chunks.tar.gz.ab"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DatasetError, match=r"tar\.gz\.ab has the sha256 .*; expected .* is published"):
        datasets.era5_chaosbench(2016)
    assert [n for n in cached(tmp_path) if "tar.gz.ab" in n] == []


def test_a_damaged_archive_makes_no_file(published, tmp_path, monkeypatch):
    path = published.folder / "era5_chunks.tar.gz.ab"
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 2])
    hashes = chaosbench._PARTS | {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    monkeypatch.setattr(chaosbench, "_PARTS", hashes)
    with pytest.raises(DatasetError, match="cannot be extracted"):
        datasets.era5_chaosbench(2017)
    assert not [n for n in cached(tmp_path) if n.startswith((".part", "era5_full"))]


def test_stations(server, tmp_path):
    for year in (2013, 2014):
        uscrn_file(server.folder, year, "NY_Millbrook_3_W")
    uscrn_file(server.folder, 2014, "CO_Boulder_14_W", 20)
    with dask.config.set(scheduler=refuse):
        ds = datasets.uscrn([2013, 2014])
    check_metadata(ds, {"tavg": "air_temperature", "prcp": "lwe_precipitation_rate"})
    assert ds["tavg"].chunksizes["obs"] == (365, 20, 365)
    boulder = ds.isel(obs=(ds["station"] == "CO_Boulder_14_W").values)
    assert boulder["time"].values[0] == np.datetime64("2014-01-01T07")
    assert (boulder["time_bnds"].values[0] == np.array(["2014-01-01T07", "2014-01-02T07"], "M8[ns]")).all()
    assert boulder["date"].values[-1] == np.datetime64("2014-01-20")
    np.testing.assert_allclose(boulder["tavg"], np.arange(20) / 10)
    assert (boulder["lon"].values[0], boulder["wban"].values[0]) == (-105.54, 94075)
    only = datasets.uscrn(2014, "CO_Boulder_14_W", variables="tavg", utc_offsets={"CO_Boulder_14_W": -6})
    assert only["time"].values[0] == np.datetime64("2014-01-01T06")
    series = ds.load().set_index(obs=["date", "station"]).unstack("obs")
    assert dict(series["tavg"].sizes) == {"date": 730, "station": 2}
    assert int(series["tavg"].notnull().sum()) == 750


def test_missing_values_of_every_width(server):
    values = [{i: -9999.0 for i in (5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17)}, {}, {8: -40.5, 10: 0.0, 18: 0.0}]
    uscrn_file(server.folder, 2014, "NY_Millbrook_3_W", 3, values)
    every = list(stations._COLUMNS)
    ds = datasets.uscrn(2014, variables=every).load()
    assert set(ds.data_vars) == set(every)
    assert all(ds[n].isel(obs=[0, 1]).isnull().all() for n in every)
    got = {n: float(ds[n][2]) for n in every if ds[n][2].notnull()}
    assert got == {"tavg": -40.5, "solrad": 0.0, "sm5": 0.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:-40], "ends within a line"),
        (lambda t: "", "is empty"),
        (lambda t: t.replace("20140102", "20130102"), "line 2 is for 2013-01-02"),
        (lambda t: t.replace("20140102", "20140101"), "line 2 is for 2014-01-01"),
        (lambda t: t.replace(" C ", " "), "line 1 is not a day of 28 fields"),
        (lambda t: t.replace("64756", "11111", 1), "mixes the stations 11111, 64756"),
        (lambda t: t.replace("  41.79", " 141.79"), "out of range"),
        (lambda t: t.replace("    0.1", "    x.1", 1), "line 2 is not a day"),
    ],
)
def test_bad_station_files_are_refused(server, tmp_path, change, message):
    uscrn_file(server.folder, 2014, "NY_Millbrook_3_W")
    path = server.folder / "2014" / "CRND0103-2014-NY_Millbrook_3_W.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(DatasetError, match=message):
        datasets.uscrn(2014)
    assert not [n for n in cached(tmp_path) if "Millbrook" in n or n.startswith(".part")]


def test_unknown_stations_are_named(server):
    uscrn_file(server.folder, 2014, "NY_Millbrook_3_W")
    with pytest.raises(DatasetError, match="no station 'NY_Milbrook' in 2014; it has 'NY_Millbrook_3_W' and 0 more"):
        datasets.uscrn(2014, ["NY_Milbrook"])
    with pytest.raises(OptionError, match=r"utc_offsets= names 'X'"):
        datasets.uscrn(2014, utc_offsets={"X": 1})
    with pytest.raises(DatasetError, match="2015/ does not exist"):
        datasets.uscrn(2015)


def test_standard_time_is_near_that_of_the_sun(shared_data):
    with xr.open_dataset(shared_data / "uscrn_daily_2013_2015.nc") as ds:
        names, lon = ds["name"].values, ds["lon"].values
        lat = ds["lat"].values
    zones = np.array([utc_offset(str(n), float(x), float(y)) for n, x, y in zip(names, lon, lat, strict=True)])
    # Alaska keeps one time over more than two zones of the sun.
    usual = (lat < 50) | (lon > -130)
    assert np.abs(zones - lon / 15)[usual].max() < 1.3
    assert np.abs(zones - lon / 15).max() < 2.6


def test_standard_time_is_that_of_the_time_zone(shared_data):
    with xr.open_dataset(shared_data / "uscrn_daily_2013_2015.nc") as ds:
        places = {
            str(n): (float(x), float(y))
            for n, x, y in zip(*(ds[v].values for v in ("name", "lon", "lat")), strict=True)
        }
    table = [(name, *places[name], zone) for zone, names in ZONES.items() for name in names.split()]
    assert len(table) == len(places)
    for name, lon, lat, zone in table + OTHERS:
        # Daylight saving adds to standard time, whatever the hemisphere.
        months = (datetime(2016, month, 1, tzinfo=ZoneInfo(zone)).utcoffset() for month in (1, 7))
        assert utc_offset(name, lon, lat) == min(months).total_seconds() / 3600, name


def test_local_days_are_shared_between_the_days_of_a_model(server):
    uscrn_file(server.folder, 2014, "CO_Boulder_14_W", 5)
    ds = datasets.uscrn(2014)
    frames = xr.DataArray(pd.date_range("2014-01-01", periods=5), dims="time", name="time")
    match = match_times(ds["time"], frames, 24.0, attrs=ds["tavg"].attrs, bounds=ds["time_bnds"])
    expected = np.zeros((5, 5))
    for n in range(4):
        expected[n, n : n + 2] = 17 / 24, 7 / 24  # the last day ends when the state has ended
    np.testing.assert_allclose(match.weights.toarray(), expected, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Into an analysis
# ---------------------------------------------------------------------------------------------------------------------
def test_gridded_sources_go_into_an_analysis(server):
    state = xslams.open_tutorial().isel(time=slice(0, 2))
    years = sorted({int(y) for y in state["time"].dt.year})
    for year in years:
        cpc_file(server.folder, year)
    olr_file(server.folder, pd.date_range(f"{years[0]}-01-01", f"{years[-1]}-12-31"))
    rain, olr = datasets.cpc(years), datasets.noaa_olr(years)
    obs = [
        xslams.Observation(rain, error=5.0, method="conservative", name="CPC"),
        xslams.Observation(olr, error=10.0, method="conservative", name="OLR"),
    ]
    spec = xslams.open_model("speedy-t30").spec
    for source, cells in zip(obs, (36, 84), strict=True):
        arrays = source.to_arrays(spec, state["time"])
        assert len(arrays.values) == 2 * cells
    analysis = state.slams.assimilate(obs, "speedy-t30", members=1, steps=2)
    assert np.isfinite(analysis["t"]).all()


def test_stations_and_reanalysis_go_into_an_analysis(server, shared_data):
    """The real reanalysis, as NOAA packs it, and stations with real values in files of the published form."""
    with xr.open_zarr(shared_data / "ncep_air_2013_2014.zarr", consolidated=False) as ds:
        year = ds[["air"]].sel(time="2014").load()
    (server.folder / "surface").mkdir()
    year["air"].encoding["missing_value"] = np.int16(32766)
    year.to_netcdf(server.folder / "surface" / "air.sig995.2014.nc", engine="h5netcdf")
    fields = datasets.ncep(2014, "sig995", variables="air", frequency="6h")
    np.testing.assert_allclose(fields["air"], year["air"], atol=1e-4)
    assert fields["lat"].values[0] > fields["lat"].values[-1]
    daily = fields.isel(time=slice(0, 12)).resample(time="1D").mean(keep_attrs=True).drop_vars("sigma")
    uscrn_file(server.folder, 2014, "NY_Millbrook_3_W")
    uscrn_file(server.folder, 2014, "CO_Boulder_14_W")
    source = xslams.Observation(datasets.uscrn(2014), {"tavg": "air"}, error=2.0, name="USCRN")
    arrays = source.to_arrays(xslams.open_model("ncep-na").spec, daily["time"])
    # Two whole local days of each of two stations lie within three days of the state.
    np.testing.assert_allclose(sorted(arrays.values), [273.15, 273.15, 273.25, 273.25])
    np.testing.assert_allclose(arrays.matrix.sum(axis=1), 1.0)
    # As the documentation has it, for a model with levels.
    leveled = xslams.Observation(datasets.uscrn(2014).assign_coords(sigma=0.995), {"tavg": "t"}, error=3.0)
    low = leveled.to_arrays(xslams.open_model("speedy-t30").spec, daily["time"])
    np.testing.assert_array_equal(low.values, arrays.values)
    analysis = daily.slams.assimilate([source], "ncep-na", members=1, steps=2, background_error=2.0)
    assert np.isfinite(analysis["air"]).all()


def test_real_pressure_level_file(server, today, shared_data):
    """Five days of 2022 as NOAA PSL has them: degK, millibar, bounds that nothing refers to."""
    today("2022-01-06T12:00")
    place = server.folder / "Dailies" / "pressure"
    place.mkdir(parents=True)
    (place / "air.2022.nc").write_bytes((shared_data / "ncep_air_17lev_2022_day5.nc").read_bytes())
    ds = datasets.ncep(2022, variables="air")
    assert dict(ds["air"].sizes) == {"time": 5, "level": 17, "lat": 73, "lon": 144}
    with xr.open_dataset(shared_data / "ncep_air_17lev_2022_day5.nc") as real:
        np.testing.assert_array_equal(ds["air"], real["air"])
        assert ds["level"].values.tolist() == real["level"].values.tolist()
    check_metadata(ds, {"air": "air_temperature"})


def test_real_radiation(server, shared_data):
    (server.folder / "olr.day.mean.nc").write_bytes((shared_data / "noaa_olr_asia_2000_2005.nc").read_bytes())
    ds = datasets.noaa_olr([2001, 2004])
    with xr.open_dataset(shared_data / "noaa_olr_asia_2000_2005.nc") as real:
        expected = real["olr"].sel(time=ds["time"])
        np.testing.assert_array_equal(ds["olr"], expected)
    assert ds.sizes["time"] == 365 + 366


def test_real_station_values_survive_their_text_form(server, shared_data):
    index = {"tavg": 8, "tmax": 5, "tmin": 6, "prcp": 9, "solrad": 10, "stavg": 14, "rhavg": 17}
    with xr.open_dataset(shared_data / "uscrn_daily_2013_2015.nc") as ds:
        one = ds.sel(time="2014").isel(station=int(np.argmax(ds["name"].values == "NY Millbrook 3 W"))).load()
    rows = [{i: float(one[n][t]) for n, i in index.items() if np.isfinite(one[n][t])} for t in range(one.sizes["time"])]
    uscrn_file(server.folder, 2014, "NY_Millbrook_3_W", values=rows)
    ds = datasets.uscrn(2014, variables=list(index))
    for name in index:
        np.testing.assert_allclose(ds[name], one[name], atol=0.051)
        assert ds[name].attrs["standard_name"] == one[name].attrs.get("standard_name", ds[name].attrs["standard_name"])


# ---------------------------------------------------------------------------------------------------------------------
# A data set from outside of the package
# ---------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def gauges():
    """A data set that a user registers: one file per year, fetched and checked like those of the package."""
    name = "toy_gauges"
    rain = Field("rain", "precipitation_flux", "kg m-2 d-1", "rain of a toy", (0.0, 1000.0))
    provider = cache.Provider(name, "https://gauges.example")

    @datasets.SOURCES.register(name)
    def toy_gauges(years, *, base_url=None):
        def opened(year):
            remote = cache.Remote(f"rain.{year}.nc", lambda path: {"times": len(check_file(path, rain, DIMS))})
            return open_file(cache.fetch(provider, remote, cache.Access(base_url)).path, chunks={})

        parts = [clean(opened(y), [rain], mean=True, step=24) for y in arguments.check_years(years, 2000)]
        return join(parts)

    yield name
    datasets.SOURCES.unregister(name)


def test_a_data_set_registered_outside_is_one_of_the_package(server, gauges, tmp_path):
    assert gauges in datasets.SOURCES
    assert gauges in dir(datasets)
    state = xslams.open_tutorial().isel(time=slice(0, 2))
    year = int(state["time"].dt.year[0])
    psl_file(server.folder / f"rain.{year}.nc", "rain", "kg m-2 d-1", pd.DatetimeIndex(state["time"].values), 3.0)
    ds = getattr(datasets, gauges)(year, base_url=server.address)
    assert cached(tmp_path)[-1] == f"rain.{year}.nc.json"
    source = xslams.Observation(ds, {"rain": "pr"}, error=1.0, method="conservative")
    checked = state.slams.check(source, "speedy-t30")
    assert checked["used"].item() == 2 * 6 * 12
    analysis = state.slams.assimilate(source, "speedy-t30", members=1, steps=2)
    assert np.isfinite(analysis["t"]).all()


def test_the_data_sets_of_the_package_are_registered_by_their_public_names():
    assert set(datasets.SOURCES) == set(datasets.__all__) - {"SOURCES"}
    assert all(datasets.SOURCES[n] is getattr(datasets, n) for n in datasets.SOURCES)
    with pytest.raises(AttributeError, match=r"no attribute 'gpcp'; the data sets are .*cpc"):
        datasets.gpcp  # noqa: B018  an attribute that is not there
    with pytest.raises(OptionError, match=r"Unknown data set 'ncepp'\. Did you mean 'ncep'"):
        datasets.SOURCES["ncepp"]


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", r"precip\.2003\.nc does not exist \(status 404\)\. .*base_url= .*XSLAMS_CPC_URL"),
        ("403", r"could not be fetched \(HTTPError: 403"),
        ("500", r"could not be fetched \(HTTPError: 500"),
        ("short", "could not be fetched"),
        ("cut", r"did not pass its check: it (cannot be opened|is not a netCDF)"),
        ("html", r"it is not a netCDF file; it begins with b'<!DOCTYPE html>"),
    ],
)
def test_failed_downloads_leave_nothing(server, tmp_path, fault, message):
    cpc_file(server.folder, 2003)
    server.fail("precip.2003", fault)
    with pytest.raises(DatasetError, match=message):
        datasets.cpc(2003)
    assert cached(tmp_path) == []
    tries = 3 if fault in ("500", "short") else 1
    assert len(server.requests) == (tries if fault.isdigit() else 0) or not fault.isdigit()
    server.handler.faults.clear()
    assert datasets.cpc(2003).sizes["time"] == 365


def test_a_classic_file_that_was_cut_is_noticed(server, tmp_path):
    ncep_file(server.folder, "air", 2001, classic=True)
    server.fail("air.2001", "cut")
    with pytest.raises(DatasetError, match="did not pass its check"):
        datasets.ncep(2001, variables="air")
    assert cached(tmp_path) == []


def test_a_passing_fault_is_tried_again(server):
    cpc_file(server.folder, 2003)
    server.fail("precip.2003", "once 503")
    assert datasets.cpc(2003).sizes["time"] == 365
    assert [code for _, code in server.requests] == [503, 200]


def test_a_download_goes_on_where_it_broke_off(server):
    cpc_file(server.folder, 2003)
    server.fail("precip.2003", "drops")
    ds = datasets.cpc(2003)
    codes = [code for _, code in server.requests]
    assert codes[0] == 200
    assert set(codes[1:]) == {206}
    assert 3 <= len(codes) <= 5
    with xr.open_dataset(server.folder / "precip.2003.nc", engine="h5netcdf") as sent:
        np.testing.assert_array_equal(ds["precip"], sent["precip"])


def test_a_refused_connection(server, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(
        DatasetError, match=r"could not be fetched \(ConnectionError.*Check the network; another address"
    ):
        datasets.cpc(2003, base_url=address)
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda f: cpc_file(f, 2003, 200),
            r"has 200 times \(2003-01-01T00:00 to 2003-07-19T00:00\); expected 365 of 2003",
        ),
        (
            lambda f: psl_file(f / "precip.2003.nc", "precip", "mm", days(2004), 1.0),
            r"has 366 times \(2004-01-01T00:00 to",
        ),
        (
            lambda f: psl_file(f / "precip.2003.nc", "rain", "mm", days(2003), 1.0),
            r"holds rain\(time, lat, lon\); expected precip\(time, lat, lon\)",
        ),
        (
            lambda f: psl_file(f / "precip.2003.nc", "precip", "inch", days(2003), 1.0),
            "precip is in 'inch'; expected 'mm'",
        ),
        (
            lambda f: psl_file(f / "precip.2003.nc", "precip", "mm", days(2003)[::-1], 1.0),
            "coordinate 'time' is not in strict order",
        ),
        (
            lambda f: psl_file(f / "precip.2003.nc", "precip", "mm", days(2003)[:0], 1.0),
            "coordinate 'time' is missing or empty",
        ),
    ],
)
def test_files_of_another_content_are_refused(server, tmp_path, make, message):
    make(server.folder)
    with pytest.raises(DatasetError, match=message):
        datasets.cpc(2003)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("damage", [lambda c: c[:-100], lambda c: c[:500] + bytes([c[500] ^ 1]) + c[501:]])
def test_a_cached_file_that_was_changed_is_noticed(server, tmp_path, damage):
    cpc_file(server.folder, 2003)
    datasets.cpc(2003)
    (path,) = (tmp_path / "cache").rglob("precip.2003.*.nc")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"was changed after it was fetched from http.*Pass refresh=True"):
        datasets.cpc(2003)
    assert datasets.cpc(2003, refresh=True).sizes["time"] == 365
    assert datasets.cpc(2003).sizes["time"] == 365


def test_a_cached_file_is_not_fetched_again_and_needs_no_network(server, tmp_path):
    cpc_file(server.folder, 2003)
    datasets.cpc(2003)
    for refresh in (None, False):
        datasets.cpc(2003, refresh=refresh, base_url="http://127.0.0.1:9")
    assert len(server.requests) == 1
    (record,) = (tmp_path / "cache").rglob("*.json")
    record.write_text("{")
    datasets.cpc(2003)
    assert len(server.requests) == 2


def test_refreshing_fetches_only_what_has_changed(server, tmp_path):
    cpc_file(server.folder, 2003)
    old = datasets.cpc(2003)
    datasets.cpc(2003, refresh=True)
    assert [code for _, code in server.requests] == [200, 304]
    psl_file(server.folder / "precip.2003.nc", "precip", "mm", days(2003), 7.0)
    touch(server.folder / "precip.2003.nc", +10)
    with pytest.warns(SlamsWarning, match=r"precip\.2003\.nc has changed at its source since"):
        new = datasets.cpc(2003, refresh=True)
    assert float(new["precip"][0, 0, 0]) == 7.0
    assert float(old["precip"][20, 0, 0]) == 2.0, "what was opened before is still what it was"


def touch(path: Path, seconds: float) -> None:
    """Make the server think that a file is newer."""
    import os

    then = path.stat().st_mtime + seconds
    os.utime(path, (then, then))


def test_the_running_year_is_looked_after_once_a_day(server, today, tmp_path):
    today("2024-07-01T06:00")
    cpc_file(server.folder, 2024, 181)
    assert datasets.cpc(2024).sizes["time"] == 181
    today("2024-07-01T22:00")
    datasets.cpc(2024)
    assert len(server.requests) == 1
    cpc_file(server.folder, 2024, 183)
    touch(server.folder / "precip.2024.nc", +10)
    today("2024-07-03T06:00")
    assert datasets.cpc(2024, refresh=False).sizes["time"] == 181
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # growth of the running year causes no warning
        assert datasets.cpc(2024).sizes["time"] == 183
    # The server cannot be reached: the copy is used, with a warning about its age.
    server.fail("precip", "404")
    today("2024-07-10T06:00")
    with pytest.warns(SlamsWarning, match=r"used as it was on 2024-07-03.*refresh=False"):
        assert datasets.cpc(2024).sizes["time"] == 183
    with pytest.raises(DatasetError, match="does not exist"):
        datasets.cpc(2024, refresh=True)
    # Years later the copy is still not final, and half a year no longer suffices, although the server has no more.
    server.handler.faults.clear()
    today("2026-01-01T06:00")
    with pytest.warns(SlamsWarning, match=r"it has 183 times .*; expected 366 of 2024, 24 hours apart"):
        datasets.cpc(2024)
    with pytest.raises(DatasetError, match="expected 366 of 2024"):
        datasets.cpc(2024, refresh=True)
    cpc_file(server.folder, 2024)
    touch(server.folder / "precip.2024.nc", +20)
    assert datasets.cpc(2024).sizes["time"] == 366
    before = len(server.requests)
    today("2030-01-01T06:00")
    datasets.cpc(2024)
    assert len(server.requests) == before


def test_old_versions_are_removed_in_time(server, today, tmp_path):
    for day in (10, 20, 30):
        today(f"2024-06-{day}T06:00")
        cpc_file(server.folder, 2024, 150 + day)
        touch(server.folder / "precip.2024.nc", day)
        datasets.cpc(2024, refresh=True)
        for path in (tmp_path / "cache").rglob("*.nc"):
            touch(path, -timedelta(days=3).total_seconds())
    assert len([n for n in cached(tmp_path) if n.endswith(".nc")]) == 2


def test_what_a_killed_process_left_is_removed_in_time(server, tmp_path):
    place = tmp_path / "cache" / "datasets" / "cpc"
    place.mkdir(parents=True)
    for name in (".part-old.nc", ".part-new.nc"):
        (place / name).write_bytes(b"half")
    touch(place / ".part-old.nc", -timedelta(days=3).total_seconds())
    cpc_file(server.folder, 2003)
    datasets.cpc(2003)
    assert [n for n in cached(tmp_path) if n.startswith(".part")] == [".part-new.nc"]


def test_addresses_by_argument_variable_and_folder(server, tmp_path, monkeypatch):
    cpc_file(server.folder, 2003)
    monkeypatch.setenv("XSLAMS_CPC_URL", "http://127.0.0.1:9")
    assert datasets.cpc(2003, base_url=f"{server.address}/").sizes["time"] == 365
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "other"))
    assert datasets.cpc(2003, base_url=server.folder).sizes["time"] == 365
    assert len(server.requests) == 1
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "third"))
    monkeypatch.setenv("XSLAMS_CPC_URL", server.folder.as_uri())
    assert datasets.cpc(2003).sizes["time"] == 365
    with pytest.raises(DatasetError, match=r"precip\.2004\.nc could not be copied \(FileNotFoundError"):
        datasets.cpc(2004)
    monkeypatch.setenv("XSLAMS_CPC_URL", "psl.noaa.gov/Datasets")
    with pytest.raises(OptionError, match=r"neither a web address \(https://\.\.\.\) nor an existing folder"):
        datasets.cpc(2004)


def test_stations_from_a_folder(server, tmp_path):
    uscrn_file(server.folder, 2014, "NY_Millbrook_3_W", 3)
    assert datasets.uscrn(2014, base_url=server.folder).sizes["obs"] == 3
    with pytest.raises(DatasetError, match="holds no file CRND0103-2013-STATION"):
        datasets.uscrn(2013, base_url=server.folder)


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "file"))
    cpc_file(server.folder, 2003)
    with pytest.raises(DatasetError, match=r"Cannot write to the cache .*XSLAMS_CACHE"):
        datasets.cpc(2003)


def _fetch_in_process(folder: str, address: str, barrier: object, answers: object) -> None:
    import os

    os.environ |= {"XSLAMS_CACHE": folder, "XSLAMS_CPC_URL": address}
    barrier.wait()
    answers.put(float(datasets.cpc(2003)["precip"].isel(time=20, lat=0, lon=0)))


def test_processes_do_not_disturb_each_other(server, tmp_path):
    cpc_file(server.folder, 2003)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    jobs = [
        context.Process(target=_fetch_in_process, args=(str(tmp_path / "cache"), server.address, barrier, answers))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    assert [answers.get(timeout=120) for _ in jobs] == [2.0] * 2
    for job in jobs:
        job.join()
    names = cached(tmp_path)
    assert len(names) == 2
    assert names[1] == "precip.2003.nc.json"
    (record,) = (tmp_path / "cache").rglob("*.json")
    assert json.loads(record.read_text())["file"] == names[0]


# ---------------------------------------------------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------------------------------------------------
@given(st.sets(st.integers(1979, 2020), min_size=1))
def test_years_in_any_form_and_order(years):
    forms = [list(years), tuple(years), years, np.array(sorted(years)), iter(years)]
    assert all(arguments.check_years(form, 1979) == sorted(years) for form in forms)


@pytest.mark.parametrize(
    ("years", "message"),
    [
        ("2003", "years='2003'; expected a year or several"),
        (2003.0, r"years=2003\.0; expected a year"),
        (None, "years=None; expected a year"),
        (True, "holds True"),
        ([], "holds no year"),
        ([2003, "2004"], "holds '2004'"),
        ([2003, 2003], "repeats 2003"),
        ([1978, 1979], "asks for 1978; the data set has 1979 to"),
        (3000, "asks for 3000"),
    ],
)
def test_bad_years_are_refused_before_anything_is_fetched(server, years, message):
    with pytest.raises(OptionError, match=message):
        datasets.cpc(years)
    assert server.requests == []


def test_bad_options_are_refused_before_anything_is_fetched(server):
    for call, message in (
        (lambda: datasets.ncep(2003, levels=[500, 400.5]), r"holds 400\.5; the data set has 1000, 925"),
        (lambda: datasets.ncep(2003, levels=[]), "holds no level"),
        (lambda: datasets.ncep(2003, levels=[500, 500]), "repeats a level"),
        (lambda: datasets.ncep(2003, levels=True), "holds True"),
        (lambda: datasets.ncep(2003, levels="surface"), "or 'sig995' for the level near the surface"),
        (lambda: datasets.ncep(2003, "sig995", variables="hgt"), "holds 'hgt'; choose from 'air', 'uwnd', 'vwnd'"),
        (lambda: datasets.ncep(2003, variables=[]), "holds nothing"),
        (lambda: datasets.ncep(2003, frequency="monthly"), "choose one of 'daily', '6h'"),
        (lambda: datasets.era5_chaosbench(2024), "has 1979 to 2023"),
        (lambda: datasets.era5_chaosbench(2016, levels="500"), r"expected one or several of 1000, .*\(hPa\)"),
        (lambda: datasets.noaa_olr(1975, frequency="12h"), "has 1979 to 2022"),
        (lambda: datasets.uscrn(2014, []), "expected names of stations"),
        (lambda: datasets.uscrn(2014, ["a", 1]), "expected names of stations"),
        (lambda: datasets.cpc(2003, refresh="yes"), "expected None"),
        (lambda: datasets.cpc(2003, refresh=1), "expected None"),
    ):
        with pytest.raises(OptionError, match=message):
            call()
    assert server.requests == []
