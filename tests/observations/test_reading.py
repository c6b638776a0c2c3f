"""Data as they come: names, units, packing, discrete sampling geometries, calendars, accumulations."""

from __future__ import annotations

from pathlib import Path

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import example, given
from hypothesis import strategies as st

from tests.problems.observed import LAT, LEVELS, LON, SPEC, audited, field, reports, state
from xslams.errors import CoverageError, ObservationError, SlamsWarning, UnitError, VariableError
from xslams.labels.units import unit_factors
from xslams.labels.variables import match_variables
from xslams.observations import Observation
from xslams.observations.temporal import match_times
from xslams.spec import Spec, VariableSpec

# --- names and units ---------------------------------------------------------------------------------------------


def test_standard_name_comes_before_name():
    wanted = [VariableSpec("t2m", "K", standard_name="air_temperature")]
    flat = ("x", [1.0])
    named = {"tas": (*flat, {"standard_name": "air_temperature"}), "t2m": flat}
    assert match_variables(xr.Dataset(named), wanted) == {"t2m": "tas"}
    assert match_variables(xr.Dataset({"t2m": flat}), wanted) == {"t2m": "t2m"}
    # Of several with the standard name that of the same name, and never one that says it is something else.
    both = {"tas": (*flat, {"standard_name": "air_temperature"}), "t2m": (*flat, {"standard_name": "air_temperature"})}
    assert match_variables(xr.Dataset(both), wanted) == {"t2m": "t2m"}
    other = {"t2m": (*flat, {"standard_name": "dew_point_temperature"})}
    with pytest.raises(VariableError, match="dew_point_temperature"):
        match_variables(xr.Dataset(other), wanted)


@pytest.mark.parametrize("name", ["precipitation_flux", "lwe_precipitation_rate"])
def test_rain_is_rain_in_mass_or_depth(name):
    data = reports([[2.0, 4.0]]).rename("rain").assign_attrs(units="kg m-2 s-1", standard_name=name) / 86400
    data.attrs = {"units": "kg m-2 s-1", "standard_name": name}
    arrays = Observation(data, error=1.0 / 86400).to_arrays(SPEC, state(1).time)
    np.testing.assert_allclose(arrays.values, [2.0, 4.0])
    np.testing.assert_allclose(arrays.errors.variance, 1.0)


@pytest.mark.parametrize(
    ("here", "there", "factor", "offset"),
    [
        ("degK", "K", 1, 0),
        ("K", "degK", 1, 0),
        ("degrees C", "K", 1, 273.15),
        ("deg_C", "degK", 1, 273.15),
        ("degree_Celsius", "K", 1, 273.15),
        ("deg F", "degF", 1, 0),
        ("kg m-2 s-1", "mm/day", 86400, 0),
        ("mm h-1", "kg m-2 s-1", 1 / 3600, 0),
        ("Pa", "hPa", 0.01, 0),
        ("millibar", "Pa", 100, 0),
        ("mb", "Pa", 100, 0),
        ("percent", "1", 0.01, 0),
        ("Watt/m^2", "W m-2", 1, 0),
    ],
)
def test_spellings_of_units(here, there, factor, offset):
    assert unit_factors(here, there) == pytest.approx((factor, offset))


@given(
    value=st.floats(-80, 60),
    chain=st.lists(st.sampled_from(["K", "degC", "degF", "degK", "deg C", "degrees_Kelvin"]), min_size=2, max_size=5),
)
def test_conversions_compose_and_invert(value, chain):
    x = value
    for here, there in zip(chain, [*chain[1:], chain[0]], strict=True):
        factor, offset = unit_factors(here, there)
        x = factor * x + offset
    assert x == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("here", "there"), [("degC", "mm"), ("mm", "mm day-1"), ("W m-2", "K"), ("degrees X", "K")])
def test_impossible_conversions_are_errors(here, there):
    with pytest.raises(UnitError):
        unit_factors(here, there)


# --- what files look like ------------------------------------------------------------------------------------------


