"""Scores of small systems: the axes of a plane and of a circle are space, and a system without space has time alone."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xslams import scores
from xslams.systems import KolmogorovFlow, Lorenz63, Lorenz96


def ensemble(truth: xr.Dataset, members: int = 4, error: float = 0.5) -> xr.Dataset:
    rng = np.random.default_rng(0)
    noisy = [truth + {n: rng.normal(0, error, v.shape) for n, v in truth.data_vars.items()} for _ in range(members)]
    return xr.concat(noisy, "member")


@pytest.mark.parametrize(
    ("truth", "space"),
    [
        (KolmogorovFlow(size=16, reynolds=50).simulate(3, spinup=0), ["y", "x"]),
        (Lorenz96(sites=8).simulate(5, spinup=0), ["lon"]),
        (Lorenz63().simulate(5, spinup=0), []),
    ],
    ids=lambda v: v.attrs["system"] if isinstance(v, xr.Dataset) else "",
)
def test_time_and_space_of_a_system_are_averaged_with_equal_weights(truth: xr.Dataset, space: list[str]) -> None:
    analysis = ensemble(truth)
    result = analysis.slams.score(truth)
    for name in truth.data_vars:
        prefix = f"{name}_" if len(truth.data_vars) > 1 else ""
        error = (analysis[name].mean("member") - truth[name]).values
        np.testing.assert_allclose(result[f"{prefix}rmse"], np.sqrt((error**2).mean()))
        np.testing.assert_allclose(result[f"{prefix}rank_histogram"].sum(), 1)
        assert result[f"{prefix}crps"].dims == ()
        assert (f"{prefix}wasserstein" in result) == bool(space)


def test_axes_of_a_plane_stay_where_time_alone_is_averaged() -> None:
    truth = KolmogorovFlow(size=16, reynolds=50).simulate(3, spinup=0)["vorticity"]
    result = scores.score(truth + 1.0, truth, dims=["time"])
    assert result["rmse"].dims == ("y", "x")
    np.testing.assert_allclose(result["bias"], 1.0)


def test_axes_of_a_projection_are_averaged_once_and_by_area() -> None:
    """A curvilinear grid has both axes X and Y and latitudes of two dimensions; the latitudes give the weights."""
    lat = xr.DataArray(np.linspace(0, 60, 6).reshape(2, 3), dims=("y", "x"), attrs={"units": "degrees_north"})
    lon = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("y", "x"), attrs={"units": "degrees_east"})
    axes = {"y": ("y", [0.0, 1.0], {"axis": "Y"}), "x": ("x", [0.0, 1.0, 2.0], {"axis": "X"})}
    truth = xr.DataArray(np.zeros((2, 3)), dims=("y", "x"), coords={"lat": lat, "lon": lon, **axes})
    error = truth + np.arange(6.0).reshape(2, 3)
    expected = np.average(np.arange(6.0), weights=np.cos(np.deg2rad(lat.values.ravel())))
    np.testing.assert_allclose(scores.bias(error, truth), expected)
