"""The path from a Dataset to an ensemble: segments, laziness, provenance, and what it says about bad input."""

from __future__ import annotations

import pickle

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xslams
from xslams.errors import (
    ChunkError,
    CoverageError,
    DimensionError,
    GridError,
    ModelError,
    OptionError,
    SlamsWarning,
    UnitError,
    VariableError,
)
from xslams.pipeline import segment, windows

FAST = {"members": 2, "steps": 2}


def refuse(*args, **kwargs):
    raise AssertionError("computed while the graph was built")


def waves(days: int = 8, start: str = "2001-01-01", seed: int = 0) -> xr.Dataset:
    """Fields of the kind that the tiny model was trained on."""
    rng = np.random.default_rng(seed)
    lat, lon = np.linspace(-70.0, 70.0, 8), np.arange(16) * 22.5
    wave = np.sin(np.deg2rad(lon) * 2 - 0.3 * np.arange(days)[:, None, None]) * np.cos(np.deg2rad(lat))[:, None]
    t = np.stack([285 + 8 * wave, 250 + 5 * np.roll(wave, 1, axis=-1)], axis=1) + rng.normal(0, 0.5, (days, 2, 8, 16))
    return xr.Dataset(
        {
            "t": (("time", "level", "lat", "lon"), t, {"units": "K", "standard_name": "air_temperature"}),
            "pr": (
                ("time", "lat", "lon"),
                np.maximum(4 * wave - 1, 0),
                {"units": "mm/day", "standard_name": "precipitation_flux"},
            ),
        },
        coords={
            "time": pd.date_range(start, periods=days),
            "level": ("level", [850.0, 500.0], {"units": "hPa", "axis": "Z"}),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
        attrs={"history": "made for a test"},
    )


def gauges(truth: xr.Dataset) -> xslams.Observation:
    return xslams.simulate_observations(truth["t"], stations=30, error=0.5, seed=1)


@given(st.integers(1, 400), st.integers(0, 10), st.integers(11, 50))
def test_segments_tile_the_time_axis(frames, overlap, core):
    cut = windows.analysis_windows(frames, overlap, core)
    assert [s.first for s in cut] == [0, *(s.last for s in cut[:-1])]
    assert cut[-1].last == frames
    for s in cut:
        assert s.start == max(s.first - overlap, 0)
        assert s.stop == min(s.last + overlap, frames)
        assert s.first % core == 0
        assert len(range(frames)[s.start : s.stop][s.kept]) == s.last - s.first
    assert len(cut) == 1 or frames > core + windows._REST


def test_result_is_an_ensemble_with_cf_metadata(tiny_model):
    truth = waves()
    analysis = truth.slams.assimilate([gauges(truth)], tiny_model, **FAST, seed=3)
    assert dict(analysis.sizes) == {"member": 2, "time": 8, "level": 2, "lat": 8, "lon": 16}
    assert set(analysis.data_vars) == {"t"}
    assert analysis["t"].dims == ("member", "time", "level", "lat", "lon")
    assert analysis["t"].dtype == np.float32
    assert analysis["t"].attrs["units"] == "K"
    assert analysis["t"].attrs["standard_name"] == "air_temperature"
    assert analysis["member"].attrs["standard_name"] == "realization"
    assert np.isfinite(analysis["t"]).all()
    attrs = analysis.attrs
    assert attrs["history"].startswith("made for a test\n")
    assert "assimilate(model='tiny'" in attrs["history"]
    assert attrs["xslams_version"] == xslams.__version__
    assert attrs["xslams_model"] == "tiny"
    assert attrs["xslams_model_sha256"] == tiny_model.sha256
    assert (attrs["xslams_seed"], attrs["xslams_steps"], attrs["xslams_guidance"]) == (3, 2, "mmps")
    assert attrs["xslams_observations"] == "t"


def test_result_can_be_written(tiny_model, tmp_path):
    truth = waves()
    analysis = truth.slams.assimilate(gauges(truth), tiny_model, **FAST)
    analysis.to_zarr(tmp_path / "analysis.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "analysis.zarr", consolidated=False)
    xr.testing.assert_identical(back.compute(), analysis)
    analysis.to_netcdf(tmp_path / "analysis.nc")


def test_observations_draw_the_analysis_to_the_truth(tiny_model):
    truth = waves()
    prior = truth.slams.assimilate([], tiny_model, members=4, steps=8)
    posterior = truth.slams.assimilate([gauges(truth)], tiny_model, members=4, steps=8)
    assert (posterior.slams.score(truth)["crps"] < 0.8 * prior.slams.score(truth)["crps"]).all()


def test_values_of_the_dataset_are_not_used_without_a_background(tiny_model):
    truth = waves()
    obs = gauges(truth)
    expected = truth.slams.assimilate(obs, tiny_model, **FAST)
    for other in (xr.full_like(truth, np.nan), truth[["pr"]], truth.drop_vars(["t", "pr", "level"])):
        xr.testing.assert_equal(other.slams.assimilate(obs, tiny_model, **FAST), expected)
    da = truth["t"].slams.assimilate(obs, tiny_model, **FAST)
    xr.testing.assert_equal(da, expected)


def test_fewer_frames_than_the_window_and_gaps(tiny_model):
    truth = waves()
    one = truth.isel(time=[4]).slams.assimilate(gauges(truth), tiny_model, **FAST)
    assert dict(one.sizes) == {"member": 2, "time": 1, "level": 2, "lat": 8, "lon": 16}
    assert np.isfinite(one["t"]).all()
    with pytest.warns(SlamsWarning, match="2 of 8 times lie between the frames"):
        gap = truth.isel(time=[0, 1, 2, 5, 6, 7]).slams.assimilate(gauges(truth), tiny_model, **FAST)
    for part in (slice(0, 3), slice(5, 8)):
        alone = truth.isel(time=part).slams.assimilate(gauges(truth), tiny_model, **FAST)
        xr.testing.assert_equal(gap.sel(time=alone["time"]), alone)


def test_background_is_a_source(tiny_model):
    truth = waves()
    background = truth[["t"]] + 3.0
    background["t"].attrs = truth["t"].attrs
    near = background.slams.assimilate([], tiny_model, members=2, steps=8, background_error=0.3)
    far = background.slams.assimilate([], tiny_model, members=2, steps=8)
    error = {k: float(abs(a["t"].mean("member") - background["t"]).mean()) for k, a in (("near", near), ("far", far))}
    assert error["near"] < 0.7 * error["far"]
    assert near.attrs["xslams_background_error"] == "0.3"


def test_result_is_on_the_grid_of_the_dataset(tiny_model):
    truth = waves()
    turned = truth.isel(lat=slice(None, None, -1)).assign_coords(lon=(truth["lon"] + 180) % 360 - 180).sortby("lon")
    obs = gauges(truth)
    expected = truth.slams.assimilate(obs, tiny_model, **FAST)
    result = turned.slams.assimilate(obs, tiny_model, **FAST)
    assert result["lat"].values[0] == 70
    back = result.assign_coords(lon=result["lon"] % 360).sortby(["lat", "lon"])
    np.testing.assert_array_equal(back["t"], expected["t"])


@pytest.fixture(scope="module")
def long(tiny_model):
    """Three segments, computed at once."""
    truth = waves(75)
    return truth, truth.slams.assimilate([gauges(truth)], tiny_model, **FAST)


@pytest.mark.parametrize("chunks", [{"time": 75}, {"time": 7}, {"time": (1, 44, 30)}])
def test_lazy_result_equals_eager_one_whatever_the_chunks(tiny_model, long, chunks):
    truth, expected = long
    with dask.config.set(scheduler=refuse):
        lazy = truth.chunk(chunks).slams.assimilate([gauges(truth)], tiny_model, **FAST)
    assert lazy["t"].dtype == np.float32
    assert isinstance(lazy["t"].data._meta, np.ndarray)
    assert lazy["t"].chunksizes["time"] == (30, 30, 15)
    xr.testing.assert_equal(lazy.compute(scheduler="sync"), expected)


def test_lazy_observations_and_background_stay_lazy(tiny_model):
    truth = waves(45)
    obs = xslams.Observation(gauges(truth).data, error=0.5, method="nearest", name="gauges")
    # Where stations are is read when the graph is built, what they report is not.
    lazy_obs = obs.replace(data=obs.data.copy(data=obs.data.chunk(time=10).data))
    expected = truth.slams.assimilate(obs, tiny_model, **FAST, background_error=2.0)
    with dask.config.set(scheduler=refuse):
        lazy = truth.chunk(time=9).slams.assimilate(lazy_obs, tiny_model, **FAST, background_error=2.0)
    xr.testing.assert_equal(lazy.compute(scheduler="threads"), expected)


def test_correlated_errors_are_the_same_whatever_the_chunks(tiny_model):
    truth = waves(41)
    error = xslams.ErrorCovariance(0.5, length=3000.0, time=48.0)
    obs = xslams.Observation(gauges(truth).data, error=error, method="nearest", name="gauges")
    background = xslams.BackgroundError(2.0, time=36.0)
    options = {"members": 1, "steps": 2, "seed": 3, "background_error": background}
    expected = truth.slams.assimilate(obs, tiny_model, **options)
    lazy = truth.chunk(time=11).slams.assimilate(obs, tiny_model, **options)
    xr.testing.assert_equal(lazy.compute(scheduler="sync"), expected)


def test_an_ensemble_is_a_background_whatever_the_chunks(tiny_model):
    truth = waves(41)
    members = [waves(41, seed=k)[["t"]] + 0.5 * k for k in range(1, 4)]
    ensemble = xr.concat(members, "member")
    ensemble["t"].attrs = truth["t"].attrs
    options = {"members": 1, "steps": 2, "seed": 3, "report": True}
    expected = ensemble.slams.assimilate(gauges(truth), tiny_model, **options)
    assert int(expected.slams.report()["used"].sel(source="background")) == truth["t"].size
    with dask.config.set(scheduler=refuse):
        lazy = ensemble.chunk(time=11, member=2).slams.assimilate(gauges(truth), tiny_model, **options)
    xr.testing.assert_equal(lazy.compute(scheduler="sync"), expected)
    mean = ensemble["t"].mean("member")
    far = truth.slams.assimilate(gauges(truth), tiny_model, **options)
    away = {k: float(abs(a["t"] - mean).mean()) for k, a in (("with", expected), ("without", far))}
    assert away["with"] < away["without"]


def test_a_part_of_a_lazy_result_needs_its_segment_only(tiny_model, long, monkeypatch):
    truth, expected = long
    lazy = truth.chunk().slams.assimilate([gauges(truth)], tiny_model, **FAST)
    calls = []
    run = segment.analyse
    monkeypatch.setattr(segment, "analyse", lambda *a, **k: calls.append(a[4]) or run(*a, **k))
    lazy = truth.chunk().slams.assimilate([gauges(truth)], tiny_model, **FAST)
    xr.testing.assert_equal(lazy.isel(time=[32]).compute(scheduler="sync"), expected.isel(time=[32]))
    assert [s.first for s in calls] == [30]


# Of what the model knows of the season nothing is computed.
@pytest.mark.filterwarnings("ignore:.*days of the year away")
def test_graph_carries_the_model_as_a_handle_and_sources_once(tiny_model):
    truth = waves(200).chunk(time=50)
    obs = gauges(truth.compute())
    lazy = truth.slams.assimilate([obs], tiny_model, **FAST)
    weights = tiny_model.path.stat().st_size
    size = len(pickle.dumps(lazy["t"].data.dask.to_dict()))
    assert size < len(pickle.dumps(obs)) + 100_000
    assert size < weights / 2


def test_distributed_workers_give_the_same(tiny_model):
    from distributed import Client, LocalCluster

    truth = waves(45)
    expected = truth.slams.assimilate([gauges(truth)], tiny_model, **FAST)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        lazy = truth.chunk(time=10).slams.assimilate([gauges(truth)], tiny_model, **FAST)
        xr.testing.assert_equal(lazy.compute(), expected)


def test_an_in_memory_model_works_lazily(tiny_model):
    from xslams.model import Model

    model = Model(tiny_model.spec, prior=tiny_model.prior())
    truth = waves()
    expected = truth.slams.assimilate(gauges(truth), tiny_model, **FAST)
    xr.testing.assert_equal(truth.chunk().slams.assimilate(gauges(truth), model, **FAST).compute(), expected)


def test_more_members_keep_the_first_ones(tiny_model):
    truth = waves()
    two, three = (truth.slams.assimilate(gauges(truth), tiny_model, members=m, steps=2) for m in (2, 3))
    xr.testing.assert_allclose(three.isel(member=slice(2)), two, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:The training data cover")
def test_fit_learns_variables_grid_and_time_step():
    ds = waves(40)
    ds = xr.concat([ds.isel(time=slice(0, 20)), ds.isel(time=slice(25, None))], "time")
    ds["pr"] = (ds["pr"] / 86400).assign_attrs(units="kg m-2 s-1", standard_name="precipitation_flux")
    model = ds[["t"]].slams.fit(
        ds["pr"], window=3, epochs=0, patch=2, hidden=0, autoencoder_epochs=1, progress=False, name="mine"
    )
    spec = model.spec
    assert [(v.name, v.role, v.transform, v.levels) for v in spec.variables] == [
        ("t", "state", "identity", (850.0, 500.0)),
        ("pr", "aux", "sqrt", ()),
    ]
    assert spec.variables[1].scale == pytest.approx(2 / 86400)
    assert (spec.name, spec.time_step, spec.window, spec.periodic) == ("mine", 24.0, 3, True)
    same = ds.slams.fit("pr", window=3, epochs=0, patch=2, hidden=0, autoencoder_epochs=1, progress=False)
    assert same.spec.variables == spec.variables


def test_bad_input_to_fit_is_named():
    ds = waves(10)
    with pytest.raises(OptionError, match="window=4; expected an odd"):
        ds.slams.fit("pr", window=4)
    with pytest.raises(VariableError, match=r"\['rain'\] are not in the Dataset"):
        ds.slams.fit("rain")
    with pytest.raises(VariableError, match="No variable is left"):
        ds.slams.fit(["t", "pr"])
    with pytest.raises(UnitError, match="'t' has no units"):
        ds.drop_attrs().assign_coords(ds.coords).slams.fit("pr")
    with pytest.raises(CoverageError, match=r"^\d+ of \d+ values of 't'.*dropna"):
        ds.where(ds["lat"] > -60).isel(lat=slice(None)).where(ds["time"] == ds["time"][0], ds).slams.fit("pr")
    with pytest.raises(DimensionError, match="No stretch of 11 frames"):
        ds.slams.fit("pr", window=11)
    with pytest.raises(GridError, match="must be on the same grid"):
        ds[["t"]].slams.fit(ds[["pr"]].isel(lat=slice(4)))
    with pytest.raises(CoverageError, match="no time in common"):
        ds[["t"]].slams.fit(waves(10, "2010-01-01")[["pr"]])


def test_bad_input_to_assimilate_is_named(tiny_model):
    truth = waves()
    obs = gauges(truth)

    def call(ds=truth, obs=obs, model=tiny_model, **options):
        return ds.slams.assimilate(obs, model, **FAST | options)

    with pytest.raises(CoverageError, match="No time overlaps"):
        call(ds=waves(start="2005-01-01"))
    with pytest.raises(CoverageError, match="No time overlaps"):
        call(ds=waves(45, start="2005-01-01"))
    with pytest.raises(GridError, match=r"slams\.regrid"):
        call(ds=truth.isel(lat=slice(4)))
    with pytest.raises(DimensionError, match="more than once"):
        call(ds=xr.concat([truth, truth.isel(time=[-1])], "time"))
    with pytest.raises(DimensionError, match="12 h apart"):
        call(ds=truth.assign_coords(time=pd.date_range("2001-01-01", periods=8, freq="12h")))
    with pytest.raises(ChunkError, match=r"chunk\(\{'lat': -1\}\)"):
        call(ds=truth.chunk(lat=4))
    with pytest.raises(VariableError, match="1 of the 1 variables"):
        call(ds=truth[["pr"]], background_error=1.0)
    with pytest.raises(VariableError, match="auxiliary variables are not analysed"):
        call(variables=["pr"])
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        call(model="nonsense")
    with pytest.raises(OptionError, match="members=0; expected a positive"):
        call(members=0)
    with pytest.raises(OptionError, match="overlap=-1"):
        call(overlap=-1)
    with pytest.raises(ModelError, match="does not say which model"):
        truth.slams.decode()
    with pytest.raises(VariableError, match="needs a variable 'latent'"):
        truth.slams.decode(tiny_model)
    with pytest.raises(ModelError, match="encoded by another model"):
        truth.slams.encode(tiny_model).assign_coords(latent_model_sha256="0" * 64).slams.decode(tiny_model)
