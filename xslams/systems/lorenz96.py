r"""Lorenz-96: a chaotic quantity on a circle of latitude, advected, damped and forced.

.. math::

    \dot x_i = (x_{i+1} - x_{i-2})\, x_{i-1} - \gamma x_i + F, \qquad i \bmod N

The quadratic term represents advection and conserves the energy :math:`\frac12 \sum_i x_i^2`. With damping
:math:`\gamma = 1` and :math:`F = 8` the solution is chaotic and errors double in about 0.4 time units. A time unit
corresponds to five days.

References
----------
Lorenz, E. N. (1996), Predictability: a problem partly solved, Proc. Seminar on Predictability, ECMWF, 1-18.

Lorenz, E. N. and Emanuel, K. A. (1998), Optimal sites for supplementary weather observations, J. Atmos. Sci. 55,
399-414.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.systems.common import System, finite, positive, rk4, whole
from xslams.typing import FloatArray

__all__ = ["Lorenz96"]


@dataclass(frozen=True)
class Lorenz96(System):
    """The Lorenz (1996) system with one scale.

    All quantities are nondimensional. A state has shape (`sites`,).

    Parameters
    ----------
    sites
        Number of sites, evenly spaced on a circle of latitude.
    forcing
        Forcing F.
    damping
        Rate of the linear damping.
    dt
        Time between frames; 0.05 corresponds to six hours.
    substeps
        Number of Runge-Kutta steps in each `dt`. One step of 0.05 is customary.

    Raises
    ------
    OptionError
        If a parameter is out of range.

    Examples
    --------
    >>> truth = Lorenz96().simulate(20)
    >>> dict(truth["x"].sizes)
    {'time': 21, 'lon': 40}
    >>> Lorenz96(sites=4).tendency([8.0, 8.0, 8.0, 8.0])  # the fixed point
    array([0., 0., 0., 0.])
    """

    sites: int = 40
    forcing: float = 8.0
    damping: float = 1.0
    dt: float = 0.05
    substeps: int = 1

    variables = ("x",)
    dims = ("lon",)
    default_spinup = 400
    _title = "Lorenz-96 system"
    _references = "Lorenz (1996), Predictability: a problem partly solved, ECMWF Seminar on Predictability, 1-18"
    _attributes = {  # noqa: RUF012  read, never written
        "x": {"long_name": "scalar quantity on a circle of latitude", "units": "1"}
    }

    def __post_init__(self) -> None:
        # With fewer than four sites, the indices i - 2 to i + 1 are not distinct.
        whole("sites", self.sites, 4)
        finite(forcing=self.forcing, damping=self.damping)
        positive(dt=self.dt)
        whole("substeps", self.substeps, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state: (sites,)."""
        return (self.sites,)

    def tendency(self, state: npt.ArrayLike) -> FloatArray:
        """Return the time derivative.

        Parameters
        ----------
        state
            Shape (..., sites).

        Returns
        -------
        ndarray
            Shape (..., sites).

        Raises
        ------
        DimensionError
            If the last axis has another size.
        """
        return self._tendency(self._checked(state))

    def _tendency(self, state: FloatArray) -> FloatArray:
        # One copy with two sites before and one after is faster than three rolled copies.
        wide = np.concatenate([state[..., -2:], state, state[..., :1]], axis=-1)
        result: FloatArray = (wide[..., 3:] - wide[..., :-3]) * wide[..., 1:-2] - self.damping * state + self.forcing
        return result

    def energy(self, state: npt.ArrayLike) -> FloatArray:
        """Return the energy, half the sum of squares over sites.

        Parameters
        ----------
        state
            Shape (..., sites).

        Returns
        -------
        ndarray
            Shape (...).

        Raises
        ------
        DimensionError
            If the last axis has another size.
        """
        return np.asarray(0.5 * (self._checked(state) ** 2).sum(-1))

    def draw_one(self, generator: np.random.Generator) -> FloatArray:
        """Draw an initial state, uniform `forcing` (a fixed point) plus standard normal noise; shape (sites,)."""
        return self.forcing + generator.standard_normal(self.sites)

    def _advance(self, inner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        for _ in range(self.substeps):
            inner = rk4(self._tendency, inner, self.dt / self.substeps)
        return inner

    def _coords(self) -> dict[str, xr.Variable]:
        attrs = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"}
        return {"lon": xr.Variable("lon", np.arange(self.sites) * (360 / self.sites), attrs)}

    def _time(self, frames: int) -> xr.Variable:
        time = super()._time(frames)
        return time._replace(attrs={**time.attrs, "comment": "one unit corresponds to five days"})
