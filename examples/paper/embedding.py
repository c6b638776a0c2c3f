"""Lorenz-63, seen through a nonlinear embedding in many points, and its equations, identified from trajectories.

The embedding is that on which autoencoders for the identification of equations were tested (Champion, Lusch, Kutz and
Brunton 2019, arXiv 1904.02107): three Legendre polynomials carry the standardised variables, three more their cubes.
The points thus lie on a manifold of three dimensions in a space of six. The coefficients of the equations are
identified by least squares on their terms, as in SINDy (Brunton, Proctor and Kutz 2016), here in integral form: the
change over two steps against Simpson's rule for the integral of each term, which needs no derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.polynomial import legendre

from xslams.systems import Lorenz63
from xslams.typing import FloatArray

__all__ = ["TERMS", "Identified", "embed", "identify", "off_manifold", "states_of"]

#: Terms of the equations of x, y and z, and their true coefficients.
TERMS: tuple[dict[str, Callable[[Lorenz63], float]], ...] = (
    {"x": lambda s: -s.sigma, "y": lambda s: s.sigma},
    {"x": lambda s: s.rho, "y": lambda s: -1.0, "xz": lambda s: -1.0},
    {"xy": lambda s: 1.0, "z": lambda s: -s.beta},
)
# Weight of the cubes.
_CUBE = 0.3


class Identified(NamedTuple):
    """Equations that were identified.

    Attributes
    ----------
    coefficients
        By term and equation, see `TERMS`.
    residual
        Root mean square of the changes that the equations leave unexplained, over that of the changes; mean of the
        equations.
    error
        Root mean square of the relative errors of the coefficients.
    """

    coefficients: dict[str, float]
    residual: float
    error: float


def _polynomials(points: int) -> FloatArray:
    """Legendre polynomials of degrees 1 to 6 at the points, shape (6, points)."""
    x = np.linspace(-1, 1, points)
    return np.stack([legendre.legval(x, np.eye(7)[n]) for n in range(1, 7)])


def embed(ds: xr.Dataset, system: Lorenz63, points: int = 32) -> xr.Dataset:
    """Embed trajectories.

    Parameters
    ----------
    ds
        Of ``system.simulate``.
    system
        Gives mean and scale of the variables.
    points
        Points of the embedding.

    Returns
    -------
    Dataset
        The variable ``signal`` with the dimensions of the trajectories and ``point``.
    """
    z = (np.moveaxis(np.stack([ds[name].values for name in system.variables]), 0, -1) - system.mean) / system.scale
    values = np.concatenate([z, _CUBE * z**3], axis=-1) @ _polynomials(points)
    dims = (*ds["x"].dims, "point")
    coords = {str(name): ds[name] for name in ds["x"].dims if name in ds.coords}
    signal = xr.Dataset({"signal": (dims, values.astype(np.float32), {"units": "1"})}, coords)
    position = np.linspace(-1, 1, points)
    return signal.assign_coords(point=("point", position, {"long_name": "position", "units": "1", "axis": "X"}))


def _amplitudes(signal: xr.DataArray) -> FloatArray:
    values = signal.transpose(..., "time", "point").values.astype(float)
    found: FloatArray = values @ np.linalg.pinv(_polynomials(signal.sizes["point"]))
    return found


def states_of(signal: xr.DataArray, system: Lorenz63) -> FloatArray:
    """Variables of the system from the leading polynomials of an embedded field, shape (..., time, 3)."""
    states: FloatArray = system.mean + system.scale * _amplitudes(signal)[..., :3]
    return states


def off_manifold(signal: xr.DataArray) -> float:
    """Root mean square distance of the cubes from those of the variables: 0 for fields of the system."""
    a = _amplitudes(signal)
    return float(np.sqrt(np.mean((a[..., 3:] - _CUBE * a[..., :3] ** 3) ** 2)))


def identify(states: FloatArray, system: Lorenz63) -> Identified:
    """Identify the coefficients of the Lorenz equations from trajectories.

    Parameters
    ----------
    states
        Shape (..., time, 3), at least three frames that are ``system.dt`` apart.
    system
        Gives the step and the true coefficients.

    Examples
    --------
    >>> system = Lorenz63(substeps=5)
    >>> truth = system.state(system.simulate(200, seed=1))
    >>> identify(truth, system).error < 1e-3
    True
    """
    x = np.asarray(states, float).reshape(-1, *states.shape[-2:])
    change = (x[:, 2:] - x[:, :-2]).reshape(-1, 3)
    coefficients, residuals, errors = {}, [], []
    for equation, terms in enumerate(TERMS):
        products = np.stack([np.prod(x[..., ["xyz".index(v) for v in term]], axis=-1) for term in terms], axis=-1)
        integral = system.dt / 3 * (products[:, :-2] + 4 * products[:, 1:-1] + products[:, 2:])
        rows, wanted = integral.reshape(-1, len(terms)), change[:, equation]
        found = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        true = np.array([value(system) for value in terms.values()])
        coefficients |= {f"d{'xyz'[equation]}/dt: {term}": float(c) for term, c in zip(terms, found, strict=True)}
        residuals.append(np.sqrt(np.mean((wanted - rows @ found) ** 2) / np.mean(wanted**2)))
        errors.append(found / true - 1)
    return Identified(coefficients, float(np.mean(residuals)), float(np.sqrt(np.mean(np.concatenate(errors) ** 2))))
