"""Quality control: flags, errors, biases, thinning, averages with the right error, and counts of what is left out."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.observed import LAT, LON, SPEC, audited, field, reports, state
from xslams.errors import CoverageError, ObservationError, SlamsWarning
from xslams.geometry import Grid
from xslams.labels.grid import grid_of_spec
from xslams.likelihood import StudentT
from xslams.observations import REASONS, Observation, QualityControl, reduced
from xslams.observations.flags import accepted, passes
from xslams.observations.superob import boxes, thinned, within_cell
from xslams.pipeline.windows import AnalysisWindow

# --- flags and errors of CF ----------------------------------------------------------------------------------------


def flagged(**attrs: object) -> xr.Dataset:
    data = reports([[1.0, 2.0, 3.0, 4.0]], ancillary_variables="pr_qc pr_error nothing")
    flag = {"flag_values": np.array([0, 1, 2, 3], "int8"), "flag_meanings": "good probably_good suspect missing_value"}
    return data.to_dataset().assign(
        pr_qc=(("time", "station"), np.array([[0, 1, 2, 3]], "int8"), flag | attrs),
        pr_error=(
            "station",
            [1.0, 2.0, 3.0, 4.0],
            {"standard_name": "lwe_precipitation_rate standard_error", "units": "mm day-1"},
        ),
    )


def arrays(data: xr.Dataset | xr.DataArray, error: object = 1.0, times: int = 1, **options: object):
    return Observation(data, error=error, **options).to_arrays(SPEC, state(times).time)


def counted(data: xr.Dataset | xr.DataArray, error: object = 1.0, times: int = 1, **options: object):
    return audited(Observation(data, error=error, **options), state(times).time)


def test_flags_and_standard_errors_are_found_by_themselves():
    made, audit = counted(flagged(), None)
    np.testing.assert_array_equal(made.values, [1, 2])
    np.testing.assert_array_equal(np.sqrt(made.errors.variance), [1, 2])
    assert audit.rejected["flag"] == 2
    # What is given wins over what the data say, variable by variable.
    np.testing.assert_array_equal(arrays(flagged(), 5.0).errors.variance, 25)
    np.testing.assert_array_equal(np.sqrt(arrays(flagged(), {"t": 5.0}).errors.variance), [1, 2])
    assert arrays(flagged(), qc={"flags": False}).values.size == 4


def test_errors_of_cf_are_converted():
    ds = flagged()
    ds["pr_error"] = (ds.pr_error / 86400).assign_attrs(ds.pr_error.attrs, units="kg m-2 s-1")
    np.testing.assert_allclose(np.sqrt(arrays(ds, None).errors.variance), [1, 2])


@pytest.mark.parametrize(
    ("flags", "kept"),
    [("suspect", [3]), (["good", "suspect"], [1, 3]), (0, [1]), ([0, 3], [1, 4]), (["good", 1], [1, 2])],
)
def test_flags_that_are_asked_for(flags, kept):
    np.testing.assert_array_equal(arrays(flagged(), qc={"flags": flags}).values, kept)


@pytest.mark.parametrize(
    ("attrs", "flags", "words"),
    [
        (
            {"flag_meanings": "good fine interpolated bad"},
            None,
            r"'fine', 'interpolated' may be good or bad.*\['good'\]",
        ),
        ({"flag_meanings": "land sea ice lake"}, None, r"'lake' may be good or bad.*\['land'\]"),
        ({"flag_meanings": "good bad"}, None, "2 flag_meanings, 4 flag_values"),
        ({}, "nice", "means one of 'good', 'probably_good'"),
        ({}, 7, "means one of 'good'"),
    ],
)
def test_flags_that_are_unclear(attrs, flags, words):
    with pytest.raises(ObservationError, match=f"(?s){words}"):
        arrays(flagged(**attrs), qc={"flags": flags})


def test_flags_that_are_not_there():
    with pytest.raises(ObservationError, match=r"no flag belongs to 'pr'.*ancillary_variables"):
        arrays(reports([[1.0]]), qc={"flags": "good"})


def test_a_source_of_which_every_value_is_flagged():
    ds = flagged(flag_meanings="bad bad2_error failed missing")
    with pytest.raises(CoverageError, match="rejected by its flag 'pr_qc' for all of its 4"):
        arrays(ds, None)


@given(
    bits=st.lists(st.integers(0, 15), min_size=1, max_size=20),
    meanings=st.permutations(["suspect", "calibration_failed", "night", "spike"]),
)
def test_bits_of_a_flag_speak_against_a_value(bits, meanings):
    flag = xr.DataArray(bits, name="qc", attrs={"flag_masks": [1, 2, 4, 8], "flag_meanings": " ".join(meanings)})
    rules, independent = accepted(flag, None, "x")
    np.testing.assert_array_equal(passes(flag.values, rules, bits=independent), flag.values == 0)
    chosen = meanings[:2]
    rules, independent = accepted(flag, chosen, "x")
    allowed = sum(m for m, name in zip([1, 2, 4, 8], meanings, strict=True) if name in chosen)
    np.testing.assert_array_equal(passes(flag.values, rules, bits=independent), (flag.values & ~allowed) == 0)


def test_fields_of_bits_each_have_to_be_good():
    attrs = {"flag_masks": [3, 3, 4, 4], "flag_values": [0, 2, 0, 4], "flag_meanings": "good bad valid invalid"}
    flag = xr.DataArray([0, 2, 4, 6, 1], name="qc", attrs=attrs)
    rules, independent = accepted(flag, None, "x")
    assert passes(flag.values, rules, bits=independent).tolist() == [True, False, False, False, True]
    assert not passes(np.array([np.nan]), rules, bits=independent)[0]


# --- bias and representativeness -------------------------------------------------------------------------------------


def test_known_biases_are_subtracted_in_the_units_of_the_data():
    data = reports(np.full((2, 3), 10.0))
    by_station = xr.DataArray([-1.0, 2.0, 0.0], dims="station", coords={"station": ["s2", "s0", "s1"]})
    made = arrays(data, times=2, qc={"bias": by_station})
    np.testing.assert_array_equal(made.values, [8, 10, 11, 8, 10, 11])
    np.testing.assert_array_equal(arrays(data, times=2, qc={"bias": {"pr": 3.0}}).values, 7)
    np.testing.assert_array_equal(arrays(data, times=2, qc={"bias": {"t": 3.0}}).values, 10)
    celsius = data.assign_attrs(units="degF", standard_name="air_temperature").assign_coords(level=1000.0)
    made = Observation(celsius, {"pr": "t"}, error=1.0, qc={"bias": 1.8}).to_arrays(SPEC, state(2).time)
    plain = Observation(celsius, {"pr": "t"}, error=1.0).to_arrays(SPEC, state(2).time)
    np.testing.assert_allclose(plain.values - made.values, 1.0)


def test_values_whose_bias_is_unknown_are_reported():
    data = reports(np.full((2, 3), 5.0))
    bias = xr.DataArray([1.0, 2.0], dims="station", coords={"station": ["s0", "s2"]})
    with pytest.warns(SlamsWarning, match="2 of 6 values of 'pr' have no finite error or bias"):
        made, audit = counted(data, times=2, qc={"bias": bias})
    np.testing.assert_array_equal(made.values, [4, 3, 4, 3])
    assert audit.rejected["error"] == 2 and not audit.rejected["missing"]


@pytest.mark.parametrize(("per", "groups"), [("source", 1), ("station", 3), ("zone", 2)])
def test_groups_that_share_a_bias(per, groups):
    data = reports(np.arange(12.0).reshape(4, 3)).assign_coords(zone=("station", [5, 5, 7]))
    made = arrays(data, times=4, qc={"bias_error": 2.0, "bias_per": per})
    assert len(set(made.errors.bias.group)) == groups
    station = np.tile([0, 1, 2], 4)
    expected = {"source": station * 0, "station": station, "zone": station // 2}[per]
    for g in set(made.errors.bias.group):
        assert len(set(expected[made.errors.bias.group == g])) == 1
    np.testing.assert_array_equal(made.errors.bias.std, 2.0)


def test_groups_of_several_variables_are_their_own():
    ds = state(2).isel(lat=[1], lon=[2])
    made = Observation(ds, error=1.0, qc={"bias_error": 1.0}).to_arrays(SPEC, ds.time)
    assert np.unique(made.errors.bias.group, return_counts=True)[1].tolist() == [6, 2]


def test_representativeness_adds_to_the_error():
    np.testing.assert_allclose(arrays(reports([[1.0, 2.0]]), 3.0, qc={"representativeness": 4.0}).errors.variance, 25)


@pytest.mark.parametrize(
    ("cells", "method", "expected"),
    [(None, "bilinear", 1.0), (1, "nearest", 0.0), (2, "conservative", 0.0), (0.5, "nearest", 1 - 0.5 ** (2 / 3))],
)
def test_what_is_finer_than_the_model_has_a_life_of_its_own(cells, method, expected):
    if cells is None:
        data = reports([[1.0, 2.0]])
    else:
        lat, lon = np.arange(-60, 60, 20 * cells), np.arange(0, 360, 30 * cells)
        data = xr.DataArray(
            np.ones((1, lat.size, lon.size)), dims=("time", "lat", "lon"), name="pr", attrs={"units": "mm day-1"},
            coords={"time": state(1).time, "lat": lat, "lon": lon},
        )  # fmt: skip
    made = arrays(data, qc={"representativeness": "auto"}, method=method)
    np.testing.assert_allclose(made.errors.subgrid, 0.62929 * expected, atol=1e-12)


def test_footprints_of_a_swath_have_a_size_of_their_own():
    """Turned by 45 degrees, with half of the area of a cell of the model."""
    y, x = np.meshgrid(np.arange(-3, 4), np.arange(-3, 4), indexing="ij")
    swath = xr.DataArray(
        np.ones((7, 7)), dims=("y", "x"), name="pr", attrs={"units": "mm day-1"},
        coords={"lat": (("y", "x"), 5.0 * (x + y)), "lon": (("y", "x"), 7.5 * (x - y))},
    )  # fmt: skip
    grid = Grid(np.arange(-60.0, 61, 10), np.arange(0, 360, 15.0), periodic=True)
    expected = 0.62929 * (1 - 0.5 ** (1 / 3))
    assert within_cell(swath, grid, "nearest") == pytest.approx(expected)
    assert within_cell(swath, Grid(grid.lat / 2, grid.lon / 2), "conservative") == 0.0


def test_variance_within_a_square_is_that_of_random_fields():
    """The constant of the 2/3 law, by the mean over pairs of random points."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 400_000, 2))
    data = reports([[1.0]])
    constant = within_cell(data, grid_of_spec(SPEC), "bilinear")
    assert constant == pytest.approx(np.mean(np.sum((a - b) ** 2, axis=1) ** (1 / 3)), rel=2e-3)


