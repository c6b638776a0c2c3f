"""Encode frames into the latent space of a model, and decode them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ModelError, VariableError
from xslams.labels.calendar import on_time_axis
from xslams.labels.channels import require_not_empty
from xslams.labels.domain import domain_of
from xslams.labels.frame_labels import with_frames
from xslams.labels.frames import Frames
from xslams.labels.valid_values import with_valid_values
from xslams.labels.variables import match_variables
from xslams.pipeline import provenance, workers
from xslams.pipeline.finding import model_for
from xslams.seasons import warn_of_season
from xslams.typing import FloatArray
from xslams.zoo.pretrained import open_model, opening

if TYPE_CHECKING:
    import os

    from xslams.model import Model
    from xslams.spec import Spec

__all__ = ["LATENT_DIMS", "decode", "encode"]

#: Dimensions of a latent frame.
LATENT_DIMS = ("latent_channel", "latent_lat", "latent_lon")
# What decoding needs to know, as coordinates, which arithmetic, means, selections and files keep; attributes get lost.
_MODEL, _SHA256 = "latent_model", "latent_model_sha256"


def encode(
    ds: xr.Dataset, model: Model | str | os.PathLike[str] | None = None, *, device: str | None = None
) -> xr.Dataset:
    """Latent frames of a Dataset; see ``ds.slams.encode``.

    Parameters
    ----------
    ds
        The state variables of the model, and as many of its auxiliary ones as there are.
    model
        Model, name or path; by default the one known model that fits.
    device
        Where torch computes; by default wherever it is fastest.

    Returns
    -------
    Dataset
        Variable ``latent`` with dimensions (time, latent_channel, latent_lat, latent_lon); lazy where `ds` is.
    """
    workers.check_device(device)
    require_not_empty(ds)
    ds = with_valid_values(ds)
    model = model_for(ds, model)
    domain = domain_of(model.spec)
    match_variables(ds, model.spec.state)
    domain.check(on_time_axis(ds), opening(model))
    fields = domain.to_channels(ds, allow_missing=True)
    season = xr.DataArray(domain.season(fields["time"]), dims="time", coords={"time": fields["time"]})
    warn_of_season(model.spec.covered_days, season.values, model.spec.name, model.spec.time_step)
    sizes = dict(zip(LATENT_DIMS, model.prior().shape, strict=True))
    latent = xr.apply_ufunc(
        _encode, fields, season, kwargs={"model": model, "device": device},
        input_core_dims=[["channel", "lat", "lon"], []], output_core_dims=[list(sizes)],
        dask="parallelized", output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": sizes},
    )  # fmt: skip
    latent = latent.drop_vars(["lat", "lon"], errors="ignore").assign_attrs(long_name="latent state", units="1")
    # A name would not find a model that is not in the zoo.
    texts = {_MODEL: model.spec.name if model.path is None else str(model.path), _SHA256: model.sha256}
    # As objects: zarr has no stable form of strings of fixed length.
    found = {name: xr.Variable((), np.array(text, object)) for name, text in texts.items()}
    times = domain.label(domain.template(ds)).variable
    encoded = xr.Dataset({"latent": latent}).assign_coords(
        {"time": ("time", times.data, times.attrs), **_cells(model.spec, sizes), **found}
    )
    # Bounds tell `decode` the frames; of latents there are no cell methods.
    encoded = with_frames(encoded, Frames.of(fields["time"], model.spec, ds), model.spec)
    encoded.attrs = provenance.attributes(ds, model, "encode")
    return encoded


def decode(
    latent: xr.Dataset, model: Model | str | os.PathLike[str] | None = None, *, device: str | None = None
) -> xr.Dataset:
    """Every variable of the model from latent frames; see ``ds.slams.decode``.

    Parameters
    ----------
    latent
        What `encode` returned, or what was computed from it.
    model
        Model, name or path; by default the one that encoded.
    device
        Where torch computes; by default wherever it is fastest.

    Returns
    -------
    Dataset
        State and auxiliary variables on the model's grid; lazy where `latent` is.

    Raises
    ------
    VariableError
        If there is no variable ``latent`` with the dimensions of latent frames.
    ModelError
        If the Dataset does not say which model encoded it, or it was another one than `model`.
    """
    if model is None:
        model = _model_of(latent)
    model = open_model(model)
    workers.check_device(device)
    spec, domain = model.spec, domain_of(model.spec)
    if "latent" not in latent or not {"time", *LATENT_DIMS} <= set(latent["latent"].dims):
        got = ", ".join(f"{name!r} {latent[name].dims}" for name in map(str, latent.data_vars)) or "no variables"
        msg = (
            f"decode needs a variable 'latent' with dimensions (time, {', '.join(LATENT_DIMS)}), as encode returns it; "
            f"got {got}. Call ds.slams.encode(model) first, and give a mean over time a time again: "
            ".expand_dims(time=[...])."
        )
        raise VariableError(msg)
    hashed = str(latent[_SHA256].values) if _SHA256 in latent.coords else ""
    if hashed and model.sha256 and hashed != model.sha256:
        msg = (
            f"This Dataset was encoded by another model than {spec.name!r} (sha256 {hashed[:12]}..., not "
            f"{model.sha256[:12]}...). Latents of one model mean nothing to another; decode with the one that encoded."
        )
        raise ModelError(msg)
    z = latent["latent"].drop_vars([_MODEL, _SHA256], errors="ignore")
    time = domain.adopt(z)["time"]
    season = xr.DataArray(domain.season(time), dims="time", coords={"time": z["time"]})
    warn_of_season(spec.covered_days, season.values, spec.name, spec.time_step)
    shape = dict(zip(("channel", "lat", "lon"), spec.frame_shape, strict=True))
    values = xr.apply_ufunc(
        _decode, z, season, kwargs={"model": model, "device": device},
        input_core_dims=[list(LATENT_DIMS), []], output_core_dims=[list(shape)],
        dask="parallelized", output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": shape},
    )  # fmt: skip
    decoded = domain.from_channels(values.transpose(..., "time", *shape), domain.own_template(z["time"]))
    decoded = with_frames(decoded, Frames.of(time, spec, domain.adopt(latent)), spec)
    decoded.attrs = provenance.attributes(latent, model, "decode")
    return decoded


def _model_of(latent: xr.Dataset) -> str:
    """Name or path of the model that encoded a Dataset."""
    if _MODEL not in latent.coords:
        msg = (
            f"The Dataset does not say which model encoded it: it has no coordinate {_MODEL!r}. Name the model: "
            ".slams.decode(model)."
        )
        raise ModelError(msg)
    found = str(latent[_MODEL].values)
    # The file of a pretrained model lies elsewhere on another machine, under the same name.
    return found if Path(found).is_file() else Path(found).stem


def _cells(spec: Spec, sizes: dict[str, int]) -> dict[str, tuple[str, FloatArray]]:
    """Coordinates of latent cells: the mean of those of the cells of the model that they stand for."""
    axes = {"latent_lat": spec.lat, "latent_lon": spec.lon}
    return {dim: (dim, _means(values, sizes[dim])) for dim, values in axes.items()}


def _means(values: Sequence[float], size: int) -> FloatArray:
    block = -(-len(values) // size)
    padded = np.full(size * block, np.nan)
    padded[: len(values)] = values
    means: FloatArray = np.nanmean(padded.reshape(size, block), axis=1)
    return means


def _encode(fields: FloatArray, season: FloatArray, *, model: Model, device: str | None) -> npt.NDArray[np.float32]:
    from xslams.inference.arrays import encode_arrays

    return encode_arrays(model, fields, season, device=device)


def _decode(z: FloatArray, season: FloatArray, *, model: Model, device: str | None) -> npt.NDArray[np.float32]:
    from xslams.inference.arrays import decode_arrays

    spec = model.spec
    return spec.without_masked(spec.bounded(decode_arrays(model, z, season, device=device)))