def test_packed_integers_and_raw_times(tmp_path: Path):
    ds = state()
    data = ds[["pr"]].copy()
    data["pr"][0, 0, 0] = np.nan
    path = tmp_path / "packed.nc"
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 20.0, "_FillValue": -32768}
    data.to_netcdf(path, engine="h5netcdf", encoding={"pr": packing})
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as raw, xr.open_dataset(path) as decoded:
        assert raw["pr"].dtype == np.int16
        a, b = (Observation(d.load(), error=1.0, method="nearest").to_arrays(SPEC, ds.time) for d in (raw, decoded))
    assert a.values.size == data.pr.size - 1
    np.testing.assert_array_equal(a.values, b.values)
    assert (a.matrix != b.matrix).nnz == 0
    np.testing.assert_allclose(a.matrix @ field(ds), a.values, atol=0.0051)


def test_descending_latitudes_and_both_conventions_of_longitude():
    ds = state()
    turned = ds.pr.isel(lat=slice(None, None, -1)).assign_coords(lon=(ds.lon + 180) % 360 - 180).sortby("lon")
    for method in ("nearest", "bilinear", "conservative"):
        arrays = Observation(turned, error=1.0, method=method).to_arrays(SPEC, ds.time)
        np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


def test_coordinates_by_cf_attributes_alone():
    ds = state()
    data = ds.pr.rename(lat="row", lon="column", time="day")
    data = data.assign_coords(
        row=data.row.assign_attrs(standard_name="latitude"),
        column=data["column"].assign_attrs(axis="X", units="degrees_east"),
    )
    arrays = Observation(data, error=1.0, method="nearest").to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


def test_a_flux_with_a_direction_is_no_coordinate():
    """As CMIP has it: ``rlut:positive = "up"``."""
    ds = state()
    data = ds[["pr"]].assign(pr=ds.pr.assign_attrs(positive="down"))
    arrays = Observation(data, error=1.0, method="nearest").to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


@pytest.mark.parametrize("names", [("Latitude", "Longitude"), ("LAT", "LON"), ("latitude", "lon"), ("NAV_LAT", "Lon")])
def test_coordinates_by_name_in_any_case(names):
    ds = state()
    data = ds.pr.drop_attrs(deep=True).assign_attrs(ds.pr.attrs).rename(lat=names[0], lon=names[1])
    arrays = Observation(data, error=1.0, method="nearest").to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


def test_radians_are_not_taken_for_degrees():
    data = state().pr
    data = data.assign_coords(lat=np.deg2rad(data.lat).assign_attrs(data.lat.attrs, units="radian"))
    with pytest.raises(ObservationError, match=r"Source 'pr'.*'lat' is in 'radian'.*rad2deg"):
        Observation(data.assign_coords(lat=data.lat.assign_attrs(standard_name="latitude")), error=1.0).to_arrays(
            SPEC, state().time
        )


def sampled(ds: xr.Dataset, seed: int = 0) -> xr.Dataset:
    """A list of seven reports of three stations in station order, as variables without coordinates."""
    rng = np.random.default_rng(seed)
    rows, columns, station = [1, 3, 6], [0, 5, 11], np.array([0, 0, 1, 1, 1, 2, 2])
    times = rng.integers(0, ds.sizes["time"], 7)
    values = ds.pr.values[times, np.array(rows)[station], np.array(columns)[station]]
    return xr.Dataset(
        {
            "pr": ("obs", values, {**ds.pr.attrs, "coordinates": "time lat lon"}),
            "time": ("obs", ds.time.values[times], {"standard_name": "time"}),
            "lat": ("station", LAT[rows], {"standard_name": "latitude"}),
            "lon": ("station", LON[columns] - 360, {"standard_name": "longitude"}),
            "name": ("station", ["a", "b", "c"], {"cf_role": "timeseries_id"}),
            "elevation": ("station", [10.0, 20.0, 30.0], {"units": "m"}),
        },
        attrs={"featureType": "timeSeries"},
    ).assign_coords(station=[7, 8, 9]), station