# --- thinning and averages -------------------------------------------------------------------------------------------


def crowd(n: int, seed: int = 0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    ds = state()
    frame = rng.integers(0, 4, n)
    return xr.DataArray(
        rng.normal(5, 2, n), dims="obs", name="pr", attrs=ds.pr.attrs,
        coords={
            "time": ("obs", ds.time.values[frame]),
            "lat": ("obs", np.rad2deg(np.arcsin(rng.uniform(-0.9, 0.9, n)))),
            "lon": ("obs", rng.uniform(-180, 180, n)),
        },
    )  # fmt: skip


def test_repeated_observations_have_an_error_that_shrinks_by_the_root_of_n():
    n = 25
    data = reports(np.random.default_rng(0).normal(5, 1, (1, n)), lat=np.full(n, LAT[3]), lon=np.full(n, LON[2]))
    made, audit = counted(data, 2.0, qc={"superob": True})
    assert made.values.size == 1
    np.testing.assert_allclose(made.values, data.mean())
    np.testing.assert_allclose(np.sqrt(made.errors.variance), 2.0 / np.sqrt(n))
    np.testing.assert_array_equal(audit.merged, [n])
    assert made.matrix.toarray().sum() == pytest.approx(1.0)


@given(seed=st.integers(0, 100), superob=st.sampled_from([True, 500.0, 3000.0]))
def test_an_average_is_as_good_as_its_values(seed, superob):
    """Averages are sufficient: of values that see the same, they leave the posterior as it is."""
    data = crowd(60, seed)
    error = xr.DataArray(np.random.default_rng(seed).uniform(0.5, 3, 60), dims="obs")
    one = arrays(data, error, times=4, method="nearest")
    many, audit = counted(data, error, times=4, method="nearest", qc={"superob": superob})
    assert audit.merged.sum() == one.values.size == 60
    assert many.values.size <= 60
    # The sum of precisions and of precision times value is kept, whatever the boxes.
    assert (1 / many.errors.variance).sum() == pytest.approx((1 / one.errors.variance).sum())
    assert (many.values / many.errors.variance).sum() == pytest.approx((one.values / one.errors.variance).sum())
    if superob is True:
        # Values of one cell and frame see the same: information matrices agree.
        information = [m.matrix.T @ (m.matrix / m.errors.variance[:, None]) for m in (one, many)]
        assert abs(information[0] - information[1]).max() < 1e-10
        seen = [m.matrix.T @ (m.values / m.errors.variance) for m in (one, many)]
        np.testing.assert_allclose(*seen, atol=1e-10)


def test_what_a_place_has_of_its_own_does_not_average_out():
    lat, lon = np.full(4, LAT[3]), np.full(4, LON[2])
    same = arrays(reports([[1.0, 2, 3, 4]], lat=lat, lon=lon), 2.0, qc={"superob": True, "representativeness": 1.0})
    np.testing.assert_allclose(same.errors.variance, 2.0**2 / 4 + 1.0)
    apart = reports([[1.0, 2, 3, 4]], lat=lat + np.arange(4), lon=lon)
    apart = arrays(apart, 2.0, qc={"superob": True, "representativeness": 1.0})
    np.testing.assert_allclose(apart.errors.variance, (2.0**2 + 1.0) / 4)


def test_values_of_different_frames_levels_and_cells_are_not_averaged():
    ds = state()
    made = Observation(ds, error=1.0, method="nearest", qc={"superob": True}).to_arrays(SPEC, ds.time)
    assert made.values.size == 4 * 96 * 4
    np.testing.assert_allclose(made.matrix @ field(ds), made.values)


def test_reports_of_one_day_are_averaged_without_a_warning():
    data = reports(np.arange(48.0).reshape(24, 2)).assign_coords(
        time=pd.date_range("2001-01-02", periods=24, freq="1h")
    )
    made, audit = counted(data, 3.0, times=4, tolerance="24h", qc={"superob": True})
    assert audit.merged.tolist() == [24, 24]
    np.testing.assert_allclose(made.errors.variance, 9.0 / audit.merged)


@given(side=st.floats(50, 5000), seed=st.integers(0, 99))
def test_boxes_cover_the_sphere_once_and_are_about_as_large_as_asked_for(side, seed):
    rng = np.random.default_rng(seed)
    lat, lon = np.rad2deg(np.arcsin(rng.uniform(-1, 1, 200))), rng.uniform(-180, 540, 200)
    box, distance = boxes(lat, lon, side)
    np.testing.assert_array_equal(boxes(lat, lon % 360, side)[0], box)
    assert (distance <= 0.5 + 1e-9).all()
    # Places of a box are no further apart than its diagonal, give or take how boxes are rounded near the poles.
    a = np.deg2rad(np.stack([lat, lon]))
    xyz = np.stack([np.cos(a[0]) * np.cos(a[1]), np.cos(a[0]) * np.sin(a[1]), np.sin(a[0])])
    apart = 6371 * np.arccos(np.clip(xyz.T @ xyz, -1, 1))
    assert apart[box[:, None] == box].max() < 2.6 * side


@given(seed=st.integers(0, 99))
def test_thinning_keeps_the_best_of_each_box(seed):
    data = crowd(80, seed)
    made, audit = counted(data, 1.0, times=4, qc={"thin": 2000.0})
    box, distance = boxes(data.lat.values, data.lon.values, 2000.0)
    frame = data.time.dt.day.values
    table = pd.DataFrame({"box": box, "frame": frame, "distance": distance, "y": data.values})
    best = table.sort_values("distance").groupby(["box", "frame"]).first()
    assert sorted(made.values) == pytest.approx(sorted(best.y))
    assert audit.rejected["thinned"] == 80 - len(best)


def test_thinning_decides_by_distance_then_error_then_order():
    key = np.array([0, 0, 0, 1, 1, 2])
    kept = thinned(key, np.array([1.0, 1, 1, 2, 1, 5]), np.array([3.0, 2, 2, 1, 9, 1]))
    assert kept.tolist() == [False, True, False, False, True, True]


# --- counts ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 200), thin=st.sampled_from([None, 1500.0]), superob=st.sampled_from([False, 2000.0]))
def test_every_value_is_used_or_has_a_reason(seed, thin, superob):
    rng = np.random.default_rng(seed)
    data = reports(rng.normal(5, 2, (9, 12)), lat=rng.uniform(-88, 88, 12), lon=rng.uniform(0, 360, 12))
    data = data.assign_coords(time=pd.date_range("2000-12-30", periods=9)).where(rng.random((9, 12)) < 0.8)
    data.attrs = reports([[0.0]]).attrs | {"ancillary_variables": "qc"}
    flag = {"flag_values": [0, 1], "flag_meanings": "good bad"}
    ds = data.to_dataset().assign(qc=(data.dims, (rng.random((9, 12)) < 0.1).astype(int), flag))
    error = xr.DataArray(np.where(rng.random(12) < 0.1, np.nan, 1.0), dims="station")
    obs = Observation(ds, error=error, qc={"thin": thin, "superob": superob})
    time = state(6).time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamsWarning)
        part, audit = audited(obs, time)
        assert audit.used == (part.size if audit.merged is None else int(audit.merged.sum()))
        assert set(audit.rejected) <= set(REASONS)
        assert audit.given == 108
        assert audit.used + sum(audit.rejected.values()) == 108
        # Windows count each value once.
        bound = obs.bind(SPEC, time)
        windows = AnalysisWindow(0, 4, 0, 3), AnalysisWindow(2, 6, 3, 6)
        pieces = [reduced(p).audit for window in windows for p in bound.within(window).audited()]
    assert sum(p.given for p in pieces) == 108
    totals = {r: sum(p.rejected.get(r, 0) for p in pieces) for r in REASONS}
    assert totals == {r: audit.rejected.get(r, 0) for r in REASONS}
    assert sum(p.used for p in pieces) == audit.used


