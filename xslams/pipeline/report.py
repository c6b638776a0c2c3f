"""The report on observations that an analysis carries, and how it comes back from one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import observations
from xslams.errors import VariableError
from xslams.spec import Spec

if TYPE_CHECKING:
    from xslams.observations import BoundSource
    from xslams.pipeline.windows import AnalysisWindow

__all__ = ["STATISTICS", "WINDOW_START", "carry", "labels", "report", "tables_of"]

#: Coordinates of an analysis that report on its observations: statistics of its analysis windows, and the first time of
#: each.
STATISTICS, WINDOW_START = "obs_statistics", "obs_start"
_STATISTICS_DIMS = "obs_segment", "obs_source", "obs_statistic"


def carry(
    analysis: xr.Dataset,
    tables: Any,
    names: Sequence[str],
    units: Sequence[str],
    time: xr.DataArray,
    windows: Sequence[AnalysisWindow],
) -> xr.Dataset:
    """Let an analysis carry statistics of its observations.

    Parameters
    ----------
    analysis
        The analysis.
    tables
        Sums over the observations of each window, shape (window, source, statistic); lazy if need be.
    names, units
        Names and units of the parts of all sources.
    time
        Times of all frames.
    windows
        Analysis windows.

    Returns
    -------
    Dataset
        The analysis with coordinates that `report` understands.
    """
    starts = time.variable[[w.first for w in windows]]
    return analysis.assign_coords(
        {
            # Of every window, so that a store can hold them region by region; as objects, since zarr has no stable form
            # of strings of fixed length.
            STATISTICS: (_STATISTICS_DIMS, tables, {"long_name": "sums over the observations of a segment"}),
            WINDOW_START: ("obs_segment", starts.data, {"long_name": "first time of a segment"}),
            "obs_source": xr.Variable("obs_source", np.array(names, object)),
            "obs_units": ("obs_source", np.array(units, object)),
            "obs_statistic": xr.Variable("obs_statistic", np.array(observations.COLUMNS, object)),
        }
    ).drop_indexes(["obs_source", "obs_statistic"])


def report(analysis: xr.Dataset) -> xr.Dataset:
    """Report on observations that an analysis carries; see ``analysis.slams.report``.

    Parameters
    ----------
    analysis
        Result of ``ds.slams.assimilate(..., report=True)``.

    Returns
    -------
    Dataset
        As `xslams.observations.report.report`.

    Raises
    ------
    VariableError
        If it carries none.
    """
    if STATISTICS not in analysis.coords:
        msg = (
            "This Dataset carries no report on observations. Ask for one: ds.slams.assimilate(obs, model, "
            "report=True); or see what would become of them: ds.slams.check(obs, model)."
        )
        raise VariableError(msg)
    names, units, tables = tables_of(analysis)
    # Windows that an incomplete store lacks are NaN.
    return observations.report(names, units, observations.total(tables), after=True)


def tables_of(analysis: xr.Dataset) -> tuple[list[str], list[str], Any]:
    """Return names and units of the sources of an analysis that carries a report, and its statistics.

    Parameters
    ----------
    analysis
        Result of ``ds.slams.assimilate(..., report=True)``.

    Returns
    -------
    tuple of list, list and ndarray
        Statistics of shape (window, source, column); lazy where they are, in one piece.
    """
    found = analysis[STATISTICS].variable
    if found.chunks is not None:
        # In one piece, so that sums come out the same to the last bit, lazy or not.
        found = found.chunk({"obs_segment": -1})
    # Names come back from files as strings of fixed length.
    names, units, columns = ([str(v) for v in analysis[n].values] for n in ("obs_source", "obs_units", "obs_statistic"))
    tables = found.data
    if tuple(columns) != observations.COLUMNS:
        # Written by another version: what it did not sum up is unknown.
        place = {name: i for i, name in enumerate(columns)}
        tables = np.concatenate([tables, np.full_like(tables[..., :1], np.nan)], axis=-1)
        tables = tables[..., [place.get(name, len(columns)) for name in observations.COLUMNS]]
    return names, units, tables


def labels(spec: Spec, sources: Sequence[BoundSource], background_error: object) -> tuple[list[str], list[str]]:
    """Names and units of the parts of all sources, the background last."""
    found = [label for source in sources for label in source.labels]
    units = [units for source in sources for units in source.units]
    if background_error is not None:
        names = [v.name for v in spec.state]
        found += ["background"] if len(names) == 1 else [f"background:{n}" for n in names]
        units += [v.units for v in spec.state]
    return found, units
