"""Findings on the sources of observations: whether their errors are as stated, and what was learned from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from xslams.diagnostics.diagnosis import Finding, rounded
from xslams.likelihood.consistency import PRIOR, error_ratio, prior_shift
from xslams.scores.sampling import bootstrap
from xslams.typing import FloatArray

__all__ = ["consistency", "signal"]

# A ratio of variances that is nearer to 1 than this is not worth a change.
_MATTERS = 0.1


def consistency(label: str, sums: FloatArray, units: str = "") -> Iterator[Finding]:
    """Judge the stated errors of a source.

    Parameters
    ----------
    label
        Name of the source.
    sums
        Of its departures in every frame or analysis window, see `xslams.likelihood.consistency.sums_by_frame`.
    units
        Units of its values.
    """
    each = sums[sums[:, 0] > 0]
    if not len(each):
        return
    total = each.sum(0)
    chi, sure = float(total[1] / max(total[2], 0.01 * total[4])), _spread(each, 1, 2)
    yield Finding(label, "chi-square", chi, sure, 1.0, *_chi_square(chi, sure))
    ratio = float(error_ratio(total))
    stated = float(np.sqrt(total[4] / total[0]))
    estimate, off = stated * ratio**0.5, float(bootstrap(each, error_ratio).std())
    unit = f" {units}" if units and units != "1" else ""
    shift = PRIOR * float(prior_shift(total))
    known = f"the departures fit {estimate:.3g}{unit} (± {_error(off, estimate, ratio):.2g} by chance"
    fit = f"{known}; ± {_error(shift, estimate, ratio):.2g} if the prior's variance is {PRIOR:.0%} wrong)"
    difference = abs(ratio - 1.0)
    advice = ""
    if np.isnan(off):
        verdict, meaning = "unsure", f"Stated is {stated:.3g}{unit}, and the departures fit {estimate:.3g}{unit}, but "
        meaning += "there are too few times to judge it."
    elif difference <= max(2.0 * off, _MATTERS):
        verdict, meaning = "good", f"Stated is {stated:.3g}{unit}, which the departures confirm."
    elif difference <= shift:
        verdict = "unsure"
        meaning = f"Stated is {stated:.3g}{unit}, and {fit}: a prior that is a little wrong explains the difference."
        advice = "Judge the model first (diagnose with truth=), or the source beside others that see the same."
    else:
        verdict, meaning = "bad", f"Stated is {stated:.3g}{unit}, and {fit}."
        advice = (
            f"Multiply it by {ratio**0.5:.2g} (error={estimate:.2g} where it is one number) and diagnose again: a "
            "wrong error of one source also shifts the estimates of others, and a wrong prior those of all."
        )
    yield Finding(label, "error", estimate, _error(off, estimate, ratio), stated, verdict, meaning, advice)


def _error(of_ratio: float, estimate: float, ratio: float) -> float:
    """Return the error of an estimated standard deviation, given that of the ratio of variances."""
    return of_ratio * estimate / max(2.0 * ratio, 1e-12)


def _chi_square(chi: float, sure: float) -> tuple[str, str, str]:
    if np.isnan(sure):
        return "unsure", "There are too few times to judge it.", "Diagnose a longer period."
    if abs(chi - 1.0) <= max(2.0 * sure, _MATTERS):
        return "good", "The analysis is as close to these observations as the stated errors say.", ""
    if chi > 1.0:
        meaning = "The analysis is further from these observations than the stated errors allow: they are too small."
        return "bad", meaning, "State larger errors, look for a bias or gross errors (.slams.check), or wrong units."
    meaning = "The analysis is closer to these observations than the stated errors ask for: they are too large."
    return "bad", meaning, "State smaller errors."


def signal(each: Mapping[str, FloatArray]) -> Iterator[Finding]:
    """Say how much was learned from each source, from the spread of the analysis alone.

    Parameters
    ----------
    each
        Sums as for `consistency`, by name of the source.
    """
    whole = sum(float(sums[:, 5].sum()) for sums in each.values())
    for label, sums in each.items():
        dfs, count = float(sums[:, 5].sum()), float(sums[:, 0].sum())
        if not count or not whole:
            continue
        sure = len(sums) * float(bootstrap(sums[:, 5:6], lambda m: m[..., 0]).std())
        meaning = f"{count:.0f} values fixed {rounded(dfs)} numbers, {dfs / count:.1%} each."
        advice = "Most of it is known already: thin it, or average it to save time." if dfs < 0.02 * count else ""
        yield Finding(label, "degrees of freedom for signal", dfs, sure, np.nan, "information", meaning, advice)
        share = dfs / whole
        text = f"{share:.0%} of all that was learned from the sources judged here came from this one."
        yield Finding(label, "impact", share, np.nan, np.nan, "information", text)


def _spread(each: FloatArray, over: int, under: int) -> float:
    """Return the sampling error of a ratio of sums."""
    return float(bootstrap(each, lambda m: m[..., over] / np.maximum(m[..., under], 1e-300)).std())
