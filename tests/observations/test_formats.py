"""Files of observing systems go into ``obs=`` as they are: with their flags, errors, levels, times and units.

Each layout is made here, so that the law does not hang on one file; real files are read where they are at hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.pipeline.test_assimilate import waves
from tests.problems.observed import SPEC, audited, state
from xslams.errors import ObservationError, UnitError
from xslams.labels.units import unit_factors
from xslams.model import Model
from xslams.observations import AuditedLikelihood, Observation
from xslams.observations.belonging import ancillary
from xslams.observations.flag_scales import codes
from xslams.observations.flags import accepted, passes, quality_flags
from xslams.spec import Spec, VariableSpec

SEA = {"units": "dbar", "standard_name": "sea_water_pressure", "axis": "Z", "positive": "down"}
DEPTH = {"units": "m", "standard_name": "depth", "axis": "Z", "positive": "down"}


def world(*variables: VariableSpec) -> Spec:
    return Spec(variables, tuple(np.arange(-88.0, 89.0, 4.0)), tuple(np.arange(0.0, 360.0, 4.0)), periodic=True)


def ocean(levels: dict[str, str]) -> Spec:
    temperature = VariableSpec(
        "thetao", "degC", standard_name="sea_water_temperature", level_dim="lev", levels=(0.0, 100.0, 1000.0, 2000.0),
        level_attrs=levels,
    )  # fmt: skip
    return world(temperature)


def days(start: str, count: int) -> xr.DataArray:
    return xr.DataArray(pd.date_range(start, periods=count), dims="time", name="time")


def read(source: Observation, spec: Spec, time: xr.DataArray) -> AuditedLikelihood:
    (part,) = source.bind(spec, time).audited(strict=True)
    return part


# --- Argo ------------------------------------------------------------------------------------------------------------


def floats(flags: str = "1234", mode: str = "D", adjusted: float = 0.5) -> xr.Dataset:
    """Two profiles of four levels, of which the second is short."""
    scale = {"conventions": "Argo reference table 2", "long_name": "quality flag"}
    both = ("N_PROF", "N_LEVELS")
    pressure = np.array([[10.0, 100.0, 500.0, 1000.0], [10.0, 100.0, np.nan, np.nan]])
    temperature = np.where(np.isnan(pressure), np.nan, 20.0 - pressure / 100.0)
    quality = np.array([[f.encode() for f in flags], [b"1", b"1", np.nan, np.nan]], object)
    sea = {"standard_name": "sea_water_temperature", "units": "degree_Celsius"}
    return xr.Dataset(
        {
            "DATA_MODE": ("N_PROF", np.array([mode.encode()] * 2, object)),
            "JULD": ("N_PROF", pd.date_range("2004-05-01T10:00", periods=2), {"standard_name": "time", "axis": "T"}),
            "LATITUDE": ("N_PROF", [-40.0, -42.0], {"standard_name": "latitude", "units": "degree_north"}),
            "LONGITUDE": ("N_PROF", [-160.0, -159.0], {"standard_name": "longitude", "units": "degree_east"}),
            "POSITION_QC": ("N_PROF", np.array([b"8", b"1"], object), scale),
            "PRES": (both, pressure, SEA | {"units": "decibar"}),
            "PRES_ADJUSTED": (both, pressure + 2.0, SEA | {"units": "decibar"}),
            "TEMP": (both, temperature, sea),
            "TEMP_QC": (both, quality, scale),
            "TEMP_ADJUSTED": (both, temperature + adjusted if mode != "R" else temperature * np.nan, sea),
            "TEMP_ADJUSTED_QC": (both, quality, scale),
            "TEMP_ADJUSTED_ERROR": (both, np.full((2, 4), 0.02), {"units": "degree_Celsius"}),
        },
        attrs={"Conventions": "Argo-3.1 CF-1.6"},
    )


def test_argo_goes_in_as_it_is():
    made, audit = read(Observation(floats()), ocean(SEA), days("2004-04-30", 5))
    # Flags 3 and 4 are bad; padding is missing; adjusted values are at adjusted pressures.
    np.testing.assert_allclose(made.values, [20.4, 19.5, 20.4, 19.5])
    np.testing.assert_allclose(np.sqrt(made.errors.variance), 0.02)
    assert audit.rejected["flag"] == 2
    levels = np.abs(made.matrix.toarray().reshape(4, 5, 4, -1)).sum(axis=(1, 3))
    np.testing.assert_allclose(levels @ [0.0, 100.0, 1000.0, 2000.0], [12.0, 102.0, 12.0, 102.0], atol=1e-9)


def test_values_of_real_time_are_taken_where_nothing_is_adjusted():
    made, _ = read(Observation(floats(mode="R"), error=0.5), ocean(SEA), days("2004-04-30", 5))
    np.testing.assert_allclose(made.values, [19.9, 19.0, 19.9, 19.0])
    # By name either is to be had.
    raw, _ = read(Observation(floats(), "TEMP", error=0.5), ocean(SEA), days("2004-04-30", 5))
    np.testing.assert_allclose(raw.values, made.values)


def test_pressure_becomes_depth():
    made, _ = read(Observation(floats("1111")), ocean(DEPTH), days("2004-04-30", 5))
    levels = np.abs(made.matrix.toarray().reshape(6, 5, 4, -1)).sum(axis=(1, 3)) @ [0.0, 100.0, 1000.0, 2000.0]
    np.testing.assert_allclose(levels[:4], [11.9, 101.2, 497.55, 991.9], atol=0.1)


def test_a_position_that_is_bad_takes_its_profile_along():
    ds = floats()
    ds["POSITION_QC"] = ds["POSITION_QC"].copy(data=np.array([b"4", b"1"], object))
    made, audit = read(Observation(ds), ocean(SEA), days("2004-04-30", 5))
    assert made.values.size == 2
    assert audit.rejected["flag"] == 4
    assert read(Observation(ds, qc={"flags": False}), ocean(SEA), days("2004-04-30", 5))[0].values.size == 6


# --- swaths and tracks ----------------------------------------------------------------------------------------------

BITS = {
    "flag_masks": np.array([1, 2, 4, 8], "int32"),
    "flag_meanings": "rain_detected small_wind_less_than_or_equal_to_3_m_s knmi_quality_control_fails over_ice",
}


def swath(flags: list[int]) -> xr.Dataset:
    count = len(flags)
    return xr.Dataset(
        {
            "time": (("row", "cell"), [pd.date_range("2015-07-02T08:42", periods=count, freq="1s")]),
            "lat": (("row", "cell"), [np.linspace(-60.0, 60.0, count)], {"units": "degrees_north"}),
            "lon": (("row", "cell"), [np.linspace(1.0, 359.0, count)], {"units": "degrees_east"}),
            "wind_speed": (("row", "cell"), [np.arange(1.0, count + 1.0)], {"units": "m s-1"}),
            "wvc_quality_flag": (("row", "cell"), [np.array(flags, float)], BITS),
        }
    )


def test_the_only_quality_flag_of_a_swath_is_that_of_its_winds():
    source = Observation(swath([0, 1, 2, 4, 8, 6]), {"wind_speed": "ws"}, error=1.5)
    spec = world(VariableSpec("ws", "m s-1", standard_name="wind_speed"))
    made, audit = read(source, spec, days("2015-07-01", 3))
    # That winds are small is no fault of theirs; without them the others would be too strong in the mean.
    np.testing.assert_array_equal(made.values, [1.0, 3.0])
    assert audit.rejected["flag"] == 4
    made, _ = read(source.replace(qc={"flags": ["over_ice", BITS["flag_meanings"].split()[1]]}), spec,
                   days("2015-07-01", 3))  # fmt: skip
    np.testing.assert_array_equal(made.values, [1.0, 3.0, 5.0])


def test_a_flag_that_is_one_variables_own_is_no_others():
    ds = swath([0, 1]).rename(wvc_quality_flag="wind_speed_quality")
    ds["sigma0"] = ds["wind_speed"] * 2.0
    assert [len(ancillary(ds, ds[name])[1]) for name in ("wind_speed", "sigma0")] == [1, 0]


def test_altimeters_name_flags_by_an_attribute_of_their_own():
    ds = xr.Dataset(
        {
            "swh": ("time", [1.0, 2.0, 3.0], {"units": "m", "quality_flag": "qual_a and qual_b"}),
            "qual_a": ("time", [0.0, 1.0, 0.0], {"flag_values": "0b, 1b", "flag_meanings": "good bad"}),
            "qual_b": ("time", [0.0, 0.0, 2.0], {"flag_values": [0, 2], "flag_meanings": "fine, gap"}),
        },
        {"time": pd.date_range("2002-01-15", periods=3, freq="1s"),
         "lat": ("time", [1.0, 2.0, 3.0], {"quality_flag": "orbit"}), "lon": ("time", [1.0, 2.0, 3.0])},
    )  # fmt: skip
    spec = world(VariableSpec("swh", "m"))
    with pytest.raises(ObservationError, match=r"'qual_b' means one of 'fine', 'gap'.*qc={'flags': \['fine'\]}"):
        read(Observation(ds, "swh", error=0.3), spec, days("2002-01-14", 3))
    # Each flag is asked for what it means; the others are read by their words.
    made, _ = read(Observation(ds, "swh", error=0.3, qc={"flags": ["fine"]}), spec, days("2002-01-14", 3))
    np.testing.assert_array_equal(made.values, [1.0])
    with pytest.raises(ObservationError, match=r"flags=.*splendid"):
        read(Observation(ds, "swh", error=0.3, qc={"flags": "splendid"}), spec, days("2002-01-14", 3))


# --- SeaDataNet ------------------------------------------------------------------------------------------------------

SCALE = {
    "flag_values": np.array([48, 49, 50, 51, 52, 53, 56, 57, 65], "int8"),
    "flag_meanings": "no_quality_control good_value probably_good_value probably_bad_value bad_value changed_value "
    "interpolated_value missing_value value_phenomenon_uncertain",
}


def gauge(flags: list[int], times_flag: int = 48) -> xr.Dataset:
    # Chronological Julian dates: these days have other dates in the calendar of today.
    time = cftime.num2date(np.arange(len(flags)) * 0.01, "days since 1998-07-08", calendar="julian")
    return xr.Dataset(
        {
            "TIME": (("INSTANCE", "MAXT"), [time], {"standard_name": "time", "ancillary_variables": "TIME_QC"}),
            "LATITUDE": ("INSTANCE", [-18.1], {"standard_name": "latitude", "units": "degrees_north"}),
            "LONGITUDE": ("INSTANCE", [178.4], {"standard_name": "longitude", "units": "degrees_east"}),
            "TIME_QC": (("INSTANCE", "MAXT"), np.full((1, len(flags)), times_flag), SCALE),
            "TEMPPR01": (
                ("INSTANCE", "MAXT"),
                [np.arange(float(len(flags)))],
                {"units": "celsius degree", "standard_name": "sea_water_temperature", "ancillary_variables": "T_QC"},
            ),
            "T_QC": (("INSTANCE", "MAXT"), [flags], SCALE),
        }
    )


def test_seadatanet_goes_in_as_it_is():
    spec = world(VariableSpec("sst", "K", standard_name="sea_water_temperature"))
    made, audit = read(Observation(gauge([48, 49, 50, 52, 53, 56, 65]), error=0.3), spec, days("1998-07-19", 5))
    np.testing.assert_allclose(made.values - 273.15, [1.0, 2.0, 4.0])
    assert audit.rejected["flag"] == 4
    # 1998-07-08 of the Julian calendar is the 21st.
    assert set(np.unravel_index(made.matrix.indices, (5, made.matrix.shape[1] // 5))[0]) == {2}


def test_times_that_nobody_checked_are_used_and_bad_ones_are_not():
    spec = world(VariableSpec("sst", "K", standard_name="sea_water_temperature"))
    assert read(Observation(gauge([49, 49]), error=0.3), spec, days("1998-07-19", 5))[0].values.size == 2
    with pytest.raises(xslams.errors.CoverageError, match="flag 'T_QC', 'TIME_QC'"):
        Observation(gauge([49, 49], 52), error=0.3).to_arrays(spec, days("1998-07-19", 5))


@pytest.mark.parametrize(
    ("given", "wanted", "factor"),
    [
        ("celsius degree", "degC", 1.0),
        ("decibar=10000 pascals", "Pa", 1e4),
        ("decibar", "dbar", 1.0),
        ("p.s.u.", "psu", 1.0),
        ("PSU", "1e-3", 1.0),
        ("psu", "1", 1.0),
        ("g kg-1", "psu", 1.0),
        ("0.001", "PSS-78", 1.0),
    ],
)
def test_units_of_the_sea(given, wanted, factor):
    assert unit_factors(given, wanted) == (pytest.approx(factor), 0.0)
    with pytest.raises(UnitError):
        unit_factors("psu", "degC")


# --- radiosondes ----------------------------------------------------------------------------------------------------


def soundings(times: int = 2) -> xr.Dataset:
    """Pressure is measured along with temperature, at each level of each ascent."""
    pressure = np.array([[990.0, 800.0, 600.0]] * times) + np.arange(times)[:, None]
    return xr.Dataset(
        {
            "ta": (("ascent", "level"), 250.0 + pressure / 30.0, {"units": "K", "standard_name": "air_temperature"}),
            "ta_uncertainty": (("ascent", "level"), np.full(pressure.shape, 0.4), {"units": "K"}),
            "ta_qc": (
                ("ascent", "level"),
                np.array([[0, 0, 1]] + [[0, 0, 0]] * (times - 1), "int8"),
                {"flag_values": np.array([0, 1], "int8"), "flag_meanings": "good suspect"},
            ),
            "p": (("ascent", "level"), pressure, {"units": "hPa", "standard_name": "air_pressure"}),
            "altitude": (("ascent", "level"), 8000.0 * np.log(1013.0 / pressure), {"units": "m", "axis": "Z"}),
        },
        {"time": ("ascent", pd.date_range("2001-01-01T12:00", periods=times)),
         "lat": ("ascent", np.full(times, 50.0)), "lon": ("ascent", np.full(times, 8.0))},
    )  # fmt: skip


@pytest.mark.parametrize("drop", [["altitude"], []])
def test_radiosondes_go_in_as_they_are(drop):
    made, audit = audited(Observation(soundings().drop_vars(drop), name="sondes"), state(3).time)
    assert made.values.size == 5
    np.testing.assert_allclose(np.sqrt(made.errors.variance), 0.4)
    assert audit.rejected["flag"] == 1
    weights = np.abs(made.matrix.toarray().reshape(5, 3, 4, -1)).sum(axis=(1, 3))[:, :3]
    np.testing.assert_allclose(np.exp(weights @ np.log(SPEC.variables[0].levels)), [990.0, 800, 991, 801, 601])


def test_three_lines_make_an_analysis(tiny_model: Model, tmp_path: Path):
    made = swath([0, 1, 0, 2]).rename(wind_speed="pr").assign_coords(time=(("row", "cell"), [waves(4).time.values]))
    made["pr"].attrs["units"] = "mm day-1"
    made.assign(pr_error=made["pr"].copy(data=np.full((1, 4), 0.5))).to_netcdf(tmp_path / "swath.nc")
    state = waves(4)
    ds = xr.open_dataset(tmp_path / "swath.nc")
    radar = Observation(ds, "pr")
    analysis = state.slams.assimilate(obs=radar, model=tiny_model, members=1, steps=2, report=True)
    assert int(analysis.slams.report()["used"].sum()) == 3


# --- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.lists(st.sampled_from("0123456789"), min_size=1, max_size=8), st.sampled_from("SUO"))
def test_characters_and_numbers_are_the_same_flag(flags, kind):
    made = {"S": np.array([f.encode() for f in flags]), "U": np.array(flags), "O": np.array([*flags, None], object)}
    flag = xr.DataArray(made[kind], dims="x", name="TEMP_QC", attrs={"conventions": "OceanSITES reference table 2"})
    ds = xr.Dataset({"TEMP": ("x", np.zeros(flag.size)), "TEMP_QC": flag})
    (found,) = quality_flags(ds, ds["TEMP"], None, "floats")
    np.testing.assert_array_equal(found.passes()[: len(flags)], [f in "125" for f in flags])
    assert np.isnan(codes(made[kind])).sum() == (kind == "O")


@settings(max_examples=15)
@given(st.permutations(["good", "probably_good", "suspect", "not_evaluated", "value_changed"]))
def test_the_order_of_meanings_is_indifferent(meanings):
    flag = xr.DataArray(np.arange(5), attrs={"flag_values": np.arange(5), "flag_meanings": " ".join(meanings)})
    rules, bits = accepted(flag, None, "x")
    kept = {m for m, ok in zip(meanings, passes(flag.values, rules, bits=bits), strict=True) if ok}
    assert kept == {"good", "probably_good", "value_changed"}


@pytest.mark.parametrize("name", ["t_error", "T_ERR", "t_standard_error", "uncertainty_t"])
@pytest.mark.parametrize(("units", "found"), [("K", True), ("degC", True), ("%", False)])
def test_errors_are_found_by_name_where_they_measure_the_same(name, units, found):
    ds = xr.Dataset({"t": ("x", [1.0], {"units": "K"}), name: ("x", [0.5], {"units": units})})
    assert (ancillary(ds, ds["t"])[0] is not None) == found


def test_what_a_variable_names_itself_comes_first():
    flag = {"flag_values": [0, 1], "flag_meanings": "good bad"}
    ds = xr.Dataset(
        {
            "t": ("x", [1.0], {"units": "K", "ancillary_variables": "mine e"}),
            "t_qc": ("x", [1], flag),
            "mine": ("x", [0], flag),
            "t_error": ("x", [9.0], {"units": "K"}),
            "e": ("x", [0.5], {"units": "K", "standard_name": "air_temperature standard_error"}),
        }
    )
    error, flags = ancillary(ds, ds["t"])
    assert error is not None
    assert (error.name, [f.name for f in flags]) == ("e", ["mine"])


def test_files_with_many_variables_are_called_after_themselves(tmp_path: Path):
    ds = floats()
    ds.drop_vars(["TEMP_QC", "TEMP_ADJUSTED_QC", "POSITION_QC", "DATA_MODE"]).to_netcdf(tmp_path / "prof_5900446.nc")
    with xr.open_dataset(tmp_path / "prof_5900446.nc") as opened:
        assert Observation(opened).name == "prof_5900446"
    assert Observation(ds).name.endswith("+...")


# --- real files -----------------------------------------------------------------------------------------------------

Case = tuple[Callable[[xr.Dataset], Observation], Spec, xr.DataArray, int, int, float]


def cases() -> dict[str, Case]:
    """Three lines for each file: how many values are used and flagged, and their mean."""
    wind = world(VariableSpec("ws", "m s-1", standard_name="wind_speed"))
    sst = world(VariableSpec("sst", "degC", standard_name="sea_water_temperature"))
    salinity = world(VariableSpec("sos", "1e-3", standard_name="sea_water_practical_salinity"))
    waves_ = world(VariableSpec("swh", "m", standard_name="sea_surface_wave_significant_height"))
    vapour = world(VariableSpec("prw", "kg m-2", standard_name="atmosphere_water_vapor_content"))
    east = world(VariableSpec("uas", "m s-1", standard_name="eastward_wind"))
    return {
        "argo_5900446_prof": (
            lambda ds: Observation(ds), ocean(DEPTH), days("2004-04-01", 2200), 11758, 0, 9.1,
        ),
        "ascat_l2_swath_20150702": (
            lambda ds: Observation(ds, {"wind_speed": "ws"}, error=1.5), wind, days("2015-07-01", 3), 36367, 2413, 7.6,
        ),
        "jason1_alongtrack_20020115": (
            lambda ds: Observation(ds, "swh_ku", error=0.3), waves_, days("2002-01-14", 3), 1846, 44, 2.6,
        ),
        "jason1_alongtrack_20020115 vapour": (
            lambda ds: Observation(ds, "rad_water_vapor", error=2.0, qc={"flags": ["good"]}), vapour,
            days("2002-01-14", 3), 2240, 0, 19.1,
        ),
        "quikscat_swath_points": (
            lambda ds: Observation(ds, {"u": "uas"}, error=1.5), east, days("2005-01-01", 60), 16163, 0, 0.9,
        ),
        "seadatanet_netCDF_timeseries_tidegauge": (
            lambda ds: Observation(ds, error=0.3), sst, days("1998-07-19", 70), 8651, 0, 24.7,
        ),
        "seadatanet_netCDF_trajectory_tsg_with_instrument": (
            lambda ds: Observation(ds, error=0.1), salinity, days("2000-08-10", 3), 264, 0, 38.2,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", cases())
def test_real_files_go_in_three_lines(name, shared_data: Path):
    source, spec, time, used, flagged, mean = cases()[name]
    file = shared_data / "formats" / f"{name.split()[0]}.nc"
    if not file.exists():
        pytest.skip(f"needs {file.name}")
    with warnings.catch_warnings():
        # Of the epoch of Julian day numbers.
        warnings.filterwarnings("ignore", message=".*year zero")
        ds = xr.open_dataset(file)
        made, audit = read(source(ds), spec, time)
    assert (audit.used, audit.rejected.get("flag", 0)) == (used, flagged)
    assert made.values.mean() == pytest.approx(mean, abs=0.1)
