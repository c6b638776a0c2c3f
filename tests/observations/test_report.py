"""What becomes of observations: background check, representativeness from the model, and the report on an analysis."""

from __future__ import annotations

import re
import warnings

import dask
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xslams
from xslams.errors import ObservationError, ObservationOptionError, SlamsWarning, VariableError
from xslams.inference.arrays import (
    climatology_arrays,
    complete_errors,
    observe_arrays,
    observed_range_arrays,
    variogram_arrays,
)
from xslams.labels.calendar import year_fraction
from xslams.likelihood import ErrorModel, Huber, SharedBias, SourceLikelihood
from xslams.observations import (
    COLUMNS,
    REASONS,
    Audit,
    AuditedLikelihood,
    Expectation,
    background_check,
    expectation,
    first_guess,
    plausible_range,
    reduced,
    statistics,
    with_variability,
)
from xslams.observations.report import estimated_bias, report


@pytest.fixture(scope="module")
def grid(tiny_model) -> xr.Dataset:
    return xr.Dataset(
        coords={
            "time": pd.date_range("2001-01-01", periods=4),
            "lat": list(tiny_model.spec.lat),
            "lon": list(tiny_model.spec.lon),
        }
    )


@pytest.fixture(scope="module")
def normal(grid, tiny_model) -> xr.DataArray:
    """Climatology of the upper level, as a report of what is normal."""
    mean, _ = climatology_arrays(tiny_model, year_fraction(grid.time))
    return xr.DataArray(
        mean[:, 1].astype(float), dims=("time", "lat", "lon"), coords={**grid.coords, "level": 500.0}, name="t",
        attrs={"units": "K", "standard_name": "air_temperature"},
    )  # fmt: skip


def refuse(*args, **kwargs):
    raise AssertionError("computed")


# --- background check ------------------------------------------------------------------------------------------------


def test_gross_errors_are_rejected_and_counted(grid, normal, tiny_model):
    off = normal.copy()
    off[1, 2, 3] += 300
    off[3, 4, 5] = -9999.0
    off[0, 0, 0] = np.nan
    obs = xslams.Observation(off, error=1.0, method="nearest", qc={"background_check": 5})
    table = grid.slams.check(obs, tiny_model)
    assert table.source.values.tolist() == ["t"]
    assert table.reason.values.tolist() == list(REASONS)
    one = table.isel(source=0)
    assert int(one.given) == 4 * 8 * 16
    assert int(one.used) == int(one.likelihood) == int(one.given) - 3
    assert one.rejected.to_series().to_dict() == dict.fromkeys(REASONS, 0) | {"missing": 1, "background": 2}
    assert float(one.innovation_std.sel(stage="before")) < 0.1
    assert float(one.error) == pytest.approx(1.0)
    assert one.units == "K"
    # Without the check they are in, and the innovations say so.
    loose = grid.slams.check(obs.replace(qc={"background_check": None}), tiny_model).isel(source=0)
    assert int(loose.used) == int(one.used) + 2
    assert float(loose.innovation_std.isel(stage=0)) > 100


WILD = [1e20, -1e20, 9.96921e36, -9999.0, 1e300, 32767.0, -999.9, 0.0, 1e10]


@pytest.mark.parametrize(("wild", "error"), [*((w, 1.0) for w in WILD), (1e20, 0.0), (-9999.0, 0.0)])
def test_one_wild_value_does_not_matter(grid, normal, tiny_model, wild, error):
    off, lacking = normal.copy(), normal.copy()
    off[1, 4, 3], lacking[1, 4, 3] = wild, np.nan
    settings = {"members": 1, "steps": 2, "report": True}
    obs = xslams.Observation(off, error=error, method="nearest", name="gauges")
    with pytest.warns(SlamsWarning, match="'gauges': 1 of 512 values.*gross errors"):
        analysis = grid.slams.assimilate(obs, tiny_model, **settings)
    expected = grid.slams.assimilate(obs.replace(data=lacking), tiny_model, **settings)
    np.testing.assert_allclose(analysis["t"], expected["t"], atol=0.2 if error == 0 and abs(wild) > 1e3 else 0.01)
    assert int(analysis.slams.report().rejected.sel(reason="background").sum()) == 1