def test_places_and_levels_outside_are_counted():
    data = state(2).t.isel(lat=slice(2)).assign_coords(level=[1000.0, 500.0, 10.0], lat=[-70.0, -89.0])
    small = SPEC.__class__(SPEC.variables, tuple(LAT), tuple(LON[:5]), periodic=False)
    with pytest.warns(SlamsWarning, match="lie outside"):
        part, audit = audited(Observation(data, error=1.0, method="nearest"), data.time, small)
    outside = int((~(np.isin(data.lon, LON[:5]))).sum())
    assert audit.given == 2 * 3 * 2 * 12
    assert audit.rejected["place"] >= 2 * 3 * 2 * outside
    assert audit.rejected["level"] > 0
    assert audit.given == part.values.size + sum(audit.rejected.values())


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qc", "words"),
    [
        ({"thin": -1}, "thin=-1; expected a positive"),
        ({"thin": True}, "thin=True"),
        ({"superob": -3.0}, "superob=-3.0; expected True"),
        ({"background_check": 0}, "background_check=0"),
        ({"robust": "cauchy"}, "robust='cauchy'; expected one of 'huber', 'student-t'"),
        ({"robust": "huber", "robust_shape": np.inf}, "robust_shape=inf"),
        ({"representativeness": "some"}, "representativeness='some'"),
        ({"bias_error": 1.0, "bias_per": "station", "superob": True}, "has no bias of one station"),
    ],
)
def test_bad_quality_control(qc, words):
    with pytest.raises(ObservationError, match=words):
        Observation(reports([[1.0]]), error=1.0, qc=qc)
    with pytest.raises(ObservationError, match=words):
        QualityControl(**qc)


@pytest.mark.parametrize(
    ("qc", "words"),
    [
        ({"bias": "large"}, "bias='large'; expected a number"),
        ({"bias_error": -1.0}, "bias_error=-1.0 is negative"),
        ({"representativeness": -1.0}, "representativeness=-1.0 is negative"),
        ({"bias_error": 1.0, "bias_per": "platform"}, "bias_per='platform' is neither"),
        ({"bias": xr.DataArray([1.0], dims="member")}, "bias= has dimension 'member'"),
    ],
)
def test_quality_control_that_does_not_fit(qc, words):
    with pytest.raises(ObservationError, match=words):
        arrays(reports([[1.0, 2.0]]), qc=qc)


def test_quality_control_is_kept_and_can_be_replaced():
    obs = Observation(reports([[1.0]]), error=1.0, qc={"thin": 100})
    assert obs.qc == QualityControl(thin=100)
    assert obs.replace(error=2.0).qc.thin == 100
    assert obs.replace(qc={"robust": "student-t"}).qc.likelihood == StudentT(4.0)
