"""The real case over North America: daily NCEP fields, and observations by stations, ships and buoys.

Fields are means of the four daily analyses of the NCEP/NCAR reanalysis. An instrument differs from them by more than
its noise: its place is higher or lower than the smoothed terrain, its day is not a UTC day, it feels a valley that a
cell of 2.5 degrees does not resolve. Bias and error of every station are those of `Observation.calibrated` in the
training period, where the fields are known.

The definition of a day matters most of all. The mean of the analyses at 0, 6, 12 and 18 UTC stands for the 24 hours
from 21 UTC of the day before. A station at UTC-6 reports the 24 hours from 6 UTC, nine hours later, which is a mixture
of two days of the model, 5/8 and 3/8. Stations of one zone therefore make one source, whose time bounds hold its local
day. The difference between stations and fields is 2.4 K with the UTC day, and 1.95 K with the local day.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

import xslams

Array = npt.NDArray[np.float64]

TRAINING = slice("2013-01-01", "2014-06-30")
TESTING = slice("2014-07-01", "2014-12-31")

#: Mean of analyses at 0, 6, 12, 18 UTC: the period that it stands for begins three hours before its stamp.
_LEAD = np.timedelta64(3, "h")
_DAY = np.timedelta64(24, "h")
#: Side of the boxes in which SST is averaged, in cells of 2 degrees: its errors are smooth, so that neighbours add
#: little.
_BOX = 4


def open_fields(data: Path) -> xr.Dataset:
    """Daily mean air temperature on the NCEP grid, 2013 and 2014."""
    path = data / "ncep_air_2013_2014.zarr"
    if not path.exists():
        msg = f"The fields {path} are missing. Set XSLAMS_SHARED to the folder whose data/ holds them."
        raise SystemExit(msg)
    ds = xr.open_zarr(path)[["air"]].load()
    daily = ds.resample(time="1D").mean(keep_attrs=True)
    daily["air"].attrs = {
        "units": "K",
        "standard_name": "air_temperature",
        "long_name": "near-surface air temperature",
    }
    return daily


def open_stations(data: Path, fields: xr.Dataset) -> xr.Dataset:
    """USCRN stations within the domain: ``tavg`` (time, station) in degC, and ``zone``, hours from UTC."""
    ds = xr.open_dataset(data / "uscrn_daily_2013_2015.nc")[["tavg"]].load()
    lon = ds["lon"] % 360
    inside = (
        (ds["lat"] >= fields["lat"].min())
        & (ds["lat"] <= fields["lat"].max())
        & (lon >= fields["lon"].min())
        & (lon <= fields["lon"].max())
    )
    ds = ds.isel(station=np.flatnonzero(inside.values)).sel(time=slice("2013", "2014")).transpose("time", "station")
    return ds.assign_coords(zone=("station", np.round(ds["lon"].values / 15).astype(int)))


# ---------------------------------------------------------------------------------------------------------------------
# USCRN stations
# ---------------------------------------------------------------------------------------------------------------------
def shares(zone: npt.NDArray[np.integer]) -> Array:
    """Share of the next day of the model in the local day of a zone."""
    return (np.maximum(-zone, 0) * np.timedelta64(1, "h") + _LEAD) / _DAY


def station_observations(stations: xr.Dataset, reference: xr.Dataset) -> list[xslams.Observation]:
    """One source per zone, its days with their bounds on the clock of the model, calibrated on `reference`."""
    sources = []
    for zone in np.unique(stations["zone"]):
        ds = stations[["tavg"]].isel(station=np.flatnonzero(stations["zone"].values == zone))
        start = ds["time"].values - int(zone) * np.timedelta64(1, "h") + _LEAD
        ds["time_bnds"] = (("time", "nv"), np.stack([start, start + _DAY], axis=1))
        ds["time"].attrs["bounds"] = "time_bnds"
        source = xslams.Observation(ds, {"tavg": "air"}, name=f"USCRN UTC{zone:+d}")
        sources.append(source.calibrated(reference))
    return sources


# ---------------------------------------------------------------------------------------------------------------------
# Sea-surface temperature
# ---------------------------------------------------------------------------------------------------------------------
def open_sst(data: Path, fields: xr.Dataset) -> xr.DataArray:
    """Monthly SST in boxes within the domain, degC; NaN where less than half of a box is sea."""
    sst = xr.open_dataset(data / "ersst_v5_2010_2020.nc")["sst"].sel(time=slice("2013", "2014")).load()
    sst = sst.sortby("lat")
    inside = {
        c: np.flatnonzero(((sst[c] - 1 >= fields[c].min()) & (sst[c] + 1 <= fields[c].max())).values)
        for c in ("lat", "lon")
    }
    boxes = sst.isel(inside).coarsen(lat=_BOX, lon=_BOX, boundary="trim")
    means = boxes.mean().where(sst.isel(inside).notnull().coarsen(lat=_BOX, lon=_BOX, boundary="trim").mean() >= 0.5)
    means.attrs = {"units": "degC", "cell_methods": "time: mean"}
    return means


def sst_observation(fields: xr.Dataset, sst: xr.DataArray) -> xslams.Observation:
    """SST as an observation of monthly mean air temperature, calibrated on `fields`."""
    air = xslams.Observation(sst.rename("sst"), {"sst": "air"}, method="conservative", name="ERSST")
    return air.calibrated(fields)


# ---------------------------------------------------------------------------------------------------------------------
# Buoys
# ---------------------------------------------------------------------------------------------------------------------
def buoy_observation(data: Path, fields: xr.Dataset) -> xslams.Observation:
    """Daily means of marine stations in May 2013, the only month, without the bias that they have on days of `fields`.

    A cell of 2.5 degrees with a lake or a mountainous coast differs from the air at a buoy in it: means of half a month
    differ from the fields by 1.5 K, and keep three quarters of that in the other half. Used as they are, buoys make the
    analysis worse.
    """
    ds = xr.open_dataset(data / "buoys_2013-05_hourly.nc")[["air_temperature"]].load()
    lon = ds["lon"] % 360
    inside = (
        (ds["lat"] > fields["lat"].min())
        & (ds["lat"] < fields["lat"].max())
        & (lon > fields["lon"].min())
        & (lon < fields["lon"].max())
    )
    air = ds["air_temperature"].isel(station=np.flatnonzero(inside.values))
    # The day of the model begins at 21 UTC of the day before.
    shifted = air.assign_coords(time=air["time"] + _LEAD)
    days = shifted.resample(time="1D").mean().where(shifted.resample(time="1D").count() >= 12)
    days = days.transpose("time", "station")
    days.attrs = air.attrs
    # Where several stations share a cell of the model, their errors are mostly the cell's.
    cell = xr.DataArray(
        np.round(air["lat"].values / 2.5) * 1000 + np.round((air["lon"].values % 360) / 2.5), dims="station"
    )
    group = days.drop_vars([c for c in days.coords if c not in ("time", "lat", "lon")]).groupby(cell.rename("cell"))
    mean = group.mean("station")
    for c in ("lat", "lon"):
        mean = mean.assign_coords({c: ("cell", air[c].groupby(cell.rename("cell")).mean().values)})
    mean.attrs = days.attrs
    data = mean.drop_vars("cell").rename("buoy")
    return xslams.Observation(data, {"buoy": "air"}, name="buoys").calibrated(fields, by=None)