@pytest.mark.parametrize("verb", ["assimilate", "check", "lazy"])
def test_gross_errors_are_warned_of_once_per_source(tiny_model, verb):
    """Three windows, two sources: two warnings, which count all windows, or of a lazy analysis the first of them."""
    days = pd.DatetimeIndex(["2001-01-01", "2001-01-02", "2001-01-20", "2001-01-21", "2001-01-22", "2001-01-30"])
    ds = xr.Dataset(coords={"time": days, "lat": list(tiny_model.spec.lat), "lon": list(tiny_model.spec.lon)})
    data = xr.DataArray(
        np.full((6, 3), 250.0), dims=("time", "station"), name="t",
        coords={"time": days, "lat": ("station", [10.0, 20.0, -30.0]), "lon": ("station", [5.0, 100.0, 200.0]),
                "level": ((), 500.0, {"units": "hPa"})},
        attrs={"units": "K", "standard_name": "air_temperature"},
    )  # fmt: skip
    wild = data.copy()
    wild[[0, 2, 5], 1] = [-9999.0, 1e20, 32767.0]
    sources = [xslams.Observation(wild, error=1.0, name=name) for name in ("a", "b")]
    sources.append(xslams.Observation(data, error=1.0, name="c"))
    settings = {} if verb == "check" else {"members": 1, "steps": 2}
    if verb == "lazy":
        ds["t"] = xr.DataArray(np.zeros(6), dims="time").chunk(time=1)
    for call in range(2 if verb == "lazy" else 1):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = getattr(ds.slams, "check" if verb == "check" else "assimilate")(sources, tiny_model, **settings)
            if verb == "lazy":
                result.compute(scheduler="sync")
        texts = [str(w.message) for w in caught]
        if verb == "lazy":  # every call anew
            assert [t.partition(" of ")[0] for t in texts] == ["Source 'a': 1", "Source 'b': 1"], call
            assert all("one analysis window; ds.slams.check" in t for t in texts)
    if verb == "lazy":
        return
    assert [t.partition(" are more")[0] for t in texts] == [
        f"Source {name!r}: 3 of 18 values, from -9999 to 1e+20 in units of the model," for name in ("a", "b")
    ]


@pytest.mark.parametrize("error", [1e19, 1e30, 1e200, 1.7e308])
@pytest.mark.parametrize("where", ["error", "array", "representativeness", "bias_error"])
def test_errors_that_overflow_are_refused(grid, normal, tiny_model, error, where):
    given = xr.full_like(normal, 1.0).where(normal.time != normal.time[1], error) if where == "array" else error
    settings = {"error": given} if where in ("error", "array") else {"error": 1.0, "qc": {where: error}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ObservationOptionError, match=r"'gauges': \w+= is up to .* expected at most 1e\+18"):
            grid.slams.assimilate(xslams.Observation(normal, method="nearest", name="gauges", **settings), tiny_model)


def test_wild_values_of_the_background_do_not_matter(grid, normal, tiny_model):
    state = xr.concat([normal.drop_vars("level")] * 2, pd.Index([850.0, 500.0], name="level"))
    ds = state.transpose("time", "level", "lat", "lon").to_dataset(name="t")
    ds["t"].attrs = normal.attrs
    obs = xslams.Observation(normal[:, :2], error=1.0, method="nearest")
    ds["t"][0, 1, 2, 3] = -9999.0
    ds["t"][0, 1, 2, 4] = np.inf
    with pytest.warns(
        SlamsWarning, match="'background': 1 of .*gross errors|infinite values of 't' are dropped, 1 in all"
    ) as caught:
        analysis = ds.slams.assimilate(obs, tiny_model, members=1, steps=2, background_error=1.0, report=True)
    assert len(caught) == 2
    assert float(abs(analysis["t"] - 265).max()) < 80
    counts = analysis.slams.report().rejected.sel(source="background")
    assert (int(counts.sel(reason="background")), int(counts.sel(reason="infinite"))) == (1, 1)


