"""Scores of each case and level, and intervals over cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

import xslams  # noqa: F401  (registers .slams)

__all__ = ["METRICS", "along", "comparisons", "difference", "interval", "paired", "score", "summary"]

#: What is kept of each case and level: squares add up over cases, roots do not.
METRICS = ("mse", "crps", "variance", "wasserstein")
_DRAWS = 2000


def score(ensemble: xr.Dataset, truth: xr.Dataset, level: str) -> pd.DataFrame:
    """Score temperature, weighted by area, over all frames of a case.

    Parameters
    ----------
    ensemble
        Members, or a single field without a dimension ``member``.
    truth
        The truth.
    level
        Dimension of levels.

    Returns
    -------
    DataFrame
        One row for each level, with the columns of `METRICS` in K or K2.
    """
    found = ensemble[["t"]].slams.score(truth[["t"]]).compute()
    variance = found["spread"] ** 2 if "spread" in found else xr.zeros_like(found["rmse"])
    columns = {"mse": found["rmse"] ** 2, "crps": found["crps"], "variance": variance}
    columns["wasserstein"] = found["wasserstein"]
    return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()}, index=truth[level].values)


def summary(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Scores over all cases and levels, with intervals of 95 % over cases, and seconds of the processor for a member.

    Parameters
    ----------
    frame
        Rows of cases and levels.
    by
        Columns that tell one method from another.
    """
    rows = {}
    for key, part in frame.groupby(list(by), sort=False):
        cases = part.groupby("case")[list(METRICS)].mean()
        root, crps, distance = np.sqrt(cases["mse"].mean()), cases["crps"].mean(), cases["wasserstein"].mean()
        rows[key if len(by) > 1 else key[0]] = {
            "RMSE": root,
            "RMSE 95 %": _text(interval(cases["mse"].to_numpy(), root=True)),
            "CRPS": crps,
            "CRPS 95 %": _text(interval(cases["crps"].to_numpy())),
            "spread/error": np.sqrt(cases["variance"].mean()) / root,
            "Wasserstein": distance,
            "s/member": part["seconds"].mean(),
        }
    return pd.DataFrame(rows).T.rename_axis(list(by) if len(by) > 1 else by[0])


def interval(values: npt.NDArray[np.float64], *, root: bool = False) -> tuple[float, float]:
    """Interval of 95 % of the mean over cases, by the bootstrap; of its root for squares.

    Examples
    --------
    >>> low, high = interval(np.array([1.0, 1.0, 1.0]))
    >>> low == high == 1.0
    True
    """
    index = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.quantile(values[index].mean(1), [0.025, 0.975])
    return (float(np.sqrt(low)), float(np.sqrt(high))) if root else (float(low), float(high))


def difference(
    frame: pd.DataFrame, one: Mapping[str, object], other: Mapping[str, object], metric: str = "crps"
) -> npt.NDArray[np.float64]:
    """Difference of a score between two methods, for each case that both have.

    Parameters
    ----------
    frame
        Rows of cases and levels.
    one, other
        Values of columns that tell a method.
    metric
        A column of `METRICS`.

    Returns
    -------
    ndarray
        The score of `one` less that of `other`, a mean over levels.
    """
    values = [
        frame[np.logical_and.reduce([frame[k] == v for k, v in which.items()])].groupby("case")[metric].mean()
        for which in (one, other)
    ]
    return (values[0] - values[1]).dropna().to_numpy()


def paired(frame: pd.DataFrame, one: Mapping[str, object], other: Mapping[str, object], metric: str = "crps") -> str:
    """Mean `difference` of a score between two methods over the same cases, with its interval of 95 %, as text."""
    found = difference(frame, one, other, metric)
    low, high = interval(found)
    return f"{found.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def comparisons(frame: pd.DataFrame) -> dict[str, tuple[dict[str, object], dict[str, object]]]:
    """Return what is compared with what by a name: latent with pixel model, and each source with the same without it.

    Parameters
    ----------
    frame
        Rows of cases and levels, with sources that are each in addition to those before.
    """
    chosen = frame[frame["method"].isin(["pixel", "latent"])]
    sets = list(dict.fromkeys(chosen["sources"]))
    found: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        f"latent less pixel, {names}": ({"method": "latent", "sources": names}, {"method": "pixel", "sources": names})
        for names in sets
    }
    for kind in ("pixel", "latent"):
        for before, after in pairwise(sets):
            added = after.removeprefix(before).strip(", ")
            pair = {"method": kind, "sources": after}, {"method": kind, "sources": before}
            found[f"{added} added, {kind}"] = pair
    return found


def along(frame: pd.DataFrame, column: str, metric: str = "crps") -> pd.DataFrame:
    """Return all `comparisons` with intervals of 95 %, for each value of what is varied.

    Parameters
    ----------
    frame
        Rows of cases and levels.
    column
        What is varied.
    metric
        A column of `METRICS`.
    """
    pairs = comparisons(frame)
    return pd.DataFrame(
        {
            value: {name: paired(part, one, other, metric) for name, (one, other) in pairs.items()}
            for value, part in frame.groupby(column)
        }
    ).rename_axis(columns=column)


def _text(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}"
