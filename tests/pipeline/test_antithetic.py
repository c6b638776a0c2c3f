"""Members that come in pairs, through the public API."""

import numpy as np
import pytest
import xarray as xr

import xslams
from xslams import scores
from xslams.model import Model


@pytest.fixture(scope="module")
def case(tiny_model: Model) -> tuple[xr.Dataset, xslams.Observation]:
    """A draw from the prior as the truth, and stations that report it."""
    spec = tiny_model.spec
    time = np.datetime64("2001-01-01", "ns") + np.arange(5) * np.timedelta64(1, "D")
    empty = xr.Dataset(
        {"t": (("time", "level", "lat", "lon"), np.zeros((5, 2, 8, 16)), {"units": "K"})},
        {"time": time, "level": [850.0, 500.0], "lat": list(spec.lat), "lon": list(spec.lon)},
    )
    empty["lat"].attrs["units"], empty["lon"].attrs["units"] = "degrees_north", "degrees_east"
    empty["level"].attrs = {"units": "hPa", "axis": "Z"}
    truth = empty.slams.assimilate([], tiny_model, members=1, seed=7).isel(member=0, drop=True)
    return truth, xslams.simulate_observations(truth["t"], stations=30, error=0.5, seed=1)


def test_the_mean_of_a_pair_is_nearly_that_of_many(
    tiny_model: Model, case: tuple[xr.Dataset, xslams.Observation]
) -> None:
    truth, stations = case
    options = {"steps": 8, "model": tiny_model}
    many = truth.slams.assimilate(stations, members=32, seed=1, **options)["t"]
    pair = truth.slams.assimilate(stations, members=2, antithetic=True, **options)["t"]
    two = truth.slams.assimilate(stations, members=2, **options)["t"]
    np.testing.assert_array_equal(pair[0], two[0])
    spread = float(many.std("member").mean())
    error = {
        name: float(np.sqrt(((e.mean("member") - many.mean("member")) ** 2).mean()))
        for name, e in (("pair", pair), ("two", two))
    }
    # Of two independent members 0.7 of the spread; 32 leave a sixth of it to themselves.
    assert error["two"] > 0.6 * spread
    assert error["pair"] < 0.3 * spread
    # Each is a draw as any other.
    ratio = np.sqrt(float(((pair - many.mean("member")) ** 2).mean()) / float(many.var("member").mean()))
    assert 0.9 < ratio < 1.1


def test_scores_know_of_the_pairs(tiny_model: Model, case: tuple[xr.Dataset, xslams.Observation]) -> None:
    truth, stations = case
    analysis = truth.slams.assimilate(stations, tiny_model, members=4, steps=8, antithetic=True)
    assert "opposite sign" in analysis["member"].attrs["antithetic"]
    variance = analysis["t"].var("member", ddof=0)
    weighted = variance.weighted(scores.area_weights(truth)).mean(("time", "lat", "lon"))
    np.testing.assert_allclose(analysis.slams.score(truth)["spread"] ** 2, weighted, rtol=1e-5)
    plain = truth.slams.assimilate(stations, tiny_model, members=4, steps=8)
    assert "antithetic" not in plain["member"].attrs