@pytest.mark.parametrize("kind", ["contiguous", "indexed"])
def test_ragged_arrays(kind):
    ds = state()
    data, station = sampled(ds)
    if kind == "contiguous":
        data["rowSize"] = ("station", np.bincount(station), {"sample_dimension": "obs"})
    else:
        data["stationIndex"] = ("obs", station, {"instance_dimension": "station"})
    arrays = Observation(data, error=1.0).to_arrays(SPEC, ds.time)
    assert arrays.values.size == 7
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)
    # An error per station finds its reports.
    by_station = xr.DataArray([1.0, 2.0, 3.0], dims="station", coords={"station": [7, 8, 9]})
    arrays = Observation(data, error=by_station).to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(np.sqrt(arrays.errors.variance), station + 1.0)


def test_ragged_arrays_that_were_cut_are_refused():
    data, station = sampled(state())
    data["rowSize"] = ("station", np.bincount(station), {"sample_dimension": "obs"})
    with pytest.raises(ObservationError, match="counts 7 reports along 'obs', which has 5"):
        Observation(data.isel(obs=slice(5)), error=1.0).to_arrays(SPEC, state().time)
    data = data.drop_vars("rowSize")
    data["stationIndex"] = ("obs", station, {"instance_dimension": "station"})
    with pytest.raises(ObservationError, match="instances 0 to 2, but 'station' has 2"):
        Observation(data.isel(station=slice(2)), error=1.0).to_arrays(SPEC, state().time)


def test_incomplete_arrays_are_padded_with_missing_times():
    ds = state()
    time = ds.time.values[[[0, 1, 3], [2, 3, 0]]]
    time[1, 2] = np.datetime64("NaT")
    values = np.array([[ds.pr[0, 1, 0], ds.pr[1, 1, 0], ds.pr[3, 1, 0]], [ds.pr[2, 6, 4], ds.pr[3, 6, 4], np.nan]])
    data = xr.Dataset(
        {"pr": (("station", "obs"), values, ds.pr.attrs)},
        coords={"time": (("station", "obs"), time), "lat": ("station", LAT[[1, 6]]), "lon": ("station", LON[[0, 4]])},
        attrs={"featureType": "timeSeries"},
    )
    arrays, audit = audited(Observation(data, error=1.0), ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), values.ravel()[:5])
    assert (audit.given, audit.rejected["missing"]) == (6, 1)


def test_times_of_a_swath_that_match_no_frame_make_no_row():
    ds = state()
    time = ds.time.values[:2, None] + np.array([[0, 300]]) * np.timedelta64(1, "D")
    data = xr.DataArray(
        np.ones((2, 2)), dims=("y", "x"), name="pr", attrs=ds.pr.attrs,
        coords={
            "time": (("y", "x"), time),
            "lat": (("y", "x"), np.full((2, 2), LAT[2])),
            "lon": (("y", "x"), np.full((2, 2), LON[2])),
        },
    )  # fmt: skip
    arrays, audit = audited(Observation(data, error=1.0), ds.time)
    assert arrays.values.size == 2
    np.testing.assert_allclose(np.asarray(arrays.matrix.sum(axis=1)), 1.0)
    assert audit.rejected["time"] == 2


@given(seed=st.integers(0, 1000), trajectory=st.booleans())
def test_points_and_trajectories_see_the_field_where_they_are(seed, trajectory):
    ds = state()
    rng = np.random.default_rng(seed)
    n = 9
    row, column, level, frame = (rng.integers(0, k, n) for k in (8, 12, 3, 4))
    if trajectory:
        frame = np.sort(frame)
    coords = {
        "time": ("obs", ds.time.values[frame] + rng.integers(0, 11, n) * np.timedelta64(1, "h")),
        "lat": ("obs", LAT[row]),
        "lon": ("obs", LON[column] - 360 * rng.integers(0, 2, n)),
        "level": ("obs", np.array(LEVELS)[level] * 100, {"units": "Pa", "positive": "down", "axis": "Z"}),
    }
    data = xr.DataArray(
        ds.t.values[frame, level, row, column] - 273.15, dims="obs", coords=coords, name="t",
        attrs={"units": "degC", "standard_name": "air_temperature"},
    )  # fmt: skip
    arrays = Observation(data, error=1.0).to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


