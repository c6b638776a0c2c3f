r"""How far the errors of a source are correlated in space, from residuals at the times of a calibration.

Residuals of one time, in units of their standard deviations, are taken for Gaussian with correlation :math:`(1 -
\eta)(1 + d / L) e^{-d / L}` at a distance :math:`d` along the chord, and :math:`\eta` of the variance independent.
:math:`L` and :math:`\eta` are those of largest likelihood. Whether they are used is decided by times that were held
out: in each of several blocks, the likelihood of its residuals with what the other blocks say is compared with that of
independent errors, and correlations are taken where the gain is more than twice its standard error over the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xslams.sphere import EARTH_RADIUS, unit_vectors
from xslams.typing import FloatArray

__all__ = ["Correlation", "correlation_in_space"]

_LENGTHS = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0)
_SHARES = (0.05, 0.2, 0.4, 0.6, 0.8)
_BLOCKS = 8
# Times and places that are looked at; more tell the same.
_TIMES, _PLACES = 160, 120


@dataclass(frozen=True)
class Correlation:
    """Correlation of errors in space.

    Attributes
    ----------
    length
        In km.
    independent
        Share of the variance that is independent from place to place.
    gain
        Logarithm of the ratio of held-out likelihoods to that of independent errors, per value.
    """

    length: float
    independent: float
    gain: float


@dataclass(frozen=True)
class _Frame:
    """Residuals of one time, shape (n,), and the directions of their places, shape (n, 3)."""

    values: FloatArray
    at: FloatArray


def correlation_in_space(
    residual: FloatArray, lat: FloatArray, lon: FloatArray, hour: FloatArray
) -> Correlation | None:
    """Return the correlation of residuals in space; None where independent ones do as well.

    Parameters
    ----------
    residual
        In units of their standard deviations, shape (n,).
    lat, lon
        Places in degrees, shape (n,).
    hour
        Times in hours, shape (n,).

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(60, 30))
    >>> where = np.tile(np.linspace(0.0, 20.0, 30), 60), np.zeros(1800), np.repeat(np.arange(60.0), 30)
    >>> correlation_in_space(noise.ravel(), *where) is None
    True
    """
    frames = list(_frames(residual, unit_vectors(lat, lon), hour))
    if len(frames) < 2:
        return None
    candidates = [(length, share) for length in _LENGTHS for share in _SHARES]
    # Of each frame and candidate, in nats more than with independent errors.
    gains = np.array([_gains(frame, candidates) for frame in frames])
    blocks = [b for b in np.array_split(np.arange(len(frames)), min(_BLOCKS, len(frames))) if b.size]
    total = gains.sum(axis=0)
    held_out = np.array([gains[b][:, np.argmax(total - gains[b].sum(axis=0))].sum() for b in blocks])
    error = float(np.std(held_out, ddof=1)) * np.sqrt(len(blocks))
    if held_out.sum() <= 2.0 * error:
        return None
    length, share = candidates[int(np.argmax(total))]
    return Correlation(length, share, float(held_out.sum()) / sum(f.values.size for f in frames))


def _frames(residual: FloatArray, at: FloatArray, hour: FloatArray) -> Iterator[_Frame]:
    """Residuals time by time, of some times and places."""
    times = np.unique(hour)
    order = np.argsort(hour, kind="stable")
    first = np.searchsorted(hour[order], times)
    last = np.append(first[1:], hour.size)
    rng = np.random.default_rng(0)
    for n in np.unique(np.linspace(0, times.size - 1, min(_TIMES, times.size)).astype(int)):
        own = order[first[n] : last[n]]
        if own.size > 1:
            own = own if own.size <= _PLACES else rng.choice(own, _PLACES, replace=False)
            yield _Frame(residual[own], at[own])


def _gains(frame: _Frame, candidates: list[tuple[float, float]]) -> FloatArray:
    """Logarithm of the likelihood under each candidate, less that of independent errors."""
    distance = EARTH_RADIUS * np.sqrt(np.maximum(((frame.at[:, None] - frame.at) ** 2).sum(axis=-1), 0.0))
    plain = float(frame.values @ frame.values)
    out = np.empty(len(candidates))
    known: dict[float, tuple[FloatArray, FloatArray]] = {}
    for i, (length, share) in enumerate(candidates):
        if length not in known:
            ratio = distance / length
            eigenvalues, vectors = np.linalg.eigh((1.0 + ratio) * np.exp(-ratio))
            known[length] = np.maximum(eigenvalues, 0.0), (vectors.T @ frame.values) ** 2
        spectrum, power = known[length]
        variance = (1.0 - share) * spectrum + share
        out[i] = -0.5 * float(np.log(variance).sum() + (power / variance).sum() - plain)
    return out
