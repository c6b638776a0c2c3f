"""State and auxiliary variables of a training set are brought together without losing frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xslams
from xslams.errors import CoverageError, DimensionError, SlamsWarning, VariableError
from xslams.pipeline.training_data import joined


def fields(name: str, time: pd.DatetimeIndex) -> xr.Dataset:
    """One variable on a small grid, whose values count the frames."""
    coords = {"time": time, "lat": [-45.0, 0.0, 45.0], "lon": [0.0, 90.0, 180.0, 270.0]}
    values = np.arange(time.size)[:, None, None] * np.ones((1, 3, 4))
    return xr.DataArray(values, coords, ("time", "lat", "lon"), name, {"units": "K"}).to_dataset()


DAYS = pd.date_range("2001-01-01", periods=8)
KINDS = {
    "zone": DAYS.tz_localize("UTC").tz_convert("Asia/Tokyo"),
    "objects": ("time", np.array(list(DAYS.tz_localize("UTC").tz_convert("Europe/Paris")), dtype=object)),
    "datetimes": ("time", np.array(DAYS.to_pydatetime(), dtype=object)),
    "standard": xr.date_range("2001-01-01", periods=8, calendar="standard", use_cftime=True),
    "noleap": xr.date_range("2001-01-01", periods=8, calendar="noleap", use_cftime=True),
    "360_day": xr.date_range("2001-01-01", periods=8, calendar="360_day", use_cftime=True),
    "rounded": DAYS + pd.to_timedelta([0, 20, -20, 0, 20, 0, -9, 9], unit="s"),
}


@pytest.mark.parametrize("seconds", [0, 1, 40])
def test_rounded_times_of_auxiliary_variables_lose_no_frame(seconds: int) -> None:
    days = pd.date_range("2001-01-01", periods=8)
    rounded = days[2:] + pd.to_timedelta(np.where(np.arange(6) % 2, seconds, -seconds), unit="s")
    both, names = joined(fields("t", days), fields("pr", rounded))
    assert names == {"state": ("t",), "aux": ("pr",)}
    np.testing.assert_array_equal(both["t"].isel(lat=0, lon=0), np.arange(2, 8))
    np.testing.assert_array_equal(both["pr"].isel(lat=0, lon=0), np.arange(6))


def test_auxiliary_times_between_frames_are_announced() -> None:
    days = pd.date_range("2001-01-01", periods=8)
    with pytest.warns(SlamsWarning, match="7 of 15 times of the auxiliary variables lie between frames"):
        both, _ = joined(fields("t", days), fields("pr", pd.date_range("2001-01-01", periods=15, freq="12h")))
    assert both.sizes["time"] == 8


def test_missing_values_are_counted_for_the_variables_that_lack_them() -> None:
    ds, aux = fields("t", DAYS), fields("pr", DAYS)
    ds["t"][3, 0, :3] = np.nan
    aux["pr"][2, 0, 0] = np.inf
    expected = r"^3 of 96 values of 't' are missing or infinite \(in 3 of 12 cells\) and 1 of 96 values of 'pr' are inf"
    with pytest.raises(CoverageError, match=expected):
        ds.slams.fit(aux, window=3, epochs=0, progress=False)


def test_an_auxiliary_variable_without_any_value_is_refused() -> None:
    aux = fields("pr", DAYS) * np.nan
    aux["pr"].attrs = fields("pr", DAYS)["pr"].attrs
    with pytest.raises(CoverageError, match=r"^All values of 'pr' are missing"):
        fields("t", DAYS).slams.fit(aux, window=3, epochs=0, progress=False)


def test_a_dataset_without_fields_is_not_said_to_have_auxiliary_ones() -> None:
    with pytest.raises(VariableError, match="has no variable that is recognised as a field"):
        joined(fields("t", DAYS)[[]], [])


@pytest.mark.parametrize("kind", KINDS)
def test_auxiliary_times_are_read_as_those_of_states(kind: str) -> None:
    both, _ = joined(fields("t", DAYS), fields("pr", DAYS).assign_coords(time=KINDS[kind]))
    assert both["time"].dtype.kind == "M"
    np.testing.assert_array_equal(both["pr"], both["t"])
    both, _ = joined(fields("t", DAYS), fields("pr", DAYS)["pr"].assign_coords(time=KINDS[kind])[2:])
    np.testing.assert_array_equal(both["pr"], both["t"] - 0)
    assert both.sizes["time"] == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole", [False, True])
def test_times_of_truths_are_read_as_those_of_states(kind: str, whole: bool) -> None:
    truth = fields("t", DAYS)
    other = truth.assign_coords(time=KINDS[kind])
    if not whole:
        truth, other = truth["t"], other["t"]
    for analysis, known in ((truth, other), (other, truth)):
        found = analysis.slams.score(known.isel(time=slice(3, None)))
        assert float(found["rmse"]) == 0.0
        assert found["rmse"].attrs["matched"].startswith("time: 5 of 8")


@pytest.mark.parametrize("units", [{}, {"units": "days since 2001-01-01"}])
def test_times_that_are_not_decoded_are_refused_with_the_remedy(units: dict[str, str]) -> None:
    state = fields("t", DAYS)
    raw = state.assign_coords(time=("time", np.arange(8.0), units))
    options = {"window": 3, "epochs": 0, "progress": False}
    calls = (
        lambda: state.slams.score(raw),
        lambda: raw.slams.score(state),
        lambda: raw.slams.fit(**options),
        lambda: state.slams.fit(raw.rename(t="pr"), **options),
    )
    for call in calls:
        with pytest.raises(DimensionError, match=r"decode them.*xr\.decode_cf\(ds\)|Decode them: xr\.decode_cf\(ds\)"):
            call()


def test_a_forecast_of_one_reference_time_is_a_state(tiny_model) -> None:
    from tests.pipeline.test_assimilate import gauges, waves

    truth = waves(4)
    valid = truth["time"].values[None]
    forecast = truth.rename(time="step").expand_dims(time=truth["time"].values[:1]).drop_vars("step")
    forecast = forecast.assign_coords(valid_time=(("time", "step"), valid, {"standard_name": "time"}))
    options = {"members": 1, "steps": 2, "background_error": 1.0}
    found = forecast.slams.assimilate(gauges(truth), tiny_model, **options)
    expected = truth.slams.assimilate(gauges(truth), tiny_model, **options)
    np.testing.assert_array_equal(found["t"].values, expected["t"].values)
    two = xr.concat([forecast, forecast.assign_coords(time=forecast["time"] + np.timedelta64(1, "D"))], "time")
    with pytest.raises(DimensionError, match="one reference time or one lead"):
        two.slams.assimilate(gauges(truth), tiny_model, **options)


NOON, MIDNIGHT = DAYS + pd.Timedelta("12h"), DAYS


def with_bounds(ds: xr.Dataset, begin: pd.DatetimeIndex, hours: float = 24.0) -> xr.Dataset:
    ds = ds.assign(time_bnds=(("time", "nv"), np.stack([begin, begin + pd.Timedelta(hours=hours)], 1)))
    ds["time"].attrs["bounds"] = "time_bnds"
    return ds


@pytest.mark.parametrize(("state", "aux"), [("12h", "0h"), ("0h", "12h"), ("12h", "23h"), ("6h", "0h")])
def test_days_that_are_stamped_at_other_hours_are_brought_together(state: str, aux: str) -> None:
    ds, other = fields("t", DAYS + pd.Timedelta(state)), fields("pr", DAYS[2:] + pd.Timedelta(aux))
    with pytest.warns(SlamsWarning, match="frames of the same calendar day are brought together"):
        both, _ = joined(ds, other)
    np.testing.assert_array_equal(both["t"].isel(lat=0, lon=0), np.arange(2, 8))
    np.testing.assert_array_equal(both["pr"].isel(lat=0, lon=0), np.arange(6))
    np.testing.assert_array_equal(both["time"], ds["time"][2:])


@pytest.mark.parametrize("end", [0, 12, 24])
def test_bounds_say_which_day_a_stamp_is_for(end: int) -> None:
    # Stamped at the begin, in the middle and at the end of the same days.
    aux = with_bounds(fields("pr", DAYS + pd.Timedelta(hours=end + 1)), DAYS)
    state = with_bounds(fields("t", DAYS + pd.Timedelta("12h")), DAYS)
    both, _ = joined(state, aux)
    np.testing.assert_array_equal(both["pr"], both["t"])
    assert both.sizes["time"] == 8


def test_instants_and_other_periods_are_not_brought_together() -> None:
    state, aux = fields("t", NOON), fields("pr", MIDNIGHT)
    state["t"].attrs["cell_methods"] = "time: point"
    with pytest.raises(CoverageError, match="no time in common"):
        joined(state, aux)
    with pytest.raises(CoverageError, match="no time in common"):
        joined(with_bounds(fields("t", NOON), DAYS), with_bounds(fields("pr", MIDNIGHT), DAYS - pd.Timedelta("12h")))


def test_rain_with_normal_scores_is_observed_in_any_units_and_tells_wet_from_dry() -> None:
    rng = np.random.default_rng(0)
    time = pd.date_range("2000-01-01", periods=366)
    t = 280 + rng.standard_normal((366, 1, 1)) + 0.1 * rng.standard_normal((366, 2, 3))
    coords = {"time": time, "lat": [40.0, 45.0], "lon": [0.0, 5.0, 10.0]}
    rain = {"units": "mm day-1", "standard_name": "precipitation_flux"}
    ds = xr.Dataset(
        {"t": (("time", "lat", "lon"), t, {"units": "K"}),
         "pr": (("time", "lat", "lon"), np.maximum(np.exp(2 * (t - 280)) - 1, 0), rain)}, coords,
    )  # fmt: skip
    model = ds[["t"]].slams.fit(ds["pr"], budget=0, window=3, normal_scores=["pr"], progress=False)
    assert model.spec.variables[1].transform == "scores"
    two = ds[["t"]].isel(time=[5, 6])
    found = {}
    for amount in (0.0, 10.0):
        gauges = xr.full_like(ds["pr"].isel(time=[5, 6]), amount / 86400)
        gauges = gauges.assign_attrs(rain | {"units": "kg m-2 s-1"})
        obs = xslams.Observation(gauges, error=0.5 / 86400)
        analysis = two.slams.assimilate(obs, model=model, members=2, antithetic=True, progress=False)
        found[amount] = float(analysis["t"].mean())
    assert found[0.0] < 280 < 280.7 < found[10.0]
