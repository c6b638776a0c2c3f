"""Pretrained models and tutorial data: embedded in the package, or fetched once and checked against a hash.

Models that lie in ``xslams/data`` are found there. Those that are too large for the package stand in
``xslams/data/registry.json``, by name: ``url``, ``sha256``, ``size`` in bytes, and what `list_models` shows of them
before they are fetched (``summary``, ``variables``, ``grid``). They are kept in the cache of pooch, which the
environment variable ``XSLAMS_CACHE`` moves.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xslams.errors import ModelError
from xslams.models.model import Model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["list_models", "open_model", "open_tutorial"]

_DATA = Path(__file__).parent / "data"
_SUFFIX = ".safetensors"
_TUTORIALS = {"speedy": "tutorial_speedy.nc"}


def list_models() -> pd.DataFrame:
    """List the pretrained models.

    Returns
    -------
    DataFrame
        One row per model, by name: ``summary``, ``variables``, ``grid``, ``size`` in MB, ``sha256``, and ``where`` it
        is now: "embedded", "cached", or the address that it would be fetched from.

    Examples
    --------
    >>> import xslams
    >>> "speedy-t30" in xslams.list_models().index
    True
    """
    import pandas as pd

    rows = {path.stem: _describe(path, "embedded") for path in sorted(_DATA.glob(f"*{_SUFFIX}"))}
    for name, entry in _registry().items():
        cached = _cache() / f"{name}{_SUFFIX}"
        if cached.is_file():
            rows[name] = _describe(cached, "cached")
        else:
            shown = {key: entry.get(key, "") for key in ("summary", "variables", "grid")}
            rows[name] = shown | {"size": entry["size"] / 1e6, "sha256": entry["sha256"], "where": entry["url"]}
    columns = ["summary", "variables", "grid", "size", "sha256", "where"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("name")


def open_model(name_or_path: str | os.PathLike[str] | Model) -> Model:
    """Open a model by name or path; only the header of its file is read.

    Parameters
    ----------
    name_or_path
        Name of a pretrained model, or path of a ``.safetensors`` file; a Model is returned as it is.

    Returns
    -------
    Model
        Its weights are loaded on first use.

    Raises
    ------
    ModelError
        If there is no such name or file, or the file is damaged.

    Examples
    --------
    >>> import xslams
    >>> xslams.open_model("speedy-t30").spec.time_step
    24.0
    """
    if isinstance(name_or_path, Model):
        return name_or_path
    text = os.fspath(name_or_path)
    embedded = _DATA / f"{text}{_SUFFIX}"
    if text == embedded.stem and embedded.is_file():
        return Model.load(embedded)
    entry = _registry().get(text)
    if entry is not None:
        return Model.load(_fetch(text, entry))
    if text.endswith(_SUFFIX) or Path(text).exists():
        return Model.load(Path(text).absolute())
    names = [*(path.stem for path in sorted(_DATA.glob(f"*{_SUFFIX}"))), *_registry()]
    msg = (
        f"There is no model {text!r}: it is neither a pretrained model ({', '.join(names) or 'there are none'}) nor an "
        "existing file. See xslams.list_models(), or pass the path of a .safetensors file."
    )
    raise ModelError(msg)


def open_tutorial(name: str = "speedy") -> xr.Dataset:
    """Open a small embedded data set to play with.

    Parameters
    ----------
    name
        "speedy": sixty daily means of a global simulation, temperature ``t`` on 8 sigma levels, precipitation ``pr``
        and outgoing longwave radiation ``olr``, on a 48 x 96 Gaussian grid.

    Returns
    -------
    Dataset
        In memory; call ``.chunk()`` on it for lazy results.

    Examples
    --------
    >>> import xslams
    >>> dict(xslams.open_tutorial().sizes)
    {'time': 60, 'sigma': 8, 'lat': 48, 'lon': 96}
    """
    if name not in _TUTORIALS:
        msg = f"There is no tutorial data set {name!r}; choose one of {', '.join(map(repr, _TUTORIALS))}."
        raise ModelError(msg)
    with xr.open_dataset(_DATA / _TUTORIALS[name]) as ds:
        # Sixteen bits on disk decode to sixty-four, which say no more than thirty-two.
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
        "sha256": model.sha256,
        "where": where,
    }


def _registry() -> dict[str, dict[str, Any]]:
    registry: dict[str, dict[str, Any]] = json.loads((_DATA / "registry.json").read_text())
    return registry


def _cache() -> Path:
    import pooch

    return Path(os.environ.get("XSLAMS_CACHE") or pooch.os_cache("xslams"))


def _fetch(name: str, entry: dict[str, Any]) -> Path:
    import pooch

    try:
        path = pooch.retrieve(
            entry["url"], known_hash=f"sha256:{entry['sha256']}", fname=f"{name}{_SUFFIX}", path=_cache()
        )
    except (OSError, ValueError) as e:
        msg = (
            f"The model {name!r} could not be fetched from {entry['url']} ({type(e).__name__}: {e}). Check the "
            f"network, or fetch the file by other means, check that its sha256 is {entry['sha256']}, and pass "
            "its path instead."
        )
        raise ModelError(msg) from e
    return Path(path)
