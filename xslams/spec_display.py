"""What a specification looks like: in one line, and as the sections of a notebook."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from xslams.display import Section, attributes, cell, table
from xslams.errors import ModelError

if TYPE_CHECKING:
    from xslams.spec import Spec, VariableSpec

__all__ = ["in_words", "sections"]

# Share of masked cells below which their number says more.
_SHOWN = 0.01


def in_words(spec: Spec) -> str:
    """Return what a model is of in one line, with its skill where the training has measured it."""
    names = ", ".join(f"{v.name} ({v.role})" for v in spec.variables)
    fields = f"{_grid(spec)} grid{_masked(spec)}; window of {spec.window} frames {_frames(spec)}"
    return f"{names}; {fields}{_data(spec)}{_skill(spec)}"


def sections(spec: Spec) -> list[Section]:
    """Return the parts of the notebook view: variables, grid and time, and closed, where the model comes from."""
    variables = table(
        ("name", "units", "role", "levels", "standard name"),
        [(v.name, v.units, v.role, _levels(v), v.standard_name) for v in spec.variables],
    )
    hull = ", ".join(f"{n} {a[0]:g} to {a[-1]:g}" for n, a in (("lat", spec.lat), ("lon", spec.lon)) if a)
    where = {
        "grid": f"{_grid(spec)} ({hull}{', periodic' if spec.periodic else ''}){_masked(spec)}",
        "frames": f"{_frames(spec)}, {spec.window} at once",
        "summary": spec.summary,
        "license": spec.license,
    }
    found = [
        Section("Variables", variables, f"({len(spec.variables)})", opened=True),
        Section("Grid and time", attributes({k: v for k, v in where.items() if v}), opened=True),
    ]
    records = {"System": spec.system, "Architecture": spec.architecture, "Training": spec.training}
    for title, record in (records | {"Scores": spec.scores}).items():
        if record:
            found.append(Section(title, cell(record), f"({len(record)})"))
    return found


def _grid(spec: Spec) -> str:
    return f"{len(spec.lat)} x {len(spec.lon)}"


def _masked(spec: Spec) -> str:
    """Share of cells of the state that never have a value."""
    # A mask that is damaged is reported where the file is read.
    with contextlib.suppress(ModelError, TypeError):
        if spec.masked is not None:
            masked = spec.masked[: spec.state_channels]
            return f", {masked.mean():.0%} masked" if masked.mean() >= _SHOWN else f", {masked.sum()} values masked"
    return ""


def _frames(spec: Spec) -> str:
    return f"every {spec.time_step:g}{'' if spec.flat else ' h'}"


def _levels(variable: VariableSpec) -> str:
    if not variable.levels:
        return ""
    units = variable.level_attrs.get("units", "1")
    span = f"{variable.levels[0]:.4g} to {variable.levels[-1]:.4g}{'' if units == '1' else f' {units}'}"
    return f"{variable.level_dim}: {len(variable.levels)}, {span}"


def _data(spec: Spec) -> str:
    """Frames and period of the training data, where the header says them."""
    data = spec.training.get("data")
    if not isinstance(data, Mapping) or not all(isinstance(data.get(k), str) for k in ("start", "end")):
        return ""
    return f"; trained on {data.get('frames')} frames, {data['start']:.10} to {data['end']:.10}"


def _skill(spec: Spec) -> str:
    """Held-out CRPS over that of the climatology, where the training has measured it."""
    held_out = spec.scores.get("held_out", {})
    values = []
    # Scores are a free-form record, and no reason for a repr to fail.
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        for name, scores in held_out.items():
            crps = scores["relative_crps"]
            values.append(f"{name} {min(crps):.2f}" + (f" to {max(crps):.2f}" if len(crps) > 1 else ""))
    return f"; held-out CRPS relative to climatology: {', '.join(values)}" if values else ""
