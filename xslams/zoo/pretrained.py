"""Pretrained models and tutorial data: embedded in the package, or fetched once and checked against a hash.

Small models are part of the package (``xslams/data``); models that are too large for it are fetched when they are first
opened. `xslams.zoo.registry` holds the addresses and hashes of both, and handles mirrors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xslams.addresses import cleaned, public
from xslams.arguments import require
from xslams.errors import ModelError
from xslams.model import Model
from xslams.progress import wanted
from xslams.zoo import registry
from xslams.zoo.registry import SUFFIX, Entry

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "fetch_model",
    "known_models",
    "list_models",
    "open_model",
    "open_tutorial",
    "opening",
    "verify_model",
]

_TUTORIALS = {"speedy": "tutorial_speedy.nc"}


def list_models() -> pd.DataFrame:
    """List the pretrained models.

    Returns
    -------
    DataFrame
        One row per model, by name: ``summary``, ``variables``, ``grid``, ``size`` in MB, ``license``, ``sha256``, and
        ``where``: "embedded", "cached", or the address from which it would be fetched.

    Examples
    --------
    >>> import xslams
    >>> "speedy-t30" in xslams.list_models().index
    True
    """
    import pandas as pd

    from xslams.zoo.listing import ModelList

    rows = {path.stem: _describe(path, "embedded") for path in _embedded()}
    for name, entry in _remote().items():
        if _is_cached(entry):
            rows[name] = _describe(registry.cached(entry), "cached")
        else:
            shown = {key: getattr(entry, key) for key in ("summary", "variables", "grid", "license", "sha256")}
            rows[name] = shown | {"size": entry.size / 1e6, "where": public(registry.address(entry))}
    columns = ["summary", "variables", "grid", "size", "license", "sha256", "where"]
    return ModelList(pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("name"))


def open_model(name_or_path: str | os.PathLike[str] | Model, *, mirror: str | None = None) -> Model:
    """Open a model by name or path; only the header of its file is read.

    Parameters
    ----------
    name_or_path
        Name of a pretrained model, or path of a ``.safetensors`` file; a Model is returned unchanged.
    mirror
        Address from which to fetch a model that is neither embedded nor cached: a folder or the file itself. By default
        the environment variable ``XSLAMS_MIRROR``, or else the address in the registry.

    Returns
    -------
    Model
        Its weights are loaded on first use.

    Raises
    ------
    OptionError
        If something else is given.
    ModelError
        If no model has that name or path, the file is damaged, or it needs a newer xslams.

    Examples
    --------
    >>> import xslams
    >>> xslams.open_model("speedy-t30").spec.time_step
    24.0
    """
    if isinstance(name_or_path, Model):
        return name_or_path
    given: object = name_or_path
    named = isinstance(given, str | os.PathLike)
    require(named, "model", given, "a Model, or its name or path; observations come before the model, in this order")
    text = os.fsdecode(name_or_path)
    if text in _names():
        return Model.load(fetch_model(text, mirror=mirror))
    if text.endswith(SUFFIX) or Path(text).exists():
        return Model.load(Path(text).absolute())
    raise ModelError(_unknown(text))


def known_models() -> dict[str, Model | None]:
    """Models by name, of which only headers are read; None for those that have not been fetched.

    Examples
    --------
    >>> known_models()["speedy-t30"].loaded
    False
    """
    models: dict[str, Model | None] = {path.stem: Model.load(path) for path in _embedded()}
    for name, entry in _remote().items():
        models[name] = Model.load(registry.cached(entry)) if _is_cached(entry) else None
    return models


def opening(model: Model) -> str:
    """Python expression that opens a model; the variable ``model`` for one that is only in memory.

    Examples
    --------
    >>> opening(open_model("speedy-t30"))
    "xslams.open_model('speedy-t30')"
    """
    if model.path is None:
        return "model"
    known = [*_embedded(), *(registry.cached(entry) for entry in _remote().values())]
    return f"xslams.open_model({model.path.stem if model.path in known else str(model.path)!r})"


def fetch_model(name: str, *, mirror: str | None = None, progress: bool | None = None) -> Path:
    """Fetch a pretrained model, for instance before workers without a network need it.

    Parameters
    ----------
    name
        Name of the model.
    mirror
        As for `open_model`.
    progress
        Show a progress bar; by default in a terminal or notebook.

    Returns
    -------
    Path
        Path of its file, which is complete and has the hash of the registry.

    Raises
    ------
    ModelError
        If no model has that name, it needs a newer xslams, or it cannot be fetched completely.

    Examples
    --------
    >>> fetch_model("speedy-t30").name
    'speedy-t30.safetensors'
    """
    for path in _embedded():
        if path.stem == name:
            return path
    entry = _remote().get(name)
    if entry is None:
        raise ModelError(_unknown(name))
    path = registry.fetch(entry, mirror=mirror, progress=wanted(progress))
    try:
        Model.load(path)
    except ModelError as e:
        # The file has the right hash, so fetching it again would not help: the registry itself is at fault.
        path.unlink(missing_ok=True)
        msg = f"The model {name!r} was fetched from {public(registry.address(entry, mirror))} and cannot be read. {e}"
        raise ModelError(msg) from cleaned(e)
    return path


def verify_model(name: str) -> Literal["embedded", "cached", "absent"]:
    """Compare the file of a pretrained model with the registry; a damaged file is removed from the cache.

    Parameters
    ----------
    name
        Name of the model.

    Returns
    -------
    str
        Place of the intact file, "embedded" or "cached"; "absent" if it has not been fetched.

    Raises
    ------
    ModelError
        If no model has that name, or its file does not match the registry.

    Examples
    --------
    >>> verify_model("speedy-t30")
    'embedded'
    """
    if name not in _names():
        raise ModelError(_unknown(name))
    for path in _embedded():
        if path.stem == name:
            entry = registry.read().get(name)
            try:
                if entry is None:
                    msg = f"The model {name!r} is in the package, but not in its registry."
                    raise ModelError(msg)
                registry.check(path, entry)
                Model.load(path)
            except ModelError as e:
                msg = f"{e} It is part of the package: install xslams again."
                raise ModelError(msg) from cleaned(e)
            return "embedded"
    entry = _remote()[name]
    path = registry.cached(entry)
    if not path.is_file():
        return "absent"
    try:
        registry.check(path, entry)
        Model.load(path)
    except ModelError as e:
        path.unlink(missing_ok=True)
        msg = f"{e} The file has been removed from the cache ({path}); it is fetched again when it is next opened."
        raise ModelError(msg) from cleaned(e)
    return "cached"


def open_tutorial(name: str = "speedy") -> xr.Dataset:
    """Open a small embedded data set for examples.

    Parameters
    ----------
    name
        "speedy": sixty daily means of a global simulation, temperature ``t`` on 8 sigma levels, precipitation ``pr``
        and outgoing longwave radiation ``olr``, on a 48 x 96 Gaussian grid.

    Returns
    -------
    Dataset
        In memory; call ``.chunk()`` for lazy results.

    Examples
    --------
    >>> import xslams
    >>> dict(xslams.open_tutorial().sizes)
    {'time': 60, 'sigma': 8, 'lat': 48, 'lon': 96}
    """
    if name not in _TUTORIALS:
        msg = f"There is no tutorial data set {name!r}; choose one of {', '.join(map(repr, _TUTORIALS))}."
        raise ModelError(msg)
    with xr.open_dataset(registry.DATA / _TUTORIALS[name]) as ds:
        # Values of sixteen bits on disk decode to float64, which has no more information than float32.
        return ds.load().astype("float32")


def _describe(path: Path, where: str) -> dict[str, Any]:
    model = Model.load(path)
    spec = model.spec
    variables = ", ".join(
        v.name + (f" ({v.channels} levels)" if v.levels else "") + (" [aux]" if v.role == "aux" else "")
        for v in spec.variables
    )
    return {
        "summary": spec.summary,
        "variables": variables,
        "grid": f"{len(spec.lat)} x {len(spec.lon)}"
        + (f", {spec.system['name']}" if spec.system else ", global" if spec.periodic else ""),
        "size": path.stat().st_size / 1e6,
        "license": spec.license,
        "sha256": model.sha256,
        "where": where,
    }


def _is_cached(entry: Entry) -> bool:
    path = registry.cached(entry)
    return path.is_file() and path.stat().st_size == entry.size


def _embedded() -> list[Path]:
    return sorted(registry.DATA.glob(f"*{SUFFIX}"))


def _remote() -> dict[str, Entry]:
    return {name: entry for name, entry in registry.read().items() if not entry.embedded}


def _names() -> list[str]:
    return [*(path.stem for path in _embedded()), *_remote()]


def _unknown(name: str) -> str:
    import difflib

    names = _names()
    near = difflib.get_close_matches(name, names, n=1)
    return (
        f"There is no model {name!r}: it is neither a pretrained model ({', '.join(names) or 'there are none'}) nor an "
        f"existing file. {f'Did you mean {near[0]!r}? ' if near else ''}See xslams.list_models(), or pass the path of "
        "a .safetensors file."
    )
