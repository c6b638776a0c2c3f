"""What made a result: global attributes in the style of CF, and hashes of what went in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.addresses import hide

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.observations.observation import Observation

__all__ = ["attributes", "brief", "input_hashes"]


def attributes(ds: xr.Dataset, model: Model, verb: str, **settings: Any) -> dict[str, Any]:
    """Global attributes that say what made a result, in the style of CF."""
    from xslams import __version__

    now = np.datetime_as_string(np.datetime64("now"), "s")
    call = ", ".join(f"{k}={v!r}" for k, v in {"model": model.spec.name, **settings}.items())
    before = f"{ds.attrs['history']}\n" if ds.attrs.get("history") else ""
    attrs: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "history": f"{before}{now}Z xslams {__version__}: {verb}({call})",
        "xslams_version": __version__,
        "xslams_model": model.spec.name,
        "xslams_model_sha256": model.sha256,
    }
    # netCDF has no booleans.
    plain = {k: int(v) if isinstance(v, bool) else v for k, v in settings.items()}
    attrs |= {f"xslams_{k}": v if isinstance(v, int | float) else str(v) for k, v in plain.items()}
    # Names of sources, and the history of an input, may hold addresses with credentials.
    return {k: hide(v) if isinstance(v, str) else v for k, v in attrs.items()}


def input_hashes(ds: xr.Dataset, sources: Sequence[Observation], background_error: Any) -> str:
    """Say what went in, source by source, so that a store can tell whether another run is the same."""
    from dask.base import tokenize

    # Of what is lazy, the token says where it comes from; nothing is read.
    parts = [f"{source.name} {tokenize(_content(vars(source)))[:16]}" for source in sources]
    if background_error is not None:
        parts.append(f"background {tokenize(_content({'ds': ds, 'error': background_error}))[:16]}")
    return ", ".join(parts)


def _content(value: Any) -> Any:
    """Value without what may differ between two runs that are the same: the history, and how files were stored."""
    if isinstance(value, xr.DataArray):
        value = value.to_dataset(name="values" if value.name is None else value.name)
    if isinstance(value, xr.Dataset):
        names = sorted(value.variables, key=str)
        return [(str(n), value[n].dims, value.variables[n].data, value[n].attrs) for n in names]
    if isinstance(value, Mapping):
        return [(str(k), _content(v)) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))]
    return value


def brief(value: object) -> str:
    """Short text for an attribute; fields are only named."""
    return f"<{type(value).__name__}>" if isinstance(value, xr.DataArray | xr.Dataset) else str(value)
