"""What a store belongs to, and the journal in it that says so and bears the hashes of all but its chunks of data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xslams.pipeline.layout import Layout
from xslams.pipeline.targets import GROUP, Target

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "COMPLETE",
    "JOURNAL",
    "ROOT",
    "Journal",
    "differences",
    "plan_of",
    "read_journal",
    "read_root",
    "settings_of",
]

#: Attribute of a store: whether all of it is there.
COMPLETE = "xslams_complete"
#: Key of the journal, and of the metadata of a store as a whole.
JOURNAL, ROOT = f"{GROUP}/zarr.json", "zarr.json"


def plan_of(analysis: xr.Dataset, layout: Layout) -> dict[str, Any]:
    """Say, as JSON knows it, what a store belongs to; runs with the same plan write the same bits."""
    plan = {
        "settings": settings_of(analysis.attrs),
        "coordinates": {
            str(k): _digest(v)
            for k, v in sorted(analysis.coords.items(), key=lambda kv: str(kv[0]))
            if v.chunks is None
        },
        "variables": {str(k): [*map(str, v.dims), str(v.dtype)] for k, v in analysis.data_vars.items()},
        "blocks": {str(k): list(v) for k, v in layout.blocks.items()},
    }
    return _plain(plan)


def settings_of(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that say what made a result, as JSON knows them."""
    return _plain({k.removeprefix("xslams_"): v for k, v in attrs.items() if k.startswith("xslams_") and k != COMPLETE})


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(record, default=lambda v: v.item()))
    return plain


def _digest(da: xr.DataArray) -> str:
    values = np.ascontiguousarray(da.values)
    content = repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes()
    return f"{values.shape} {hashlib.sha256(content).hexdigest()[:16]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Which entries of two plans differ, and how."""
    found = []
    for part in ("settings", "coordinates", "variables", "blocks"):
        before, after = old.get(part, {}), new.get(part, {})
        for key in [*before, *(k for k in after if k not in before)]:
            here, there = before.get(key, "nothing"), after.get(key, "nothing")
            if here != there:
                label = key.replace("_", " ") if part == "settings" else f"{part.removesuffix('s')} {key!r}"
                found.append(f"{label} ({_short(here)} in the store, {_short(there)} in this run)")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True)
class Journal:
    """What the group ``_xslams`` of a store says.

    Attributes
    ----------
    plan
        What the store belongs to.
    created
        Whether metadata and coordinates are all there.
    layout
        How the result is cut; None in a store of an earlier version, which has no hashes.
    files
        Hashes of metadata and coordinates, by their keys.
    damaged
        Whether it was changed from outside, so that nothing that it says can be trusted.
    """

    plan: Mapping[str, Any] = field(default_factory=dict)
    created: bool = False
    layout: Layout | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    damaged: bool = False

    def attributes(self) -> dict[str, Any]:
        """Attributes of the group, once metadata and coordinates are there."""
        assert self.layout is not None
        content = {"plan": dict(self.plan), "layout": self.layout.record(), "files": dict(self.files)}
        return content | {"seal": _seal(content), "created": 1}


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_journal(target: Target, files: Mapping[str, int]) -> Journal | None:
    """Read the journal of a store.

    Parameters
    ----------
    target
        Place of the store.
    files
        What is there.

    Returns
    -------
    Journal
        None if there is none.
    """
    if JOURNAL not in files:
        # Metadata of our own stores list the journal, once it is there; those of a copy that xarray wrote do not.
        listed = ROOT in files and f"'{GROUP}'" in repr(read_root(target).get("consolidated_metadata"))
        return Journal(damaged=True) if listed else None
    try:
        state = json.loads(target.read(JOURNAL))["attributes"]
        plan = state.get("plan", {})
        if not all(isinstance(part, dict) for part in (plan, *plan.values())):
            return Journal(damaged=True)
        if not state.get("created"):
            # Both are written after it was said that all is there.
            late = "seal" in state or bool(read_root(target).get("attributes", {}).get(COMPLETE))
            return Journal(plan, damaged=late)
        if "seal" not in state:
            # Of an earlier version, unless it has what only a store with hashes has.
            return Journal(plan, created=True, damaged=not plan or f"{GROUP}/digests/zarr.json" in files)
        content = {k: state[k] for k in ("plan", "layout", "files")}
        if _seal(content) != state["seal"]:
            return Journal(damaged=True)
        return Journal(plan, created=True, layout=Layout.of_record(state["layout"]), files=state["files"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Journal(damaged=True)


def read_root(target: Target) -> dict[str, Any]:
    """Metadata of a store as a whole; empty if they cannot be read."""
    try:
        root = json.loads(target.read(ROOT))
        return root if isinstance(root, dict) and isinstance(root.get("attributes"), dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}
