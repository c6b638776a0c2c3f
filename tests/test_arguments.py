"""Arguments out of range are refused at the call, by an error that says what was expected."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.pipeline.test_assimilate import FAST, gauges, waves
from xslams.arguments import is_number, is_whole, shown
from xslams.errors import ObservationError, ObservationOptionError, OptionError
from xslams.inference.guidance import MMPS
from xslams.options import MOST_MEMBERS, ComputeOptions, EnsembleOptions, SamplerOptions

# Of no type and range that any option has.
STRANGE = st.sampled_from(
    [None, True, -1, -0.5, 1.5, math.nan, math.inf, 10**400, "", "many", [1], {}, object(), 1j, b"1"]
)


class Other:
    """Of no use, and the same in the name of a test in every process."""

    def __repr__(self) -> str:
        return "other"


OTHER = Other()


@pytest.fixture(scope="module")
def state():
    return waves()


@given(STRANGE)
def test_checks_never_fail_themselves(value):
    assert isinstance(shown(value), str) and "\n" not in shown(value)
    assert is_whole(value, 0) in (True, False)
    assert is_number(value, 0.0) in (True, False)
    for kind, name in (
        (EnsembleOptions, "members"), (EnsembleOptions, "seed"), (EnsembleOptions, "overlap"),
        (SamplerOptions, "steps"), (SamplerOptions, "corrections"), (SamplerOptions, "guidance"),
        (SamplerOptions, "sampler"), (ComputeOptions, "batch_size"), (ComputeOptions, "precision"),
    ):  # fmt: skip
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and value > 0
            and name in ("overlap", "batch_size", "seed")
        ):
            continue
        with pytest.raises(OptionError, match=rf"{name}=|Unknown {name}"):
            kind(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1}, {"seed": 2**64}, {"seed": 1.0}, {"members": 10**9}, {"members": MOST_MEMBERS + 1},
        {"members": 2.0}, {"members": True}, {"overlap": "all"}, {"steps": 10**9}, {"corrections": -1},
        {"background_error": 0}, {"background_error": -1.0}, {"background_error": math.nan}, {"background_error": "1"},
        {"background_error": {"t": 0}}, {"background_error": {"t": None}}, {"background_error": True},
        {"background_error": xr.DataArray(0.0)}, {"device": "abacus"}, {"device": 3}, {"device": ""},
        {"device": "meta"}, {"report": "no"}, {"compile": 1}, {"antithetic": None}, {"progress": "yes"},
        {"guidance": 3}, {"guidance": None}, {"sampler": MMPS}, {"variables": 3}, {"precision": ["bf16"]},
    ],
    ids=str,
)  # fmt: skip
def test_assimilate_refuses_options_out_of_range_at_the_call(tiny_model, state, options):
    for ds in (state, state.chunk(time=4)):
        with pytest.raises(OptionError):
            ds.slams.assimilate(gauges(state), tiny_model, **FAST | options)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:99"])
def test_a_device_that_is_not_there(tiny_model, state, device):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() and device != "cuda:99":
        pytest.skip("has such a device")
    obs = gauges(state)
    with pytest.raises(OptionError, match=f"device='{device}' cannot be used"):
        state.slams.assimilate(obs, tiny_model, **FAST, device=device)
    with pytest.raises(OptionError, match=f"device='{device}' cannot be used"):
        state.chunk(time=4).slams.encode(tiny_model, device=device)
    with pytest.raises(OptionError, match=f"device='{device}' cannot be used"):
        state.slams.fit("pr", device=device)


@pytest.mark.filterwarnings("ignore:.* days of the year away from what the model")
def test_more_than_the_memory_is_refused_before_it_is_taken(tiny_model, state):
    long = xr.concat(
        [waves(366, f"{year}-01-01").isel(level=[0, 1]).coords.to_dataset() for year in (2000, 2004)], "time"
    )
    with pytest.raises(OptionError, match=r"members=1048576 over 732 frames take .* GiB"):
        long.slams.assimilate(gauges(state), tiny_model, members=MOST_MEMBERS)


@pytest.mark.parametrize("empty", [{"time": slice(0)}, {"lat": slice(0)}, {"time": slice(0), "lon": slice(0)}])
def test_an_empty_state_is_refused(tiny_model, state, empty):
    nothing, obs = state.isel(empty), gauges(state)
    for call in (
        lambda: nothing.slams.assimilate(obs, tiny_model),
        lambda: nothing.slams.check(obs, tiny_model),
        lambda: nothing.slams.encode(tiny_model),
        lambda: nothing.slams.fit("pr"),
        lambda: xr.Dataset().slams.assimilate(obs, tiny_model),
    ):
        with pytest.raises(OptionError, match="The Dataset is empty"):
            call()


def test_swapped_arguments_are_named(tiny_model, state):
    obs = gauges(state)
    with pytest.raises(OptionError, match=r"model=<xslams.Observation 't'.*observations come before the model"):
        state.slams.assimilate(tiny_model, obs)
    with pytest.raises(OptionError, match="model=a Dataset"):
        state.slams.encode(state)
    with pytest.raises(OptionError, match="model="):
        state.slams.check("speedy-t30", [obs])
    with pytest.raises(OptionError, match="obs= must be"):
        state.slams.assimilate(3, tiny_model)
    with pytest.raises(OptionError, match=r"variable=1.5; expected a name.*error=1.5"):
        xslams.Observation(state["t"], 1.5)
    with pytest.raises(OptionError, match="needs an xarray"):
        xslams.Observation(1.5, state["t"])
    with pytest.raises(OptionError, match=r"got DataFrame.*to_xarray\(\)\.set_coords"):
        xslams.Observation(state["t"].to_dataframe())


SETTINGS = {
    "variable": [1.5, [1], {"a": 1}, {1: "a"}],
    "error": [-1, -1e-9, math.nan, math.inf, True, "t", [1.0], {"t": -1}, {"t": "x"}, {"t": {"t": 1}}, 10**400],
    "method": ["best", None, 3, ["nearest"]],
    "tolerance": [-1, "-3h", "soon", math.nan, True, [1], {}, -np.timedelta64(1, "h")],
    "qc": [3, "flags", {"thin": 0}, {"thin": "x"}, {"bias": "x"}, {"bias": math.nan}, {"bias_error": -1},
           {"nothing": 1}, {"bias_per": 3}, {"representativeness": -1}, {"robust": ["huber"]},
           {"background_check": True}],
    "operator": [3, [abs]],
    "name": [3, ["a"]],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in SETTINGS.items() for v in values], ids=str)
def test_an_observation_refuses_settings_at_the_call(state, name, value):
    good = xslams.Observation(state["t"], error=1.0)
    for make in (lambda: xslams.Observation(state["t"], **{name: value}), lambda: good.replace(**{name: value})):
        with pytest.raises(ObservationOptionError) as caught:
            make()
        assert isinstance(caught.value, OptionError) and isinstance(caught.value, ObservationError)


def test_settings_in_range_are_kept(state):
    error = {"t": 1, "pr": xr.DataArray(0.5)}
    kept = xslams.Observation(state, ("t", "pr"), error, None, "nearest", "3h", {"bias": -1.0}, "both")
    assert (kept.error, kept.tolerance, kept.method, kept.name) == (error, 3.0, "nearest", "both")
    assert xslams.Observation(state["t"], error=np.float32(1.5), tolerance=np.timedelta64(90, "m")).tolerance == 1.5
    assert xslams.Observation(state["t"], error=np.array(1.5)).error == 1.5
    assert xslams.Observation(state["t"], error=0).error == 0


@settings(max_examples=10)
@given(STRANGE, st.sampled_from(["seed", "window", "epochs", "latent_channels", "progress", "name", "summary"]))
def test_fit_refuses_options_out_of_range_at_the_call(value, name):
    allowed = (value is None and name in ("epochs", "latent_channels", "progress")) or (
        value is True and name == "progress"
    )
    allowed |= isinstance(value, str) and name in ("name", "summary")
    if allowed or (isinstance(value, int) and value > 0):
        return
    with pytest.raises(OptionError, match=f"{name}="):
        waves(4).slams.fit("pr", **{name: value})


@pytest.mark.parametrize("options", [
    {"error": -1}, {"error": "1"}, {"seed": -1}, {"mask": "half"}, {"mask": 2.0}, {"mask": True},
])  # fmt: skip
def test_simulated_observations_refuse_options_out_of_range(state, options):
    with pytest.raises(OptionError):
        xslams.simulate_observations(state["t"], **options)


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        *(("score", {"truth": t}) for t in (None, 3, "truth.nc", [1.0])),
        *(("score", {"dims": d}) for d in ("time", ["tiem"], 3, [["time"]], {"time": 1}, [None], b"time")),
        *(("plot", {"truth": t}) for t in (3, "truth.nc")),
        *(("plot", {"level": v}) for v in ("500", math.nan, [500.0], True)),
        *(("plot", {"time": v}) for v in ("soon", OTHER, {}, "2001-13-45")),
        *(("plot", {"kind": v}) for v in (3, None, "map", ["maps"], np.ones(2))),
        ("plot", {"variable": ["t"]}),
        *(("regrid", {"target": t}) for t in (None, 3, [10.0], OTHER)),
        *(("regrid", {"method": m}) for m in (None, 3, "cubic", ["nearest"], np.ones(2))),
        *(("regrid", {"engine": e}) for e in (None, 3, "esmf", ["xesmf"])),
        *(("regrid", {"edges": e}) for e in (None, 3, "straight", ["parallel"])),
        *(("to_zarr", {"store": s}) for s in (None, 3, "", [1], {})),
        *(("to_zarr", {"resume": r}) for r in (None, 1, "yes")),
        *(("to_zarr", {"progress": r}) for r in (0, 1, "yes")),
        *(("to_zarr", {"storage_options": r}) for r in (1, "anon", [1])),
    ],
    ids=str,
)  # fmt: skip
def test_other_verbs_refuse_arguments_at_the_call(state, tmp_path, verb, arguments):
    """One option at a time; the error names it, or the kind of what is unknown."""
    analysis = state.expand_dims(member=2).chunk(time=4) if verb == "to_zarr" else state.expand_dims(member=2)
    good = {
        "score": {"truth": state},
        "plot": {"truth": state, "variable": "t"},
        "regrid": {"target": state.isel(lat=slice(2, 5))},
        "to_zarr": {"store": tmp_path / "run.zarr"},
    }[verb]
    (name,) = arguments
    named = {"kind": "Unknown kind of plot", "method": "Unknown .*method", "engine": "Unknown .*engine"}
    with pytest.raises(OptionError, match=f"{name}=|{named.get(name, 'Unknown')}"):
        getattr(analysis.slams, verb)(**good | arguments)
    assert not list(tmp_path.iterdir())
