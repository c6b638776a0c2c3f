"""Results that are tables: printed as text, and written as .nc, .zarr or .json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xslams.cli.root import data_format

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["check_target", "report", "scores", "write"]

_ALSO = (".json",)


def check_target(out: str | None, *, overwrite: bool, inputs: Iterable[str | None]) -> None:
    """Raise an error, before anything is computed, if a table cannot be written at `out`."""
    from xslams.cli import targets

    if out is not None:
        data_format(out, also=_ALSO)
        targets.check_target(out, overwrite=overwrite, inputs=inputs)


def write(table: xr.Dataset, out: str | None) -> None:
    """Write a table, unless `out` is None."""
    from xslams import __version__
    from xslams.cli import files
    from xslams.pipeline.targets import MARK

    if out is None:
        return
    if data_format(out, also=_ALSO) is not None:
        files.write_data(table, out)
        return
    text = json.dumps(table.assign_attrs({MARK: __version__}).to_dict(), indent=1, default=str)
    files.write_file(out, lambda path: Path(path).write_text(text, encoding="utf-8"))


def scores(found: xr.Dataset) -> str:
    """Format all scores except histograms as a table; a score without dimensions is one line."""
    names = [n for n, v in found.data_vars.items() if not any(str(d).endswith("rank") for d in v.dims)]
    chosen = found[names]
    bare = {str(n): float(chosen[n]) for n in names if not chosen[n].dims}
    lines = [f"{n:<24} {v:.4g}" for n, v in bare.items()]
    by_dims: dict[tuple[Any, ...], list[Any]] = {}
    for n in names:
        if chosen[n].dims:
            by_dims.setdefault(chosen[n].dims, []).append(n)
    for group in by_dims.values():
        extra = [c for c in chosen[group].coords if c not in chosen[group].dims]
        frame = chosen[group].drop_vars(extra).to_dataframe()
        lines.append(frame.to_string(float_format="{:.4g}".format))
    return "\n".join(lines)


def report(found: xr.Dataset) -> str:
    """Format a report on observations: one line for each source, with innovations before and after the analysis."""
    import pandas as pd

    counts = [n for n in ("given", "used", "likelihood", "downweighted", "error", "bias") if n in found]
    columns: dict[str, Any] = {n: found[n].values for n in counts}
    for reason in found["reason"].values:
        rejected = found["rejected"].sel(reason=reason).values
        if rejected.any():
            columns[f"rejected: {reason}"] = rejected
    for stage in found["stage"].values:
        for n in ("innovation_mean", "innovation_std", "expected_std", "spread"):
            columns[f"{n} {stage}"] = found[n].sel(stage=stage).values
    names = [f"{name} ({unit})" for name, unit in zip(found["source"].values, found["units"].values, strict=True)]
    frame = pd.DataFrame(columns, index=pd.Index(names, name="source")).dropna(axis="columns", how="all")
    text: str = frame.T.to_string(float_format="{:.4g}".format)
    return text
