"""Physical consistency of velocities on a doubly periodic square: spectrum, divergence, enstrophy, increments.

All fields are numpy arrays (..., y, x) on points that are evenly spaced; derivatives are those of Fourier series.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xslams.typing import FloatArray

__all__ = ["PHYSICS", "consistency", "divergence", "increments", "spectrum", "vorticity"]

#: What `consistency` finds.
PHYSICS = ("spectrum error", "divergence", "enstrophy", "increments", "flatness")
# Share of the energy below which a wavenumber holds none, as those that a spectral model cuts off.
_LEAST = 1e-6


def _derivative(field: FloatArray, axis: int) -> FloatArray:
    n = field.shape[axis]
    k = np.fft.fftfreq(n, 1 / n)
    k[n // 2] = 0.0  # the shortest wave has no derivative on the points
    shape = [1] * field.ndim
    shape[axis] = n
    found: FloatArray = np.fft.ifft(1j * k.reshape(shape) * np.fft.fft(field, axis=axis), axis=axis).real
    return found


def vorticity(u: FloatArray, v: FloatArray) -> FloatArray:
    """Vorticity on a square of 2 pi.

    Examples
    --------
    >>> y, x = np.mgrid[0:8, 0:8] * np.pi / 4
    >>> bool(np.allclose(vorticity(np.sin(y), np.sin(2 * x)), 2 * np.cos(2 * x) - np.cos(y)))
    True
    """
    return _derivative(v, -1) - _derivative(u, -2)


def divergence(u: FloatArray, v: FloatArray) -> FloatArray:
    """Divergence on a square of 2 pi."""
    return _derivative(u, -1) + _derivative(v, -2)


def spectrum(u: FloatArray, v: FloatArray) -> FloatArray:
    """Kinetic energy by wavenumber 1, 2, ..., below half the number of points, averaged over leading axes.

    Examples
    --------
    >>> y, x = np.mgrid[0:8, 0:8] * np.pi / 4
    >>> spectrum(np.sin(2 * y), 0 * x).round(3).tolist()
    [0.0, 0.25, 0.0]
    """
    n = u.shape[-1]
    k = np.fft.fftfreq(n, 1 / n)
    shell = np.rint(np.hypot(k[:, None], k[None, :])).astype(int)
    power = sum(np.abs(np.fft.fft2(f) / n**2) ** 2 for f in (u, v)) / 2
    power = power.reshape(-1, n, n).mean(0)
    found: FloatArray = np.array([power[shell == w].sum() for w in range(1, n // 2)])
    return found


def increments(field: FloatArray, apart: int = 1) -> FloatArray:
    """Differences of values that lie some points apart along x."""
    found: FloatArray = np.roll(field, -apart, axis=-1) - field
    return found


def consistency(u: FloatArray, v: FloatArray, truth: tuple[FloatArray, FloatArray]) -> dict[str, float]:
    """Compare the statistics of a flow with those of the truth.

    Parameters
    ----------
    u, v
        Velocities (..., y, x) of members and times.
    truth
        Velocities of the truth.

    Returns
    -------
    dict
        ``spectrum error``: root mean square of the logarithm of the ratio of energy to that of the truth, over all
        wavenumbers at which the truth has some; ``divergence``: root mean square over that of the vorticity;
        ``enstrophy`` and ``increments``: mean squares of the vorticity and of its differences between neighbours, over
        those of the truth; ``flatness`` of the differences: 3 for a Gaussian.
    """
    u, v, (tu, tv) = np.asarray(u, float), np.asarray(v, float), (np.asarray(a, float) for a in truth)
    own, other = vorticity(u, v), vorticity(tu, tv)
    energy, true = spectrum(u, v), spectrum(tu, tv)
    held = true > _LEAST * true.sum()
    ratio = np.log(energy[held] / true[held])
    step, true_step = increments(own), increments(other)
    found: dict[str, Any] = {
        "spectrum error": np.sqrt(np.mean(ratio**2)),
        "divergence": np.sqrt(np.mean(divergence(u, v) ** 2) / np.mean(own**2)),
        "enstrophy": np.mean(own**2) / np.mean(other**2),
        "increments": np.mean(step**2) / np.mean(true_step**2),
        "flatness": np.mean(step**4) / np.mean(step**2) ** 2,
    }
    return {name: float(value) for name, value in found.items()}