# --- calendars -----------------------------------------------------------------------------------------------------


def daily(start: str, periods: int, calendar: str | None) -> xr.DataArray:
    use_cftime = calendar is not None
    return xr.date_range(start, periods=periods, calendar=calendar or "standard", use_cftime=use_cftime)


CALENDARS = [None, "standard", "noleap", "360_day", "all_leap", "julian"]


@given(here=st.sampled_from(CALENDARS), there=st.sampled_from(CALENDARS), start=st.integers(0, 40))
@example(here=None, there="noleap", start=27)  # one date of three is known
def test_the_same_date_is_the_same_frame_in_any_calendar(here, there, start):
    stamps = xr.DataArray(daily("2004-02-01", 30, here), dims="time")[start % 30 :]
    frames = xr.DataArray(daily("2004-01-15", 60, there), dims="time")
    match = match_times(stamps, frames, 24.0)

    def dates(da):
        return list(zip(da.dt.year.values, da.dt.month.values, da.dt.day.values, strict=True))

    known = {date: i for i, date in enumerate(dates(frames))}
    found = [known.get(date) for date in dates(stamps)]
    rows = match.weights.toarray()
    assert [int(r.argmax()) if r.any() else None for r in rows] == found
    assert match.undated == sum(i is None for i in found)


def test_dates_that_the_state_does_not_have_are_reported():
    frames = xr.DataArray(daily("2004-02-26", 5, "noleap"), dims="time")
    data = reports(np.ones((5, 2))).assign_coords(time=pd.date_range("2004-02-26", periods=5))
    with pytest.warns(SlamsWarning, match="1 of 5 dates are not in the calendar of the state, 'noleap'"):
        arrays, audit = audited(Observation(data, error=1.0), frames)
    assert arrays.values.size == 8
    assert audit.rejected["time"] == 2
    with pytest.raises(CoverageError, match="No time overlaps"):
        with pytest.warns(SlamsWarning, match="not in the calendar"):
            Observation(data.isel(time=[3]), error=1.0).to_arrays(SPEC, frames)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_months_of_one_calendar_observe_those_of_another(calendar):
    frames = xr.DataArray(daily("2004-01-01", 120, calendar), dims="time")
    data = reports(np.ones((3, 1))).assign_coords(time=pd.date_range("2004-01-01", periods=3, freq="MS"))
    arrays = Observation(data, error=1.0, method="nearest").to_arrays(SPEC, frames)
    days = {"noleap": [31, 28, 31], "360_day": [30, 30, 30]}[calendar]
    assert np.diff(arrays.matrix.indptr).tolist() == days
    first = [int(i) // (4 * 96) for i in arrays.matrix.indices[arrays.matrix.indptr[:-1]]]
    assert first == [0, days[0], days[0] + days[1]]


def test_months_of_360_days_observe_real_months():
    frames = xr.DataArray(pd.date_range("2004-01-01", periods=91), dims="time")
    stamps = [cftime.Datetime360Day(2004, m, 16) for m in (1, 2, 3)]
    data = reports(np.ones((3, 1))).assign_coords(time=stamps)
    arrays = Observation(data, error=1.0, method="nearest").to_arrays(SPEC, frames)
    assert np.diff(arrays.matrix.indptr).tolist() == [31, 29, 31]


# --- amounts and local days ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["bounds", "spacing", "attribute"])
def test_amounts_become_rates(told):
    time = pd.date_range("2001-01-01", periods=4)
    data = reports(np.full((4, 2), 6.0), units="mm", standard_name="lwe_thickness_of_precipitation_amount")
    data = data.assign_attrs(cell_methods="time: sum").to_dataset()
    hours = 24.0
    if told == "bounds":
        hours = 12.0
        data["time_bnds"] = (("time", "bnds"), np.stack([time, time + pd.Timedelta("12h")], axis=1))
        data.time.attrs["bounds"] = "time_bnds"
    elif told == "attribute":
        data = data.isel(time=[0])
        data["pr"].attrs["avg_period"] = "0000-00-01 00:00:00"
    arrays = Observation(data, error=3.0).to_arrays(SPEC, state().time)
    np.testing.assert_allclose(arrays.values, 6.0 * 24 / hours)
    np.testing.assert_allclose(np.sqrt(arrays.errors.variance), 3.0 * 24 / hours)


def test_amounts_without_a_period_are_an_error():
    data = reports([[1.0, 2.0]], units="mm", standard_name="precipitation_amount")
    with pytest.raises(UnitError, match="'mm' to 'mm day-1'"):
        Observation(data, error=1.0).to_arrays(SPEC, state().time)
    with pytest.raises(UnitError, match="'mm' to 'mm day-1'"):
        Observation(data.assign_attrs(cell_methods="time: sum"), error=1.0).to_arrays(SPEC, state().time)


@pytest.mark.parametrize("zone", [-6, 9])
def test_local_days_are_shares_of_two_frames(zone):
    ds = state(6)
    start = ds.time.values[1:5] - np.timedelta64(zone, "h")
    data = reports(np.ones((4, 1))).assign_coords(time=ds.time.values[1:5]).to_dataset()
    data["time_bnds"] = (("time", "bnds"), np.stack([start, start + np.timedelta64(24, "h")], axis=1))
    data.time.attrs["bounds"] = "time_bnds"
    arrays = Observation(data, error=1.0, method="nearest").to_arrays(SPEC, ds.time)
    shares = arrays.matrix.data.reshape(-1, 2)
    late = (-zone) % 24 / 24
    np.testing.assert_allclose(shares, [[1 - late, late]] * 4)
    frame = arrays.matrix.indices.reshape(-1, 2) // (4 * 96)
    first = [1, 2, 3, 4] if zone < 0 else [0, 1, 2, 3]
    np.testing.assert_array_equal(frame, np.stack([first, np.array(first) + 1], axis=1))


# --- the traps of the real data ------------------------------------------------------------------------------------

REGION = Spec(
    variables=(VariableSpec("air", "K", standard_name="air_temperature"),),
    lat=tuple(np.arange(75.0, 14.0, -2.5)),
    lon=tuple(np.arange(200.0, 331.0, 2.5)),
    periodic=False,
)


def test_ncep_descends_runs_to_360_and_is_in_degK(shared_data: Path):
    with xr.open_zarr(shared_data / "ncep_air_2013_2014.zarr") as ds:
        air = ds["air"].isel(time=slice(0, 8)).load()
    air = air.assign_attrs(units="degK")
    assert air.lat[0] > air.lat[-1]
    daily_air = air.resample(time="1D").mean(keep_attrs=True)
    spec = Spec(
        REGION.variables, tuple(sorted(REGION.lat)), tuple((np.array(REGION.lon) + 180) % 360 - 180), periodic=False
    )
    arrays = Observation(daily_air, error=1.0, method="nearest").to_arrays(spec, daily_air.time)
    turned = daily_air.isel(lat=slice(None, None, -1))
    np.testing.assert_allclose(arrays.matrix @ turned.values.ravel(), arrays.values)
    np.testing.assert_allclose(arrays.values, daily_air.values.ravel())


def test_ncep_levels_are_in_millibar(shared_data: Path):
    with xr.open_dataset(shared_data / "ncep_air_17lev_2022_day5.nc") as ds:
        air = ds[["air"]].isel(lat=slice(0, 73, 12), lon=slice(0, 144, 12)).load()
    assert air.air.attrs["units"] == "degK"
    spec = Spec(
        (VariableSpec("air", "K", level_dim="plev", levels=(85000.0, 50000.0), level_attrs={"units": "Pa"}),),
        tuple(air.lat.values.tolist()), tuple(air.lon.values.tolist()), periodic=True,
    )  # fmt: skip
    with pytest.warns(SlamsWarning, match="1 of 3 levels lie outside"):
        arrays = Observation(air.sel(level=[500, 850, 10]), error=1.0, method="nearest").to_arrays(spec, air.time)
    truth = air.air.sel(level=[850, 500])
    np.testing.assert_allclose(arrays.matrix @ truth.values.ravel(), arrays.values)
    assert arrays.values.size == truth.size


def test_uscrn_counts_change_from_year_to_year_and_longitudes_are_negative(shared_data: Path):
    time = xr.DataArray(pd.date_range("2013-01-01", "2015-12-31"), dims="time")
    with xr.open_dataset(shared_data / "uscrn_daily_2013_2015.nc") as ds:
        data = ds[["tavg"]].transpose("time", "station").load()
    inside = (data.lat >= 15) & (data.lat <= 75) & (data.lon % 360 >= 200) & (data.lon % 360 <= 330)
    data = data.isel(station=np.flatnonzero(inside))
    assert float(data.lon.min()) < 0
    arrays, audit = audited(Observation(data, "tavg", error=2.0), time, REGION)
    assert arrays.values.size == int(data.tavg.notnull().sum())
    assert audit.given == data.tavg.size
    assert audit.rejected == {"time": 0, "missing": int(data.tavg.isnull().sum())}
    by_frame = np.bincount(arrays.matrix.indices[arrays.matrix.indptr[:-1]] // (25 * 53), minlength=time.size)
    np.testing.assert_array_equal(by_frame, data.tavg.notnull().sum("station"))
    years = pd.Series(by_frame, index=time.values).groupby(time.dt.year.values).sum()
    assert years.nunique() == 3


def test_uscrn_days_are_local(shared_data: Path):
    with xr.open_dataset(shared_data / "uscrn_daily_2013_2015.nc") as ds:
        data = ds[["tavg"]].transpose("time", "station").isel(time=slice(0, 30)).load()
    data = data.isel(station=np.flatnonzero((data.lon > -95) & (data.lon < -85)))  # UTC-6
    start = data.time.values + np.timedelta64(6, "h")
    data["time_bnds"] = (("time", "bnds"), np.stack([start, start + np.timedelta64(24, "h")], axis=1))
    data.time.attrs["bounds"] = "time_bnds"
    time = xr.DataArray(pd.date_range("2013-01-01", periods=31), dims="time")
    arrays = Observation(data, "tavg", error=2.0, method="nearest").to_arrays(REGION, time)
    np.testing.assert_allclose(arrays.matrix.data.reshape(-1, 2), [[0.75, 0.25]] * arrays.values.size)


def test_ersst_is_monthly_and_missing_over_land(shared_data: Path):
    with xr.open_dataset(shared_data / "ersst_v5_2010_2020.nc") as ds:
        sst = ds["sst"].sel(time=slice("2014-07", "2014-08")).load()
    time = xr.DataArray(pd.date_range("2014-07-01", "2014-08-31"), dims="time")
    with pytest.warns(SlamsWarning, match="places lie outside"):
        arrays, audit = audited(Observation(sst, {"sst": "air"}, error=1.0, method="nearest"), time, REGION)
    assert set(np.diff(arrays.matrix.indptr)) == {31}
    assert audit.given == sst.size
    assert arrays.values.size == sst.size - sum(audit.rejected.values())
    # Land is missing, and is told apart from what lies outside.
    box = sst.sel(lat=slice(76, 14), lon=slice(199, 331))
    assert 0 < audit.rejected["missing"] <= int(box.isnull().sum())


def test_buoys_come_and_go(shared_data: Path):
    time = xr.DataArray(pd.date_range("2013-05-01", periods=31), dims="time")
    with xr.open_dataset(shared_data / "buoys_2013-05_hourly.nc") as ds:
        data = ds[["air_temperature"]].transpose("time", "station").load()
    with pytest.warns(SlamsWarning, match="places lie outside"):
        hourly = Observation(data, error=1.5, qc={"superob": True})
        arrays, audit = audited(hourly, time, REGION)
    used = audit.used
    assert used == data.air_temperature.size - sum(audit.rejected.values()) > 50_000
    # A mean of n reports of the same accuracy has an error of 1.5 over the root of n.
    np.testing.assert_allclose(arrays.errors.variance, 1.5**2 / audit.merged)
    assert arrays.values.size < used / 20
