"""All scores of all variables in one Dataset."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import xarray as xr

from xslams.arguments import require, require_flag
from xslams.scores.base import SCORES
from xslams.scores.dimensions import MEMBER
from xslams.scores.matching import pairs
from xslams.scores.uncertainty import uncertainties

__all__ = ["score"]


def score(
    analysis: xr.Dataset | xr.DataArray,
    truth: xr.Dataset | xr.DataArray,
    *,
    dims: Sequence[Hashable] | None = None,
    uncertainty: bool = False,
) -> xr.Dataset:
    """Score every variable that analysis and truth share.

    Parameters
    ----------
    analysis
        Fields with or without a dimension ``member``.
    truth
        Fields on the same grid, in any order of latitudes and in units that convert; times, levels and stations that
        only one of the two has are left out, and the attribute ``matched`` of every score says how many are left.
    dims
        Dimensions to average over; by default time and the horizontal ones, so that levels stay.
    uncertainty
        Also return the sampling error of every score that is made of means over time, as ``rmse_uncertainty``: one
        standard deviation by a bootstrap of blocks of times, see `xslams.scores.sampling`. NaN with fewer than four
        times.

    Returns
    -------
    Dataset
        ``rmse``, ``bias`` and ``crps``, which is the mean absolute error where there are no members; for an ensemble
        also ``spread``, ``spread_skill`` and ``rank_histogram``; for fields in space also ``wasserstein``; and scores
        that others have registered, see `register_score`. Where several variables are scored, each name is preceded by
        that of its variable: ``t_rmse``. Lazy where an input is.

    Raises
    ------
    OptionError
        If `truth` or `dims` is something else.
    VariableError
        If no variable is in both.
    UnitError
        If units cannot be converted.
    GridError
        If grids differ, or no level is in both.
    CoverageError
        If no time is in both.
    """
    require(isinstance(truth, xr.Dataset | xr.DataArray), "truth", truth, "a Dataset or a DataArray")
    names = {*analysis.dims, *truth.dims}
    given: object = dims
    listed = isinstance(given, Sequence | set | frozenset) and not isinstance(given, str | bytes)
    known = given is None or (listed and all(d in list(names) for d in dims or ()))
    require(known, "dims", dims, f"a list of dimensions, of {', '.join(map(repr, sorted(names, key=str)))}")
    require_flag(uncertainty=uncertainty)
    scored = {name: _score_variable(a, t, dims, uncertainty) for name, (a, t) in pairs(analysis, truth).items()}
    if len(scored) == 1:
        (result,) = scored.values()
    else:
        result = xr.merge(
            [part.rename({k: f"{name}_{k}" for k in part.data_vars}) for name, part in scored.items()],
            compat="override", join="outer", combine_attrs="drop",
        )  # fmt: skip
    result.attrs = {
        "Conventions": "CF-1.11",
        "title": "Area-weighted scores of " + ", ".join(str(name) for name in scored),
    }
    return result


def _score_variable(
    analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None, uncertainty: bool
) -> xr.Dataset:
    chosen = {name: s.function for name, s in SCORES.items() if s.suits(analysis, truth, dims)}
    if analysis.sizes.get(MEMBER) == 1:
        analysis = analysis.isel({MEMBER: 0}, drop=True)
    found = {name: function(analysis, truth, dims) for name, function in chosen.items()}
    return xr.Dataset(found | (uncertainties(analysis, truth, dims, chosen) if uncertainty else {}))
