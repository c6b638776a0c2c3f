"""Latent frames: near inverses, lazy, and what is computed from them still knows how to be decoded."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

import xslams
from tests.pipeline.test_assimilate import refuse, waves
from xslams.errors import ModelError, VariableError
from xslams.pipeline.encoding import LATENT_DIMS


def test_encode_and_decode_are_near_inverse_and_lazy(tiny_model):
    truth = waves()
    z = truth.slams.encode(tiny_model)
    assert z["latent"].dims == ("time", *LATENT_DIMS)
    assert tuple(z["latent"].shape[1:]) == tiny_model.prior().shape
    decoded = z.slams.decode(tiny_model)
    assert set(decoded) == {"t", "pr"}
    assert float(abs(decoded["t"] - truth["t"]).mean()) < float(abs(truth["t"] - truth["t"].mean("time")).mean())
    xr.testing.assert_identical(z.slams.decode().drop_attrs(), decoded.drop_attrs())
    with dask.config.set(scheduler=refuse):
        lazy = truth.chunk(time=3).slams.encode(tiny_model)
        back = lazy.slams.decode()
    np.testing.assert_allclose(lazy["latent"].compute(scheduler="sync"), z["latent"], atol=1e-4)
    np.testing.assert_allclose(back["t"].compute(scheduler="sync"), decoded["t"], rtol=1e-4)


def test_state_alone_can_be_encoded(tiny_model):
    assert np.isfinite(waves()[["t"]].slams.encode(tiny_model)["latent"]).all()


def test_what_is_computed_from_latents_can_be_decoded(tiny_model, tmp_path):
    truth = waves()
    z = truth.slams.encode(tiny_model)
    expected = z.slams.decode()
    # The decoder is linear, so that the mean of two latents decodes to that of the two fields where nothing is bent.
    mean = (z + z.isel(latent_lon=slice(None))) / 2
    xr.testing.assert_allclose(mean.slams.decode()["t"], expected["t"], rtol=1e-5)
    pair = xr.concat([z, z], "member").mean("member")
    xr.testing.assert_allclose(pair.slams.decode()["t"], expected["t"], rtol=1e-5)
    part = z.isel(time=[1, 3])
    xr.testing.assert_allclose(part.slams.decode()["t"], expected["t"].isel(time=[1, 3]), rtol=1e-5)
    z.to_netcdf(tmp_path / "z.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "z.nc", engine="h5netcdf") as stored:
        xr.testing.assert_allclose(stored.slams.decode()["t"], expected["t"], rtol=1e-5)
    z.to_zarr(tmp_path / "z.zarr", consolidated=False)
    xr.testing.assert_allclose(
        xr.open_zarr(tmp_path / "z.zarr", consolidated=False).slams.decode()["t"].load(), expected["t"], rtol=1e-5
    )


def test_latent_cells_have_coordinates(tiny_model):
    z = waves().slams.encode(tiny_model)
    lat, lon = (np.asarray(v) for v in (tiny_model.spec.lat, tiny_model.spec.lon))
    for name, cells in (("latent_lat", lat), ("latent_lon", lon)):
        centres = z[name].values
        assert np.all(np.diff(centres) > 0) and cells.min() <= centres.min() and centres.max() <= cells.max()
        np.testing.assert_allclose(centres.mean(), cells.mean())


def test_latents_of_another_model_are_refused(tiny_model):
    z = waves().slams.encode(tiny_model)
    with pytest.raises(ModelError, match="another model"):
        z.slams.decode("speedy-t30")
    with pytest.raises(ModelError, match="does not say which model"):
        z.drop_vars("latent_model").slams.decode()
    with pytest.raises(VariableError, match="'latent' with dimensions"):
        waves().slams.decode(tiny_model)


@pytest.mark.parametrize("name", ["lorenz63-ode", "lorenz96", "kolmogorov"])
def test_systems_are_encoded_and_decoded(name):
    model = xslams.open_model(name)
    parameters = {k: v for k, v in model.spec.system.items() if k != "name"}
    truth = getattr(xslams.systems, model.spec.system["name"])(**parameters).simulate(6, seed=3)
    decoded = truth.slams.encode(name).slams.decode()
    assert list(decoded) == [v.name for v in model.spec.variables]
    for variable in decoded:
        assert decoded[variable].dims == truth[variable].dims
        error = decoded[variable] - truth[variable]
        # Nothing is lost where latents are the state itself; the latents of the flow are coarser.
        assert float(error.std()) < (0.5 if name == "kolmogorov" else 1e-5) * float(truth[variable].std())
