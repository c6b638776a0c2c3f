"""How sure a mean over time is: blocks that are as long as errors remember, and the bootstrap of such blocks.

Errors of neighbouring times are alike, so that n times tell less than n independent ones would. Blocks of times keep
what is alike together: means over them are nearly independent, and drawing blocks instead of times with replacement
(circular block bootstrap, Politis and Romano 1992) gives the sampling error of anything made of means.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xslams.typing import FloatArray

__all__ = ["block_length", "block_means", "bootstrap"]

_DRAWS = 400


def block_length(values: FloatArray) -> int:
    """Length of blocks whose means are nearly independent.

    The number of times that count as one, :math:`(1 + r) / (1 - r)` with the correlation :math:`r` of neighbours, and
    no less than the third root of n; a quarter of all times at most.

    Parameters
    ----------
    values
        Series, shape (time, ...); the longest memory of all counts.

    Examples
    --------
    >>> block_length(np.tile([1.0, -1.0], 32)), block_length(np.repeat([1.0, -1.0, -1.0, 1.0], 16))
    (4, 16)
    """
    series = np.reshape(np.asarray(values, float), (len(values), -1))
    anomaly = series - series.mean(0)
    variance = (anomaly**2).sum(0)
    known = variance > 1e-12 * np.maximum((series**2).sum(0), 1e-300)
    lagged = (anomaly[1:] * anomaly[:-1]).sum(0)[known] / variance[known]
    r = float(np.clip(lagged.max(initial=0.0), 0.0, 0.95))
    least = len(series) ** (1.0 / 3.0)
    return int(np.clip(round(max((1.0 + r) / (1.0 - r), least)), 1, max(len(series) // 4, 1)))


def block_means(values: FloatArray, length: int) -> FloatArray:
    """Means over blocks of times, shape (block, ...); what does not fill a block at the end is left out."""
    count = len(values) // length
    cut = np.asarray(values, float)[: count * length]
    return np.asarray(cut.reshape(count, length, *cut.shape[1:]).mean(1))


def bootstrap(
    values: FloatArray, statistic: Callable[[FloatArray], FloatArray], *, length: int | None = None, seed: int = 0
) -> FloatArray:
    """Draws of a statistic of means over time.

    Parameters
    ----------
    values
        What is averaged, shape (time, ...).
    statistic
        Function of means, shape (draw, ...), to what they make, shape (draw, ...).
    length
        Length of blocks; by default `block_length`.
    seed
        Makes the draws repeatable.

    Returns
    -------
    ndarray
        Shape (draw, ...), whose standard deviation is the sampling error; NaN where there are fewer than four times.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(100, 1))
    >>> round(float(bootstrap(values, lambda mean: mean, length=1).std()), 1)
    0.1
    """
    values = np.asarray(values, float)
    count = len(values)
    if count < 4:
        return np.full_like(statistic(np.tile(values.mean(0), (_DRAWS, *[1] * (values.ndim - 1)))), np.nan)
    length = block_length(values) if length is None else length
    starts = np.random.default_rng(seed).integers(count, size=(_DRAWS, -(-count // length)))
    chosen = ((starts[:, :, None] + np.arange(length)) % count).reshape(_DRAWS, -1)[:, :count]
    return np.asarray(statistic(np.stack([values[index].mean(0) for index in chosen])))
