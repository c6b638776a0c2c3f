"""Parts that join from outside of the package, one registration each, run through the accessor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from azula.denoise import Denoiser, GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance
from azula.noise import VESchedule
from torch import Tensor, nn

import xslams
from tests.problems import geometries
from xslams.errors import ModelError, OptionError
from xslams.inference.guidance import GUIDANCE, MMPS, Guidance, LinearProblem
from xslams.inference.samplers import DDIM, SAMPLERS, Run, Sampler
from xslams.observations import OPERATORS
from xslams.priors.base import PRIORS, Prior
from xslams.registries import Registry
from xslams.spec import Spec, VariableSpec

LAT, LON = np.linspace(-60.0, 60.0, 5), np.arange(8) * 45.0
SPEC = Spec(
    variables=(VariableSpec("t", "K", standard_name="air_temperature"),), lat=tuple(LAT), lon=tuple(LON),
    periodic=True, window=1, name="white", kind="white",
)  # fmt: skip
MEAN, STD, ERROR = 280.0, 10.0, 5.0
# Values are independent, so that frames serve statistics as members do, and cost less.
FRAMES, MEMBERS = 12, 16


@contextmanager
def registered(registry: Registry, name: str, part: object) -> Iterator[None]:
    """Register a part for a while."""
    registry.register(name)(part)
    try:
        yield
    finally:
        registry.unregister(name)


class White(nn.Module, Prior):
    """Independent values of one mean and standard deviation, everywhere."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.frame = spec.frame_shape
        self.register_buffer("mean", torch.tensor(MEAN))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.frame

    def denoiser(self, length: int, season: Tensor) -> Denoiser:
        ones = torch.ones(length, *self.frame)
        return GaussianDenoiser(torch.zeros_like(ones), DiagonalCovariance(ones), VESchedule(0.01, 100.0))

    def encode(self, x: Tensor, season: Tensor) -> Tensor:
        return torch.nan_to_num((x - self.mean) / STD)

    def decode(self, z: Tensor, season: Tensor) -> Tensor:
        return self.mean + STD * z

    def climatology(self, season: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(season), *self.frame)
        return self.mean.expand(shape), torch.full(shape, STD)

    def storage_state(self) -> dict[str, Tensor]:
        return self.state_dict()


@pytest.fixture
def white() -> Iterator[xslams.Model]:
    with registered(PRIORS, "white", White):
        yield xslams.Model(SPEC, prior=White(SPEC))


@pytest.fixture
def state() -> xr.Dataset:
    return xr.Dataset(coords={"time": pd.date_range("2001-01-01", periods=FRAMES), "lat": LAT, "lon": LON})


@pytest.fixture
def stations(state: xr.Dataset) -> xslams.Observation:
    """Values of every second cell."""
    data = xr.DataArray(
        np.random.default_rng(0).normal(MEAN, STD, (FRAMES, 5, 4)), dims=("time", "lat", "lon"), name="t",
        coords={"time": state["time"], "lat": LAT, "lon": LON[::2]},
        attrs={"units": "K", "standard_name": "air_temperature"},
    )  # fmt: skip
    return xslams.Observation(data, error=ERROR, method="nearest")


def pooled(members: xr.DataArray) -> float:
    """Standard deviation of members, the same for all values."""
    return float(members.var("member", ddof=1).mean()) ** 0.5


def check_exact(analysis: xr.Dataset, stations: xslams.Observation) -> None:
    """The posterior of independent values is known."""
    members = analysis.sizes["member"]
    seen, gain = analysis["t"].sel(lon=LON[::2]), STD**2 / (STD**2 + ERROR**2)
    exact, spread = MEAN + gain * (stations.data - MEAN), ERROR * gain**0.5
    assert float(abs(seen.mean("member") - exact).max()) < 4.5 * spread / members**0.5
    assert float(abs(seen.mean("member") - exact).mean()) < spread / members**0.5
    assert abs(float((seen.mean("member") - exact).mean())) < 4.5 * spread / (members * exact.size) ** 0.5
    assert pooled(seen) == pytest.approx(spread, rel=0.05)
    unseen = analysis["t"].sel(lon=LON[1::2])
    assert float(abs(unseen.mean("member") - MEAN).max()) < 4.5 * STD / members**0.5
    assert float(abs(unseen.mean() - MEAN)) < 4.5 * STD / unseen.size**0.5
    assert pooled(unseen) == pytest.approx(STD, rel=0.05)


def test_a_prior(white, state, stations, tmp_path):
    check_exact(state.slams.assimilate(stations, white, members=MEMBERS, steps=16), stations)
    loaded = xslams.Model.load(white.save(tmp_path / "white.safetensors"))
    assert isinstance(loaded.prior(), White)
    xr.testing.assert_equal(
        state.slams.assimilate(stations, loaded, members=2, steps=4),
        state.slams.assimilate(stations, white, members=2, steps=4),
    )
    report = state.slams.assimilate(stations, white, members=4, steps=4, report=True).slams.report()
    assert int(report["used"].sum()) == stations.data.size