@pytest.mark.parametrize("operator", [lambda f: (f["t"][:, :, 0] - 280) ** 2, lambda f: f["pr"].squeeze(2).sqrt()])
def test_the_range_of_an_operator_is_no_derivative(grid, tiny_model, operator):
    mean, std = climatology_arrays(tiny_model, year_fraction(grid.time))
    low, high = observed_range_arrays(tiny_model, operator, mean, std, 20.0)
    assert not (high - low < 1e-3).any()


def test_showers_are_no_gross_errors(grid, tiny_model):
    mean, std = climatology_arrays(tiny_model, year_fraction(grid.time))
    low, high = plausible_range(mean, std, tiny_model.spec.variables)
    assert low[:, 2].max() < 0 < 30 < high[:, 2].min()


def test_an_analysis_that_is_not_finite_is_an_error(grid, normal, tiny_model, monkeypatch):
    from xslams.inference import arrays

    make = arrays.assimilate_arrays
    obs = xslams.Observation(normal, error=1.0, method="nearest")
    for disturb, expected in ((np.inf, ObservationError), (1e6, SlamsWarning)):
        monkeypatch.setattr(arrays, "assimilate_arrays", lambda *a, by=disturb, **k: make(*a, **k) + np.float32(by))
        with pytest.raises(expected) if disturb == np.inf else pytest.warns(expected, match="out of the climatology"):
            grid.slams.assimilate(obs, tiny_model, members=1, steps=2)


def test_bad_values_are_rejected_before_they_are_averaged(grid, normal, tiny_model):
    twice = xr.concat([normal, normal], "sensor").stack(report=("sensor", "time", "lat", "lon"), create_index=False)
    twice = twice.drop_vars("level").assign_coords(level=500.0).assign_attrs(normal.attrs)
    off = twice.copy()
    off[5] += 300
    for qc in ({"superob": True}, {"thin": 1000.0}):
        obs = xslams.Observation(off, error=1.0, method="nearest", qc={**qc, "background_check": 5})
        table = grid.slams.check(obs, tiny_model).isel(source=0)
        assert int(table.rejected.sel(reason="background")) == 1
        # Every cell still has its other value.
        assert int(table.likelihood) == 512 if "superob" in qc else int(table.likelihood) > 300
        assert float(table.innovation_std.isel(stage=0)) < 0.1
        assert int(table.given) == 1024 == int(table.used) + int(table.rejected.sum())


def test_a_source_of_which_every_value_is_rejected_is_a_warning(grid, normal, tiny_model):
    obs = xslams.Observation(normal + 500, error=1.0, method="nearest", qc={"background_check": 3})
    obs.data.attrs = normal.attrs
    with pytest.warns(SlamsWarning, match="all 512 values are further than 3 standard deviations"):
        table = grid.slams.check(obs, tiny_model)
    assert int(table.used.sum()) == 0
    assert np.isnan(table.innovation_mean).all()


def test_the_background_sharpens_the_check(grid, normal, tiny_model):
    state = xr.concat([normal.drop_vars("level")] * 2, pd.Index([850.0, 500.0], name="level"))
    ds = state.transpose("time", "level", "lat", "lon").to_dataset(name="t")
    ds["t"].attrs = normal.attrs
    off = normal + 8.0
    off.attrs = normal.attrs
    obs = xslams.Observation(off, error=1.0, method="nearest", name="off", qc={"background_check": 4})
    assert int(ds.slams.check(obs, tiny_model).used.sel(source="off")) > 0
    with pytest.warns(SlamsWarning, match="all 512 values"):
        table = ds.slams.check(obs, tiny_model, background_error=0.5)
    assert table.source.values.tolist() == ["off", "background"]
    assert int(table.rejected.sel(source="off", reason="background")) == 512
    assert int(table.used.sel(source="background")) == 1024


