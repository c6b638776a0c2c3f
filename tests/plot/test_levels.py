"""Plots and scores find levels as everything else does: by standard name, positive and axis, and only then by names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from tests.pipeline.test_assimilate import waves
from xslams import scores
from xslams.plot.fields import at_level, level_of

HPA = np.array([850.0, 500.0, 250.0])
# What data call their levels, as attributes and values of the dimension and of a coordinate along it.
KINDS = {
    "numbered": (("lev", None), ("p", {"standard_name": "air_pressure", "units": "hPa"})),
    "numbers with an axis": (("lev", {"axis": "Z"}), ("pres", {"standard_name": "air_pressure", "units": "hPa"})),
    "positive down": (("k", None), ("depth_of_air", {"positive": "down", "units": "hPa"})),
    "plain": (("level", {"units": "hPa"}), None),
    "axis": (("z", {"axis": "Z", "units": "hPa"}), None),
}


def field(kind: str, order: tuple[int, ...] = (0, 1, 2), units: str = "hPa") -> xr.DataArray:
    """Levels of which the value is the pressure in hPa, in some order."""
    values = HPA[list(order)]
    (dim, attrs), along = KINDS[kind]
    scaled = values * (100.0 if units == "Pa" else 1.0)
    own = np.arange(1, 4)[list(order)] if along is not None else scaled
    da = xr.DataArray(
        np.broadcast_to(values[:, None, None], (3, 3, 4)).copy(),
        {"lat": [-30.0, 0.0, 30.0], "lon": [0.0, 90.0, 180.0, 270.0]},
        (dim, "lat", "lon"),
        "t",
        {"units": "K"},
    )
    if attrs is not None or along is None:
        da = da.assign_coords({dim: (dim, own, {**(attrs or {}), **({"units": units} if along is None else {})})})
    return da if along is None else da.assign_coords({along[0]: (dim, scaled, {**along[1], "units": units})})


@pytest.mark.parametrize("kind", KINDS)
def test_a_level_is_selected_by_the_coordinate_that_says_where_it_is(kind):
    for units in ("hPa", "Pa"):
        da = field(kind, (2, 0, 1), units)
        chosen = at_level(da, 510.0 * (100.0 if units == "Pa" else 1.0))
        assert set(np.unique(chosen)) == {500.0}
        # A level of another field brings its units.
        assert set(np.unique(at_level(field(kind), level_of(chosen)))) == {500.0}
    assert set(np.unique(at_level(field(kind), None))) == {850.0}


@pytest.mark.parametrize("theirs", KINDS)
@pytest.mark.parametrize("ours", KINDS)
def test_scores_pair_levels_whatever_they_are_called(ours, theirs):
    numbered = KINDS[ours][1] is not None
    truth = field(theirs, (1, 2, 0), "Pa")
    score = scores.bias(field(ours), truth)
    assert score.sizes == {KINDS[ours][0][0]: 3} and float(abs(score).max()) == 0.0
    assert not numbered or KINDS[ours][1][0] in score.coords


@pytest.mark.parametrize("kind", ["auto", "rank_histogram"])
def test_plots_compare_with_the_truth_of_the_same_level(kind):
    rng = np.random.default_rng(0)
    truth = xr.concat([field("plain", (2, 1, 0), "Pa")], pd.Index(pd.date_range("2001-01-01", periods=1), name="time"))
    analysis = field("numbers with an axis").expand_dims(time=truth.time).expand_dims(member=3)
    analysis = analysis + rng.normal(0, 1e-3, analysis.shape)
    analysis.attrs = {"units": "K"}
    figure = analysis.to_dataset(name="t").slams.plot(truth.to_dataset(name="t"), level=500.0, kind=kind)
    texts = [ax.get_title() for ax in figure.axes] + [figure.get_suptitle()]
    if kind == "auto":
        assert any("RMSE 0.00 K" in text for text in texts) and any("pres 500 hPa" in text for text in texts)
    else:
        # Of another level all members would be on one side.
        heights = [patch.get_height() for patch in figure.axes[0].patches]
        assert sum(height > 0 for height in heights) > 1
    plt.close(figure)


def test_an_analysis_of_one_level_is_compared_with_that_level_of_the_truth():
    truth = waves(2)
    figure = truth.sel(level=500.0).slams.plot(truth, variable="t")
    assert any("RMSE 0.00 K" in ax.get_title() for ax in figure.axes)
    plt.close(figure)
