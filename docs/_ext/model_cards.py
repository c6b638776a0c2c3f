"""Cards of the shipped models: the directive ``model-cards`` makes them from the headers of the model files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective

import xslams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docutils import nodes
    from sphinx.application import Sphinx

    from xslams.model import Model
    from xslams.spec import Spec

#: Settings that are the same in every model, or are said elsewhere on the card.
_SAID = {"data", "source", "command", "use", "limits", "script", "settings", "trials", "version", "seed", "network"}
_SHORT = 12  # characters of a hash
_NAMES = {
    "crps": "CRPS", "rmse": "RMSE", "spread_skill": "spread/error", "relative_crps": "CRPS/climatology",
    "gain": "CRPS/climatology, lower by",
    "second_run": "second run",
}  # fmt: skip


def grid(spec: Spec) -> str:
    """Describe the grid in words."""
    size = " x ".join(str(n) for n in spec.frame_shape[1:] if n > 1)
    if spec.flat:
        return f"{size} points" if size else "none: a few variables"
    lat = sorted((spec.lat[0], spec.lat[-1]))
    if spec.periodic:
        return f"{size} cells, global"
    return f"{size} cells, {lat[0]:g} to {lat[1]:g} °N, {spec.lon[0]:g} to {spec.lon[-1]:g} °E"


def step(spec: Spec) -> str:
    """Describe the time step in words."""
    length = f"{spec.time_step:g} units of time" if spec.flat else f"{spec.time_step:g} h"
    return f"{length}; windows of {spec.window} frames"


def variables(spec: Spec) -> str:
    """List variables with units, levels and roles."""
    found = []
    for v in spec.variables:
        levels = f", {v.channels} levels" if v.channels > 1 else ""
        auxiliary = ", auxiliary" if v.role == "aux" else ""
        units = "no units" if v.units == "1" else v.units
        found.append(f"`{v.name}` ({units}{levels}{auxiliary})")
    return ", ".join(found)


def period(training: Mapping[str, Any]) -> str:
    """Return data and period of the training, from the record of `fit` or in free words."""
    data = training.get("data", "")
    if not isinstance(data, dict):
        return "; ".join(text for text in (str(data), str(training.get("source", ""))) if text)
    words = [str(data[k]) for k in ("title", "source") if data.get(k)]
    return "; ".join([*words, f"{str(data['start'])[:10]} to {str(data['end'])[:10]}, {data['frames']} frames"])


def text(value: Any) -> str:
    """Format a number, a range or a text."""
    if not isinstance(value, list):
        return f"{value}"
    # Of many levels the least and the largest.
    return " to ".join(f"{v:g}" for v in (value if len(value) <= 2 else (min(value), max(value))))


def facts(model: Model) -> Iterator[tuple[str, str]]:
    """Names and values of the rows of a card."""
    spec, training = model.spec, model.spec.training
    yield "variables", variables(spec)
    yield "grid", grid(spec)
    yield "time step", step(spec)
    yield "data", period(training)
    yield "command", f"`{training.get('command') or training.get('script') or 'not recorded'}`"
    more = {k: v for k, v in training.items() if k not in _SAID}
    if more:
        yield "training", "; ".join(f"{k}: {text(v)}" for k, v in sorted(more.items()))
    yield "use", str(training.get("use", "not recorded"))
    yield "limits", str(training.get("limits", "not recorded"))
    yield "licence", spec.license or "not recorded"
    size = 0.0 if model.path is None else model.path.stat().st_size / 1e6
    yield "file", f"{size:.1f} MB, sha256 `{model.sha256[:_SHORT]}...`"


def worth(benefit: Mapping[str, float]) -> dict[str, str]:
    """Row of what observations of an auxiliary variable are worth."""
    return {"gain": f"{benefit['gain']:.3f} ± {benefit['error']:.3f}"}


def scores(record: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the table of scores, and what they are scores of."""
    rows = {str(k): v for k, v in record.items() if isinstance(v, dict)}
    rows |= {f"held out: {k}": v for k, v in rows.pop("held_out", {}).items()}
    rows |= {f"held out: observing {k}": worth(v) for k, v in rows.pop("auxiliary", {}).items()}
    columns = list(dict.fromkeys(k for row in rows.values() for k in row))
    if not rows:
        yield "No scores are recorded."
        return
    yield "| scores | " + " | ".join(_NAMES.get(c, c) for c in columns) + " |"
    yield "|---|" + "---:|" * len(columns)
    for name, row in rows.items():
        yield f"| {name} | " + " | ".join(text(row.get(c, "")) for c in columns) + " |"
    yield ""
    said = [str(record["validation"])] if "validation" in record else []
    said += [f"`{record['benchmark']}`"] if "benchmark" in record else []
    yield f"Scores: {'; '.join(said)}." if said else ""


def card(model: Model) -> str:
    """Return a card in Markdown."""
    spec = model.spec
    rows = [f"| {name} | {value} |" for name, value in facts(model)]
    head = [f"### {spec.name}", "", f"{spec.summary}.", "", "| | |", "|---|---|"]
    return "\n".join([*head, *rows, "", *scores(spec.scores), ""])


class ModelCards(SphinxDirective):
    """One section for each model that is shipped with the package."""

    def run(self) -> list[nodes.Node]:
        known = xslams.list_models()
        names = known.index[known["where"] == "embedded"]
        made = [self.parse_text_to_nodes(card(xslams.open_model(n)), allow_section_headings=True) for n in names]
        return [node for nodes in made for node in nodes]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("model-cards", ModelCards)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