@given(seed=st.integers(0, 99), limit=st.floats(0.5, 4))
def test_the_check_compares_with_the_total_spread(seed, limit):
    rng = np.random.default_rng(seed)
    matrix = sp.csr_array(rng.random((30, 10)) * (rng.random((30, 10)) < 0.3))
    mean, std = rng.normal(size=10), rng.uniform(0.1, 2, 10)
    bias, local = rng.uniform(0, 1, (2, 30))
    variance = rng.uniform(0.1, 2, 30)
    errors = ErrorModel(variance, local=local**2, bias=SharedBias(bias, np.zeros(30, np.intp)))
    source = SourceLikelihood("x", matrix, rng.normal(0, 3, 30), errors, background_check=limit)
    audit = Audit(30, owned=rng.random(30) < 0.7, merged=rng.integers(1, 5, 30))
    left, counts = background_check(AuditedLikelihood(source, audit), expectation(source, mean, std))
    total = variance + bias**2 + local**2 + (abs(matrix) @ std) ** 2
    good = abs(source.values - matrix @ mean) <= limit * np.sqrt(total)
    np.testing.assert_array_equal(left.values, source.values[good])
    np.testing.assert_array_equal(left.matrix.toarray(), matrix.toarray()[good])
    assert counts.rejected.get("background", 0) == audit.merged[~good & audit.owned].sum()
    kept = left.errors.bias
    assert kept.group.shape == kept.std.shape == counts.merged.shape == counts.owned.shape == left.values.shape


def test_a_first_guess_is_the_analysis_of_each_cell():
    import scipy.sparse as sp

    mean, std = np.zeros((2, 3)), np.full((2, 3), 2.0)
    errors = ErrorModel(np.array([1.0, 4.0]))
    select = sp.csr_array((np.ones(2), ([0, 1], [4, 1])), shape=(2, 6))
    x, s = first_guess(mean, std, [SourceLikelihood("b", select, np.array([5.0, 1.0]), errors)])
    assert x.ravel().tolist() == pytest.approx([0, 0.5, 0, 0, 4.0, 0])
    assert (s.ravel() ** 2).tolist() == pytest.approx([4, 2, 4, 4, 0.8, 4])