def test_a_kind_of_prior_that_nobody_knows_is_named(state, stations, tmp_path):
    with registered(PRIORS, "white", White):
        path = xslams.Model(SPEC, prior=White(SPEC)).save(tmp_path / "white.safetensors")
    with pytest.raises(ModelError, match="kind 'white'; this xslams knows 'latent', 'markov'"):
        state.slams.assimilate(stations, path)


@dataclass(frozen=True)
class Diagonal(Guidance):
    """Weights as if observations were independent of each other given the prior; exact for independent values."""

    variance: float = STD**2

    def weights(self, problem: LinearProblem, memory: object) -> tuple[Tensor, object]:
        ratio = problem.sigma**2 / (problem.alpha**2 + problem.sigma**2)
        return problem.innovation / (ERROR**2 + self.variance * ratio), None


def test_a_guidance(white, state, stations):
    with registered(GUIDANCE, "diagonal", Diagonal):
        check_exact(state.slams.assimilate(stations, white, members=MEMBERS, steps=16, guidance="diagonal"), stations)
    check_exact(state.slams.assimilate(stations, white, members=MEMBERS, steps=16, guidance=Diagonal()), stations)
    with pytest.raises(OptionError, match=r"Unknown guidance 'mmp'\. Did you mean 'mmps'\?"):
        state.slams.assimilate(stations, white, guidance="mmp")


@dataclass(frozen=True)
class Late(Sampler):
    """A sampler that takes half of its steps twice as long; only to be another one."""

    def sample(self, run: Run, x: Tensor) -> Tensor:
        return DDIM().sample(run, x)


def test_a_sampler(white, state, stations):
    with registered(SAMPLERS, "late", Late):
        ours = state.slams.assimilate(stations, white, members=4, steps=16, sampler="late")
    xr.testing.assert_equal(ours, state.slams.assimilate(stations, white, members=4, steps=16, sampler="ddim"))
    with pytest.raises(OptionError, match=r"Unknown sampler 'unipcc'\. Did you mean 'unipc'\?"):
        state.slams.assimilate(stations, white, sampler="unipcc")


def test_settings_are_part_of_what_a_store_belongs_to(white, state, stations):
    first, second = (
        state.slams.assimilate(stations, white, members=1, steps=4, guidance=MMPS(iterations=n)) for n in (1, 2)
    )
    assert first.attrs["xslams_guidance"] != second.attrs["xslams_guidance"]
    assert replace(MMPS(), iterations=1) == MMPS(iterations=1)


def test_an_operator(white, state, stations):
    """Twice the temperature, in units of its own, is as good as the temperature with half the error."""

    def doubled(fields):
        return 2.0 * fields["t"]

    data = (2.0 * stations.data).rename("signal").assign_attrs(units="1", standard_name=None)
    del data.attrs["standard_name"]
    with registered(OPERATORS, "doubled", doubled):
        named = xslams.Observation(data, error=2.0 * ERROR, operator="doubled", method="nearest")
    given = xslams.Observation(data, error=2.0 * ERROR, operator=doubled, method="nearest")
    check_exact(state.slams.assimilate(named, white, members=MEMBERS, steps=16), stations)
    xr.testing.assert_equal(
        state.slams.assimilate(named, white, members=2, steps=4),
        state.slams.assimilate(given, white, members=2, steps=4),
    )
    with pytest.raises(OptionError, match=r"Unknown observation operator 'doubled'\. None is registered\."):
        stations.replace(operator="doubled")


def test_a_geometry(white, state):
    """The mean over a hexagon inside a cell of the model observes that cell, and no other."""
    with geometries.registered():
        hexagon = geometries.honeycomb(rows=1, columns=1, radius=4.0, lat=3.0, lon=135.0)
        data = geometries.on_hexagons(np.full((FRAMES, 1), MEAN + 2 * STD), hexagon, time=state["time"])
        data.attrs["standard_name"] = "air_temperature"
        source = xslams.Observation(data, error=ERROR, method="conservative")
        analysis = state.slams.assimilate(source, white, members=MEMBERS, steps=16)["t"]
    gain = STD**2 / (STD**2 + ERROR**2)
    seen, unseen = analysis.sel(lat=0.0, lon=135.0), analysis.sel(lat=[-60.0, -30.0, 30.0, 60.0])
    assert float(seen.mean()) == pytest.approx(MEAN + gain * 2 * STD, abs=1.5)
    assert pooled(seen) == pytest.approx(ERROR * gain**0.5, rel=0.2)
    assert float(unseen.mean()) == pytest.approx(MEAN, abs=1.0)
    assert pooled(unseen) == pytest.approx(STD, rel=0.05)
