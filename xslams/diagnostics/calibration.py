r"""Whether an ensemble is calibrated: a test of its rank histogram, and the ratio of spread and error, with errors.

Cells of one time are alike, and so are neighbouring times; to count them as independent cases makes every histogram
significant. Here one time makes one histogram, of which the two contrasts that matter are taken (Jolliffe and Primo
2008, doi:10.1175/2007MWR2219.1): its slope, which is a bias, and its curvature, which is a spread of the wrong size.
Their means over blocks of times are nearly independent, and Hotelling's test says whether they differ from zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from scipy import stats

from xslams import scores
from xslams.diagnostics.diagnosis import Finding
from xslams.scores import statistics
from xslams.scores.dimensions import average, is_time, space
from xslams.scores.matching import match
from xslams.scores.sampling import block_length, block_means, bootstrap
from xslams.typing import FloatArray

__all__ = ["calibration", "flatness"]

_LEVEL = 0.05  # of significance
_FEWEST = 4  # blocks that allow a test


def flatness(histograms: FloatArray) -> tuple[float, FloatArray]:
    """Test whether rank histograms are flat.

    Parameters
    ----------
    histograms
        Shares of each rank at each time, shape (time, rank).

    Returns
    -------
    tuple of float and ndarray
        Probability of contrasts as large if the ensemble is calibrated, NaN with too few times; and slope and
        curvature, in units where 1 is a histogram that lies wholly on one side, or at both ends.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> flat = rng.multinomial(500, np.ones(9) / 9, size=40) / 500
    >>> p, _ = flatness(flat)
    >>> u, contrasts = flatness(flat + 0.02 * np.linspace(-1, 1, 9) ** 2)
    >>> p > 0.05, u < 0.05, contrasts[1] > 0
    (True, True, np.True_)
    """
    ranks = histograms.shape[1]
    x = np.linspace(-1.0, 1.0, ranks)
    curve = x**2 - (x**2).mean()
    contrasts = histograms @ np.stack([x, curve / curve.max()], axis=1)
    contrasts = contrasts[:, : min(2, ranks - 1)]
    parts = block_means(contrasts, block_length(contrasts))
    count, tests = parts.shape
    mean = contrasts.mean(0)
    if count < max(_FEWEST, tests + 2):
        return float("nan"), mean
    covariance = np.atleast_2d(np.cov(parts.T)) / count
    if np.linalg.matrix_rank(covariance) < tests:
        return float("nan"), mean
    squared = float(mean @ np.linalg.solve(covariance, mean)) * (count - tests) / (tests * (count - 1))
    return float(stats.f.sf(squared, tests, count - tests)), mean


def calibration(analysis: xr.DataArray, truth: xr.DataArray, subject: str) -> Iterator[Finding]:
    """Judge one variable at one level.

    Parameters
    ----------
    analysis
        Ensemble.
    truth
        Truth on the same grid.
    subject
        What it is called.
    """
    analysis, truth = match(analysis, truth)
    cells: Sequence[object] = space(truth)
    time = next((d for d in truth.dims if is_time(truth, d)), None)
    if time is None:
        analysis, truth = (field.expand_dims("time") for field in (analysis, truth))
        time = "time"
    histogram = scores.rank_histogram(analysis, truth, list(cells)).transpose(time, "rank").values
    yield _ranks(histogram, subject)
    yield _ratio(analysis, truth, list(cells), time, subject)


def _ranks(histogram: FloatArray, subject: str) -> Finding:
    histogram = histogram[np.isfinite(histogram).all(1)]
    p, contrasts = flatness(histogram)
    slope, curvature = float(contrasts[0]), float(contrasts[1]) if len(contrasts) > 1 else 0.0
    if np.isnan(p):
        meaning = f"{len(histogram)} times are too few to tell chance from a fault."
        return Finding(subject, "rank test p", p, np.nan, np.nan, "unsure", meaning, "Diagnose a longer period.")
    if p > _LEVEL:
        meaning = "The ranks of the truth among the members are as flat as chance makes them: calibrated."
        return Finding(subject, "rank test p", p, np.nan, np.nan, "good", meaning)
    if abs(slope) > abs(curvature):
        meaning = f"The truth lies too often {'above' if slope > 0 else 'below'} the members: the analysis is biased."
        advice = "Look for biases of observations (QualityControl(bias=...)) and of the model."
    elif curvature > 0:
        meaning = "The truth lies too often outside of the members: the ensemble is too sure."
        advice = "State larger errors of observations, or their correlations."
    else:
        meaning = "The truth lies too often in the middle of the members: the ensemble is too wide."
        advice = "State smaller errors of observations, if they are better than was said."
    return Finding(subject, "rank test p", p, np.nan, np.nan, "bad", meaning, advice)


def _ratio(analysis: xr.DataArray, truth: xr.DataArray, cells: list[object], time: object, subject: str) -> Finding:
    variance = average(statistics.ensemble_variance(analysis, truth), cells)
    square = average(statistics.squared_error(analysis, truth), cells)
    each = np.stack([variance.transpose(time).values, square.transpose(time).values], axis=1)
    each = each[np.isfinite(each).all(1)]
    every = analysis.dims
    ratio = float(scores.spread_skill(analysis, truth, every))
    factor = ratio / max(np.sqrt(each[:, 0].mean() / max(each[:, 1].mean(), 1e-300)), 1e-300)
    draws = bootstrap(each, lambda m: factor * np.sqrt(m[..., 0] / np.maximum(m[..., 1], 1e-300)))
    sure = float(draws.std())
    if np.isnan(sure):
        meaning, advice, verdict = f"{len(each)} times are too few to judge it.", "Diagnose a longer period.", "unsure"
    elif abs(ratio - 1.0) <= max(2.0 * sure, 0.05):
        meaning, advice, verdict = "The spread is as large as the error of the mean.", "", "good"
    elif ratio < 1.0:
        meaning = f"The error is {1 / ratio:.2g} times as large as the spread says: the ensemble is too sure."
        advice, verdict = f"Multiply the stated errors by up to {1 / ratio:.2g}, and see what the sources say.", "bad"
    else:
        meaning = f"The spread is {ratio:.2g} times as large as the error: the ensemble is too wide."
        advice, verdict = "State smaller errors, if the sources below agree.", "bad"
    return Finding(subject, "spread / error", ratio, sure, 1.0, verdict, meaning, advice)