def test_spread_of_an_operator_is_that_of_the_matrix(grid, tiny_model):
    mean, std = climatology_arrays(tiny_model, year_fraction(grid.time))
    seen, spread = observe_arrays(tiny_model, lambda f: f["t"].mean(dim=2), mean, std)
    np.testing.assert_allclose(seen, mean[:, :2].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(spread, std[:, :2].mean(axis=1), rtol=1e-5)


# --- representativeness ----------------------------------------------------------------------------------------------


def test_the_variogram_is_that_of_samples_of_the_prior(grid, tiny_model):
    gamma = variogram_arrays(tiny_model, year_fraction(grid.time))
    mean, std = climatology_arrays(tiny_model, year_fraction(grid.time))
    assert gamma.shape == mean.shape
    assert (gamma >= 0).all() and gamma.max() > 0
    # Half the squared difference of two cells is no more than their variance, where they are not opposed.
    assert np.median(gamma / std**2) < 1.0
    np.testing.assert_array_equal(gamma, variogram_arrays(tiny_model, year_fraction(grid.time)))


def test_representativeness_from_the_model_enlarges_the_error(grid, normal, tiny_model):
    sites = normal.isel(lat=xr.DataArray([2, 5], dims="site"), lon=xr.DataArray([1, 9], dims="site"))
    obs = xslams.Observation(sites, error=0.5, qc={"representativeness": "auto"})
    (part,) = obs.bind(tiny_model.spec, grid.time).audited()
    gamma = variogram_arrays(tiny_model, year_fraction(grid.time))
    made = with_variability(part.likelihood, gamma).errors
    cells = gamma[:, 1][:, [2, 5], [1, 9]].ravel()
    np.testing.assert_allclose(made.variance, 0.25 + 0.62929 * cells, rtol=1e-4)
    assert made.subgrid is None
    assert reduced(part).likelihood.errors.subgrid is not None
    table = grid.slams.check(obs, tiny_model)
    assert float(table.error.isel(source=0)) == pytest.approx(float(np.sqrt(made.variance.mean())))


# --- the report ------------------------------------------------------------------------------------------------------


def test_sums_of_segments_add_up():
    rng = np.random.default_rng(0)
    n = 40
    owned = rng.random(n) < 0.5
    errors = ErrorModel(rng.uniform(1, 2, n), robust=Huber(1.0)).completed(rng.uniform(size=n), rng.uniform(1, 2, n))
    source = SourceLikelihood("x", sp.csr_array((n, 3)), rng.normal(size=n), errors)
    guess, predicted = Expectation(rng.normal(size=n), rng.uniform(size=n)), rng.normal(size=(5, n))
    whole, *parts = (
        statistics(AuditedLikelihood(source, Audit(owned=o)), guess, predicted)
        for o in (np.ones(n, bool), owned, ~owned)
    )
    np.testing.assert_allclose(sum(parts), whole)
    # Before the analysis errors are those that were stated; after it those that the likelihood took.
    sums = dict(zip(COLUMNS, whole, strict=True))
    assert sums["before_variance"] == sums["variance"] == pytest.approx(errors.instrument.sum())
    assert sums["after_variance"] == pytest.approx((errors.inflation * (errors.instrument + errors.decoder)).sum())


@given(seed=st.integers(0, 99), groups=st.integers(1, 4))
def test_estimated_biases_are_those_of_the_joint_problem(seed, groups):
    """Given the state, biases and errors are Gaussian: the mean by the matrices of the whole."""
    rng = np.random.default_rng(seed)
    n = 12
    group, variance, beta = rng.integers(0, groups, n), rng.uniform(0.5, 2, n), rng.uniform(0.5, 3, groups)
    errors = ErrorModel(variance, bias=SharedBias(beta[group], group))
    source = SourceLikelihood("x", sp.csr_array((n, 3)), rng.normal(size=n), errors)
    predicted = rng.normal(size=n)
    design = np.eye(groups)[group]
    prior = np.diag(beta**2)
    gain = prior @ design.T @ np.linalg.inv(design @ prior @ design.T + np.diag(variance))
    np.testing.assert_allclose(estimated_bias(source, predicted), design @ gain @ (source.values - predicted))


def test_an_estimated_bias_is_in_the_report(grid, normal, tiny_model):
    sources = [
        xslams.Observation(normal, error=0.5, method="nearest", name="sound"),
        xslams.Observation(
            (normal + 6.0).assign_attrs(normal.attrs), error=0.5, method="nearest", name="warm", qc={"bias_error": 5.0}
        ),
    ]
    table = grid.slams.assimilate(sources, tiny_model, members=2, steps=8, report=True).slams.report()
    assert 0 < float(table["solver_error"]) < 0.05
    assert "solver_error" not in grid.slams.check(sources, tiny_model)
    assert np.isnan(table.bias.sel(source="sound"))
    assert float(table.bias.sel(source="warm")) == pytest.approx(6.0, abs=0.5)
    assert table.bias.attrs["long_name"]
    assert np.isnan(grid.slams.check(sources, tiny_model).bias).all()


@pytest.fixture(scope="module")
def observed(normal):
    rng = np.random.default_rng(0)
    # A wave as the model knows them.
    phase = np.deg2rad(2 * (normal.lon - 22.5)) - 0.3 * xr.DataArray(np.arange(4), dims="time") + 1.0
    truth = (normal + 5 * np.sin(phase) * np.cos(np.deg2rad(normal.lat))).transpose(*normal.dims)
    truth.attrs = normal.attrs
    noisy = truth + xr.DataArray(rng.normal(0, 0.5, truth.shape), dims=truth.dims)
    noisy[:, 3, 3] += 60.0
    noisy.attrs = truth.attrs
    return xslams.Observation(noisy, error=0.5, method="nearest", name="gauges", qc={"robust": "student-t"})


def test_report_of_an_analysis(grid, observed, tiny_model):
    settings = {"members": 2, "steps": 8}
    analysis = grid.slams.assimilate(observed, tiny_model, **settings, report=True)
    plain = grid.slams.assimilate(observed, tiny_model, **settings)
    xr.testing.assert_equal(analysis[["t"]], plain)
    assert not [c for c in analysis["t"].coords if c.startswith("obs_")]
    table = analysis.slams.report()
    assert set(table.dims) == {"source", "reason", "stage"}
    assert all(v.attrs.get("long_name") for v in table.data_vars.values())
    one = table.sel(source="gauges")
    assert int(one.given) == int(one.used) == 512
    before, after = (one.sel(stage=s) for s in ("before", "after"))
    # A wave of 5 K, and 60 K at four values.
    assert float(before.innovation_std) == pytest.approx(6, abs=1.0)
    assert abs(float(after.innovation_mean)) < 0.8
    assert 4 <= int(one.downweighted) < 60
    assert 0 < float(after.spread) < float(before.spread)
    path_ready = analysis.to_dict()  # plain numbers and names only
    assert path_ready["coords"]["obs_statistics"]["data"][0][0][0] == 512
    assert path_ready["coords"]["obs_source"]["data"] == ["gauges"]
    gauss = grid.slams.assimilate(observed.replace(qc=None), tiny_model, **settings)
    cell = {"lat": 3, "lon": 3}
    pulled = float((gauss["t"].sel(level=500) - analysis["t"].sel(level=500)).isel(cell).mean())
    assert pulled > 5


def test_the_report_reads_the_errors_of_the_likelihood(grid, tiny_model):
    """Rain is assimilated through a transform: its errors are inflated, and the decoder adds to them."""
    values = np.random.default_rng(0).gamma(2, 2, (4, 8, 16))
    attrs = {"units": "mm/day", "standard_name": "precipitation_flux"}
    rain = xr.DataArray(values, dims=("time", "lat", "lon"), coords=grid.coords, name="pr", attrs=attrs)
    obs = xslams.Observation(rain, error=1.0, method="nearest")
    table = grid.slams.assimilate(obs, tiny_model, members=3, steps=4, report=True).slams.report().isel(source=0)
    (made,) = complete_errors(tiny_model, [obs.to_arrays(tiny_model.spec, grid.time)], year_fraction(grid.time), "cpu")
    taken = made.errors.variance.astype(float).mean()
    assert taken > 2.0
    before, after = (table.sel(stage=s) for s in ("before", "after"))
    assert float(table.error) == pytest.approx(1.0)
    assert float(before.expected_std**2) == pytest.approx(1.0 + float(before.spread**2))
    assert float(after.expected_std**2) == pytest.approx(taken - float(after.spread**2))


def test_report_comes_with_a_lazy_analysis_and_survives_a_file(grid, observed, tiny_model, tmp_path, monkeypatch):
    from xslams.pipeline import segment

    lazy_grid = grid.assign(t=xr.zeros_like(observed.data.drop_vars("level")).chunk(time=2))
    settings = {"members": 2, "steps": 4, "report": True}
    calls = []
    original = segment.analyse
    monkeypatch.setattr(segment, "analyse", lambda *a, **k: calls.append(1) or original(*a, **k))
    with dask.config.set(scheduler=refuse):
        lazy = lazy_grid.slams.assimilate(observed, tiny_model, **settings)
        report = lazy.slams.report()
    assert dask.is_dask_collection(report)
    analysis, table = dask.compute(lazy, report, scheduler="sync")
    assert len(calls) == lazy["t"].data.numblocks[1]
    xr.testing.assert_equal(analysis.slams.report(), table)
    assert int(table.given.sum()) == 512
    eager = grid.slams.assimilate(observed, tiny_model, **settings)
    xr.testing.assert_equal(eager.slams.report(), table)
    analysis.to_zarr(tmp_path / "analysis.zarr", consolidated=False)
    stored = xr.open_zarr(tmp_path / "analysis.zarr", consolidated=False)
    xr.testing.assert_equal(stored.slams.report().load(), table)
    analysis.to_netcdf(tmp_path / "analysis.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "analysis.nc", engine="h5netcdf") as stored:
        xr.testing.assert_equal(stored.slams.report().load(), table)


@pytest.mark.parametrize("lazy", [False, True])
def test_segments_count_what_they_leave_to_each_other(tiny_model, monkeypatch, lazy):
    """Segments get the part of a source near them, and members of a lazy block groups; the report is of all."""
    from tests.pipeline.test_assimilate import waves
    from xslams.pipeline import graph

    ds = waves(75)
    rng = np.random.default_rng(0)
    # Reports before, between and after the frames, out of order, with gaps.
    stamps = np.concatenate([pd.date_range("1999-06-01", periods=500), pd.date_range("2003-01-01", periods=30)])
    stamps = np.concatenate([stamps, ds.time.values[:-5] + np.timedelta64(9, "h"), ds.time.values])
    stamps = rng.permutation(np.unique(stamps))
    data = xr.DataArray(
        rng.normal(250, 3, (stamps.size, 3)), dims=("time", "station"), name="t",
        coords={"time": stamps, "lat": ("station", [10.0, 20.0, -30.0]), "lon": ("station", [5.0, 100.0, 200.0]),
                "level": ((), 500.0, {"units": "hPa"})},
        attrs={"units": "K", "standard_name": "air_temperature"},
    )  # fmt: skip
    data = data.where(rng.random(data.shape) < 0.9)
    qc = {"background_check": 3.0, "robust": "huber"}
    sources = xslams.Observation(data, error=1.0, tolerance="3h", qc=qc)
    monkeypatch.setattr(graph, "_BLOCK_BYTES", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamsWarning)
        table = ds.slams.check(sources, tiny_model)
        state = ds.chunk(time=20) if lazy else ds
        analysis = state.slams.assimilate(sources, tiny_model, members=3, steps=2, device="cpu", report=True)
        plain = state.slams.assimilate(sources, tiny_model, members=3, steps=2, device="cpu")
        report, analysis, plain = dask.compute(analysis.slams.report(), analysis, plain, scheduler="sync")
    assert int(report.given.sum()) == data.size
    assert int(report.used.sum()) == int(report.likelihood.sum()) > 0
    for name in ("given", "used", "rejected", "likelihood"):
        xr.testing.assert_equal(report[name], table[name])
    np.testing.assert_allclose(report.innovation_std.sel(stage="before"), table.innovation_std.sel(stage="before"))
    assert int(report.rejected.sel(reason="time").sum()) > 0
    xr.testing.assert_equal(analysis["t"].drop_vars("member"), plain["t"].drop_vars("member"))


def test_several_sources_and_variables_have_a_row_each(grid, normal, tiny_model):
    rain = xr.full_like(normal.drop_vars("level"), 1.0).assign_attrs(units="mm/day", standard_name="precipitation_flux")
    both = xr.Dataset({"t": normal, "pr": rain})
    sources = [
        xslams.Observation(both, error=1.0, method="nearest", name="both"),
        xslams.Observation(rain.rename("pr"), error=1.0, method="nearest", name="gauges", qc={"superob": 4000.0}),
    ]
    table = grid.slams.check(sources, tiny_model)
    assert table.source.values.tolist() == ["both:t", "both:pr", "gauges"]
    assert table.units.values.tolist() == ["K", "mm/day", "mm/day"]
    assert table.used.values.tolist() == [512] * 3
    assert int(table.likelihood[2]) < 512
    assert float(table.error[2]) < 1.0


def test_no_report_without_asking(grid):
    with pytest.raises(VariableError, match=r"report=True.*slams\.check"):
        grid.slams.report()


# --- Desroziers' estimates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "words"), [(1.0, "keep error="), (0.4, r"multiply error= by [12]\."), (3.0, r"multiply error= by 0\.")]
)
def test_the_report_tells_errors_and_what_to_change(stated, words):
    """Of a scalar analysis with the gain and spread of the stated error, innovations tell the true one."""
    rng, n, spread = np.random.default_rng(0), 20000, 0.5
    y = rng.normal(0, spread, n) + rng.normal(0, 1.0, n) + 0.5  # a bias is no part of it
    gain = spread**2 / (spread**2 + stated**2)
    source = SourceLikelihood("a", sp.csr_array((n, 1)), y, ErrorModel(np.full(n, stated**2)))
    part = AuditedLikelihood(source, Audit(n, owned=np.ones(n, bool)))
    half = stated * np.sqrt(gain / 2)  # of the distance of two members with the variance of the analysis
    sums = statistics(part, Expectation(np.zeros(n), np.full(n, spread)), np.stack([gain * y - half, gain * y + half]))
    table = report(["a"], ["K"], sums[None], after=True)
    # Products alone tell stated^2 (spread^2 + 1) / (spread^2 + stated^2), which is right where the stated error is.
    np.testing.assert_allclose(table["estimated_error"], 1.0, rtol=0.05)
    assert re.match(words, table["advice"].item())
