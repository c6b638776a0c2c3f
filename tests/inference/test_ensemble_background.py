"""Ensembles as backgrounds: covariances that are known exactly, where latents are the fields themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.test_latent_background import LAT, LENGTH, LON, SIZE, correlation, gaussian_model, pieces, sources
from xslams import BackgroundError
from xslams.errors import ModelError, ObservationOptionError
from xslams.inference.ensemble_background import localized, sampling_weight, static_weight
from xslams.inference.latent_background import LatentBackground
from xslams.likelihood import BackgroundCorrelation

KIND = BackgroundCorrelation(localization=6000.0)


def members(kind: BackgroundCorrelation, count: int = 4) -> tuple[list, np.ndarray]:
    """Background with members that are close to states of the prior, and the latents of their deviations."""
    rng = np.random.default_rng(3)
    _, D, P = pieces()
    z = rng.multivariate_normal(np.zeros(SIZE), P, count)
    z -= z.mean(0)
    background, _ = sources(kind, 0.8)
    return [
        replace(
            s,
            errors=s.errors.completed(np.zeros(s.size), np.ones(s.size)),
            ensemble=(s.matrix @ (D @ z.T)).T,
        )
        for s in background
    ], z


def localization() -> np.ndarray:
    """Correlation of all latents by the distance of their cells."""
    spec = gaussian_model().spec
    lat, lon = (v.ravel() for v in np.meshgrid(np.deg2rad(spec.lat), np.deg2rad(spec.lon), indexing="ij"))
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    r = 6371.0 / 6000.0 * np.linalg.norm(xyz[:, None] - xyz, axis=-1)
    return np.kron(np.ones((2 * LENGTH, 2 * LENGTH)), (1 + r) * np.exp(-r))


def best_weight(static: np.ndarray, z: np.ndarray) -> float:
    """Weight after Ledoit and Wolf, by its definition."""
    values, vectors = np.linalg.eigh(static)
    white = (vectors / np.sqrt(values)) @ vectors.T
    count = len(z)
    factor = (count + 1) / (count - 1)
    each = [factor * white @ (np.outer(e, e) * localization()) @ white for e in z]
    mean = np.mean(each, axis=0)
    sampling = np.sum([np.square(one - mean).sum() for one in each]) / (count * (count - 2))
    return float(min(sampling / np.square(mean - np.eye(len(mean))).sum(), 1.0))


@pytest.mark.parametrize("kind", [KIND, replace(KIND, static=0.2, time=40.0), replace(KIND, static=1.0)])
def test_the_covariance_is_the_localised_sample_covariance_and_the_static_one(kind):
    given, z = members(kind)
    model, (_, D, P) = gaussian_model(), pieces()
    rest = torch.zeros(1, LENGTH, *model.prior().shape)
    found = LatentBackground(model.prior(), model.spec, model.prior().fields(torch.zeros(LENGTH)), given, rest).errors
    S = (np.array([0.8, 2.4])[:, None] / np.abs(D).sum(1).reshape(LENGTH, 2, -1)).ravel()
    static = S[:, None] * correlation(kind, P) * S
    weight = max(static_weight(4), best_weight(static, z)) if kind.static is None else kind.static
    exact = weight * static + (1 - weight) * 5 / 12 * (z.T @ z) * localization()
    dense = found(torch.eye(SIZE)).numpy()
    np.testing.assert_allclose(dense, exact, atol=0.03 * np.abs(exact).max())
    assert np.linalg.eigvalsh((dense + dense.T).astype(float) / 2)[0] > 0
    back = found.inv(torch.as_tensor(dense)).numpy()
    np.testing.assert_allclose(back, np.eye(SIZE), atol=0.01)
    assert np.linalg.eigvalsh(found.inv(torch.eye(SIZE)).double().numpy())[0] > 0


@given(st.integers(2, 60), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_members_that_tell_nothing_new_leave_the_static_covariance(count: int, seed: int) -> None:
    """Deviations like those of the static covariance, and as large: whatever their number, chance is left out."""
    noise = torch.randn(count, 900, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    white = (noise - noise.mean(0)) / (count - 1) ** 0.5
    assert sampling_weight(white, count) > 0.9
    # A pattern of the day, which all members have with either sign, is more than chance once there are enough of them.
    signs = torch.ones(count, dtype=torch.float64)
    signs[1::2] = -1.0
    white[:, 0] = 30 * signs / (count - 1) ** 0.5
    assert count < 10 or sampling_weight(white, count) < 0.5


def test_a_localisation_of_too_many_columns_keeps_the_variance():
    deviations = torch.randn(200, 1, 1, 4, 3, generator=torch.Generator().manual_seed(0))
    distance = torch.arange(12.0)
    rho = torch.exp(-((distance[:, None] - distance).abs()) / 3)
    columns = localized(deviations, rho)
    assert len(columns) == 200
    exact = deviations.flatten(1).square().sum(0) * 201 / (200 * 199)
    torch.testing.assert_close(columns.square().sum(0), exact, rtol=1e-4, atol=1e-4)


def ensemble() -> xr.Dataset:
    spec = gaussian_model().spec
    rng = np.random.default_rng(0)
    values = 270 + rng.normal(size=(3, LENGTH, 2, LAT, LON)) * np.array([1.0, 3.0])[:, None, None]
    time = np.datetime64("2001-01-01", "ns") + np.arange(LENGTH) * np.timedelta64(1, "D")
    level = ("level", list(spec.variables[0].levels), {"units": "hPa", "axis": "Z"})
    return xr.Dataset(
        {"t": (("member", "time", "level", "lat", "lon"), values, {"units": "K"})},
        {"time": time, "level": level, "lat": list(spec.lat), "lon": list(spec.lon)},
    )


def test_an_analysis_starts_from_the_members_of_its_background():
    ds, model = ensemble(), gaussian_model()
    analysis = ds.slams.assimilate([], model, members=2, steps=4)
    assert dict(analysis["t"].sizes) == {"member": 2, "time": 3, "level": 2, "lat": LAT, "lon": LON}
    assert "std" in analysis.attrs["xslams_background_error"]
    lazy = ds.chunk(time=1, member=1).slams.assimilate([], model, members=2, steps=4)
    np.testing.assert_array_equal(lazy["t"].compute(), analysis["t"])
    sure = (ds.mean("member", keep_attrs=True) + 0.01 * (ds - ds.mean("member"))).assign_attrs(ds.attrs)
    sure["t"].attrs = ds["t"].attrs
    close = sure.slams.assimilate([], model, members=2, steps=8)
    assert float(abs(close["t"] - sure["t"].mean("member")).max()) < 0.3
    error = BackgroundError(2.0, length=3000.0, vertical=0.5, static=0.5, localization=2000.0)
    stated = ds.slams.assimilate([], model, members=2, steps=4, background_error=error)
    assert np.isfinite(stated["t"]).all()
    assert not np.array_equal(stated["t"], analysis["t"])
    report = ds.slams.check([], model)
    assert report["source"].values.tolist() == ["background"]
    with pytest.raises(ModelError, match="Train a model on data like these"):
        ds.slams.check([])  # it is the grid that no model is for, and not the members
    with pytest.raises(ObservationOptionError, match="has 1 member"):
        ds.isel(member=[0]).slams.assimilate([], model)
