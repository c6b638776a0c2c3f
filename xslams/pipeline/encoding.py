"""Encode frames into the latent space of a model, and decode them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ModelError, VariableError
from xslams.labels import schema
from xslams.pipeline import provenance
from xslams.pipeline.models import open_gridded
from xslams.typing import FloatArray

if TYPE_CHECKING:
    import os

    from xslams.model import Model

__all__ = ["decode", "encode"]


def encode(ds: xr.Dataset, model: Model | str | os.PathLike[str], *, device: str | None = None) -> xr.Dataset:
    """Latent frames of a Dataset; see ``ds.slams.encode``.

    Parameters
    ----------
    ds
        The state variables of the model, and as many of its auxiliary ones as there are.
    model
        Model, name or path.
    device
        Where torch computes; by default wherever it is fastest.

    Returns
    -------
    Dataset
        Variable ``z`` with dimensions (time, z, z_lat, z_lon); lazy where `ds` is.
    """
    model = open_gridded(model)
    schema.match_variables(ds, model.spec.state)
    fields = schema.to_channels(ds, model.spec, allow_missing=True)
    fraction = xr.DataArray(schema.year_fraction(fields["time"]), dims="time", coords={"time": fields["time"]})
    sizes = dict(zip(("z", "z_lat", "z_lon"), model.spec.latent_shape, strict=True))
    z = xr.apply_ufunc(
        _encode, fields, fraction, kwargs={"model": model, "device": device},
        input_core_dims=[["channel", "lat", "lon"], []], output_core_dims=[list(sizes)],
        dask="parallelized", output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": sizes},
    )  # fmt: skip
    z.attrs = {"long_name": "latent state", "units": "1"}
    latent = xr.Dataset({"z": z.drop_vars(["lat", "lon"], errors="ignore")})
    # A name would not find a model that is not in the zoo.
    latent.attrs = provenance.attributes(ds, model, "encode") | (
        {} if model.path is None else {"xslams_model_path": str(model.path)}
    )
    return latent


def decode(
    latent: xr.Dataset, model: Model | str | os.PathLike[str] | None = None, *, device: str | None = None
) -> xr.Dataset:
    """Every variable of the model from latent frames; see ``ds.slams.decode``.

    Parameters
    ----------
    latent
        What `encode` returned.
    model
        Model, name or path; by default the one that encoded.
    device
        Where torch computes; by default wherever it is fastest.

    Returns
    -------
    Dataset
        State and auxiliary variables on the model's grid; lazy where `latent` is.
    """
    if model is None:
        path = latent.attrs.get("xslams_model_path", "")
        model = path if Path(path).is_file() else latent.attrs.get("xslams_model")
    if model is None:
        msg = "The Dataset does not say which model encoded it. Name it: .slams.decode(model)."
        raise ModelError(msg)
    model = open_gridded(model)
    spec = model.spec
    if "z" not in latent or not {"time", "z", "z_lat", "z_lon"} <= set(latent["z"].dims):
        msg = (
            f"decode needs a variable 'z' with dimensions (time, z, z_lat, z_lon), as encode returns it; got "
            f"{sorted(map(str, latent.data_vars))}. Call ds.slams.encode(model) first."
        )
        raise VariableError(msg)
    hashed = latent.attrs.get("xslams_model_sha256")
    if hashed and model.sha256 and hashed != model.sha256:
        msg = (
            f"This Dataset was encoded by another model than {spec.name!r} (sha256 {hashed[:12]}..., not "
            f"{model.sha256[:12]}...). Latents of one model mean nothing to another; decode with the one that encoded."
        )
        raise ModelError(msg)
    z = latent["z"]
    fraction = xr.DataArray(schema.year_fraction(z["time"]), dims="time", coords={"time": z["time"]})
    shape = dict(zip(("channel", "lat", "lon"), spec.frame_shape, strict=True))
    values = xr.apply_ufunc(
        _decode, z, fraction, kwargs={"model": model, "device": device},
        input_core_dims=[["z", "z_lat", "z_lon"], []], output_core_dims=[list(shape)],
        dask="parallelized", output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": shape},
    )  # fmt: skip
    template = xr.Dataset(
        coords={
            "time": z["time"],
            "lat": ("lat", list(spec.lat), {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": ("lon", list(spec.lon), {"standard_name": "longitude", "units": "degrees_east"}),
        }
    )
    decoded = schema.from_channels(values.transpose(..., "time", *shape), spec, template)
    decoded.attrs = provenance.attributes(latent, model, "decode")
    return decoded


def _encode(fields: FloatArray, fraction: FloatArray, *, model: Model, device: str | None) -> npt.NDArray[np.float32]:
    from xslams.inference.arrays import encode_arrays

    return encode_arrays(model, fields, fraction, device=device)


def _decode(z: FloatArray, fraction: FloatArray, *, model: Model, device: str | None) -> npt.NDArray[np.float32]:
    from xslams.inference.arrays import decode_arrays

    return decode_arrays(model, z, fraction, device=device)
