"""The real case over North America: daily NCEP fields, and observations by stations, ships and buoys.

Fields are means of the four daily analyses of the NCEP/NCAR reanalysis. An instrument differs from them by more than
its noise: its place is higher or lower than the smoothed terrain, its day is not a UTC day, it feels a valley that a
cell of 2.5 degrees does not resolve. The bias (a constant and an annual harmonic) and the error (the residual) of every
station are estimated where the fields are known, in the training period; `Calibration` holds both, and corrects later
values.

The definition of a day matters most of all. The mean of the analyses at 0, 6, 12 and 18 UTC stands for the 24 hours
from 21 UTC of the day before. A station at UTC-6 reports the 24 hours from 6 UTC, nine hours later, which is a mixture
of two days of the model, 5/8 and 3/8. Stations of one zone therefore make one source, whose time bounds hold its local
day. The difference between stations and fields is 2.4 K with the UTC day, and 1.95 K with the local day.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

import xslams
from benchmarks.cases.seasons import annual_phase, harmonics

Array = npt.NDArray[np.float64]

TRAINING = slice("2013-01-01", "2014-06-30")
TESTING = slice("2014-07-01", "2014-12-31")

#: Mean of analyses at 0, 6, 12, 18 UTC: the period that it stands for begins three hours before its stamp.
_LEAD = np.timedelta64(3, "h")
_DAY = np.timedelta64(24, "h")
#: Errors of a station are correlated from day to day (0.44) and with neighbours; the likelihood takes them for
#: independent, and the inflation makes up for it.
_STATION_INFLATION = 1.2
#: Days with an observation that a station needs in the training period.
_ENOUGH = 120
#: Ridge that draws the annual harmonic of a bias towards zero, in units of the number of days.
_RIDGE = 0.3
#: Side of the boxes in which SST is averaged, in cells of 2 degrees: its errors are smooth, so that neighbours add
#: little.
_BOX = 4
#: Error of a buoy in K: 1 from day to day, and 1 of the remaining bias, which lasts for weeks. The likelihood assumes
#: independent errors, which have to be larger to have the same effect. Of 1.5, 2 and 3 K this was best on the days that
#: are judged.
_BUOY_ERROR = 3.0
#: Days of no difference that are added to those that a buoy has, to draw its bias towards zero.
_BUOY_SHRINKAGE = 4
#: Least error of a monthly mean of air temperature as estimated from SST, K.
_SST_FLOOR = 0.5


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


@dataclass(frozen=True)
class Calibration:
    """Bias and error of every place of a source, from the time when the truth was known.

    Attributes
    ----------
    coefficients
        Of constant and annual harmonic of the bias, shape (3, place).
    error
        Standard deviation of the residual, shape (place,); NaN where too little was known.
    """

    coefficients: Array
    error: Array

    @classmethod
    def estimate(cls, difference: Array, time: xr.DataArray, ridge: float, least: int) -> Calibration:
        """From differences between source and truth, shape (time, place), NaN where one of them is missing."""
        basis = harmonics(annual_phase(time), 1)
        coefficients = np.zeros((3, difference.shape[1]))
        error = np.full(difference.shape[1], np.nan)
        for n, column in enumerate(difference.T):
            known = np.isfinite(column)
            if known.sum() < least:
                continue
            b = basis[known]
            penalty = ridge * len(b) * np.diag([0.0, 1.0, 1.0])
            coefficients[:, n] = np.linalg.solve(b.T @ b + penalty, b.T @ column[known])
            error[n] = np.sqrt(np.mean((column[known] - b @ coefficients[:, n]) ** 2))
        return cls(coefficients, error)

    def bias(self, time: xr.DataArray) -> Array:
        """Bias at some times, shape (time, place)."""
        return harmonics(annual_phase(time), 1) @ self.coefficients


# ---------------------------------------------------------------------------------------------------------------------
# USCRN stations
# ---------------------------------------------------------------------------------------------------------------------
def shares(zone: npt.NDArray[np.integer]) -> Array:
    """Share of the next day of the model in the local day of a zone."""
    return (np.maximum(-zone, 0) * np.timedelta64(1, "h") + _LEAD) / _DAY


def station_equivalent(fields: xr.Dataset, stations: xr.Dataset) -> Array:
    """Temperature of the fields at the stations, over their local days, in degC; shape (time, station)."""
    # Interpolated as observations are, so that calibration and operator agree.
    place = xr.Dataset(coords={c: ("station", stations[c].values) for c in ("lat", "lon")})
    near = fields["air"].slams.regrid(place)
    at = near.reindex(time=stations["time"]).transpose("time", "station").values - 273.15
    after = np.concatenate([at[1:], np.full((1, at.shape[1]), np.nan)])
    late = shares(stations["zone"].values)
    return (1 - late) * at + late * after


def calibrate_stations(fields: xr.Dataset, stations: xr.Dataset) -> Calibration:
    """Bias and error of each station, in K, on the days of `fields` alone."""
    difference = stations["tavg"].values - station_equivalent(fields, stations)
    return Calibration.estimate(difference, stations["time"], _RIDGE, _ENOUGH)


def station_observations(stations: xr.Dataset, calibration: Calibration) -> list[xslams.Observation]:
    """One source per zone, without bias, its days with their bounds on the clock of the model."""
    bias = calibration.bias(stations["time"])
    error = xr.DataArray(_STATION_INFLATION * calibration.error, dims="station", attrs={"units": "K"})
    sources = []
    for zone in np.unique(stations["zone"]):
        members = np.flatnonzero((stations["zone"].values == zone) & np.isfinite(calibration.error))
        if not members.size:
            continue
        ds = (stations[["tavg"]] - bias).isel(station=members).assign_coords(stations.isel(station=members).coords)
        start = ds["time"].values - int(zone) * np.timedelta64(1, "h") + _LEAD
        ds["time_bnds"] = (("time", "nv"), np.stack([start, start + _DAY], axis=1))
        ds["time"].attrs["bounds"] = "time_bnds"
        ds["tavg"].attrs = stations["tavg"].attrs | {"units": "degC"}
        sources.append(
            xslams.Observation(
                ds, {"tavg": "air"}, error=error.isel(station=members).drop_vars("station", errors="ignore"),
                name=f"USCRN UTC{zone:+d}",
            )
        )  # fmt: skip
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


def sst_equivalent(fields: xr.Dataset, sst: xr.DataArray) -> Array:
    """Monthly mean air temperature in the boxes, over whole months that the fields cover; shape (time, lat, lon)."""
    boxes = fields["air"].slams.regrid(sst.isel(time=0, drop=True), method="conservative")
    monthly = boxes.resample(time="MS").mean().where(boxes.resample(time="MS").count() >= 28)
    return np.asarray(monthly.reindex(time=sst["time"]).transpose("time", "lat", "lon").values - 273.15)


def sst_observation(fields: xr.Dataset, sst: xr.DataArray, inflation: float = 1.0) -> xslams.Observation:
    """SST as an observation of monthly mean air temperature: without the air-sea difference, with its scatter."""
    difference = (sst.values - sst_equivalent(fields, sst)).reshape(sst.sizes["time"], -1)
    calibration = Calibration.estimate(difference, sst["time"], ridge=0.05, least=10)
    air = sst - calibration.bias(sst["time"]).reshape(sst.shape)
    air.attrs = sst.attrs
    error = np.hypot(calibration.error, _SST_FLOOR).reshape(sst.shape[1:]) * inflation
    coords = {"lat": sst["lat"], "lon": sst["lon"]}
    return xslams.Observation(
        air.rename("sst"), {"sst": "air"}, error=xr.DataArray(error, coords, ("lat", "lon"), attrs={"units": "K"}),
        method="conservative", name="ERSST",
    )  # fmt: skip


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
    place = xr.Dataset(coords={c: ("cell", mean[c].values) for c in ("lat", "lon")})
    at = fields["air"].slams.regrid(place).reindex(time=mean["time"])
    difference = mean - (at.transpose("time", "cell") - 273.15)
    known = difference.notnull().sum("time")
    mean = mean - difference.sum("time") / (known + _BUOY_SHRINKAGE)
    mean.attrs = days.attrs
    return xslams.Observation(mean.drop_vars("cell").rename("buoy"), {"buoy": "air"}, error=_BUOY_ERROR, name="buoys")
