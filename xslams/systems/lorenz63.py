r"""Lorenz-63: three ordinary differential equations with chaotic solutions, with or without noise.

.. math::

    \dot x = \sigma (y - x), \qquad \dot y = x (\rho - z) - y, \qquad \dot z = x y - \beta z

Lorenz (1963) derived them from thermal convection: x is the intensity of the overturning, y the temperature difference
between ascending and descending currents, and z the distortion of the vertical temperature profile. Volumes in phase
space shrink at the rate :math:`\sigma + 1 + \beta` everywhere.

The stochastic system of Rozet and Louppe (2023, section 4.1) is a Markov chain. Each step of length :math:`\Delta`
adds Gaussian noise to the deterministic map :math:`M`,

.. math::

    x_0 \sim N(\mu, \Sigma), \qquad x_{k+1} \mid x_k \sim N\left(M(x_k),\ s^2 \Delta\, I\right)

with :math:`s = 1` and :math:`\Delta = 0.025`, so that both densities, and that of a trajectory, are known exactly.

References
----------
Lorenz, E. N. (1963), Deterministic nonperiodic flow, J. Atmos. Sci. 20, 130-141.

Rozet, F. and Louppe, G. (2023), Score-based data assimilation, arXiv:2306.10574.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xslams.errors import OptionError
from xslams.systems.common import System, check, finite, positive, rk4, whole
from xslams.typing import FloatArray

__all__ = ["Lorenz63"]

_LOG_2PI = np.log(2 * np.pi)
# Number of steps for which noise is drawn at once. The stream of a generator does not depend on it.
_BLOCK = 512


@dataclass(frozen=True)
class Lorenz63(System):
    """The Lorenz (1963) system, deterministic or with the noise of Rozet and Louppe (2023).

    All quantities are nondimensional. A state has shape (3,): x, y and z.

    Parameters
    ----------
    sigma
        Prandtl number.
    rho
        Ratio of the Rayleigh number to its critical value.
    beta
        Geometric factor of the convection cells.
    dt
        Time between frames, and between two additions of noise.
    substeps
        Number of Runge-Kutta steps in each `dt`.
    noise
        Standard deviation of the noise that is added after each step, divided by the square root of `dt`. 0 is the
        deterministic system, 1 the system of Rozet and Louppe.

    Raises
    ------
    OptionError
        If a parameter is out of range.

    Examples
    --------
    >>> truth = Lorenz63(noise=1.0).simulate(64, trajectories=2, seed=1)
    >>> truth["x"].dims
    ('trajectory', 'time')
    >>> Lorenz63().tendency([0.0, 1.0, 2.0]).round(3)
    array([10.   , -1.   , -5.333])
    """

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8 / 3
    dt: float = 0.025
    substeps: int = 1
    noise: float = 0.0

    variables = ("x", "y", "z")
    dims = ()
    default_spinup = 1024
    _title = "Lorenz-63 system"
    _references = "Lorenz (1963), J. Atmos. Sci. 20, 130-141; Rozet and Louppe (2023), arXiv:2306.10574"
    _attributes = {  # noqa: RUF012  read, never written
        "x": {"long_name": "intensity of convective overturning", "units": "1"},
        "y": {"long_name": "temperature difference between ascending and descending currents", "units": "1"},
        "z": {"long_name": "distortion of the vertical temperature profile from linearity", "units": "1"},
    }

    def __post_init__(self) -> None:
        finite(sigma=self.sigma, rho=self.rho, beta=self.beta, noise=self.noise)
        positive(dt=self.dt)
        whole("substeps", self.substeps, 1)
        check(self.noise >= 0, "noise", self.noise, "a standard deviation, at least 0")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state: (3,)."""
        return (3,)

    @property
    def mean(self) -> FloatArray:
        """Mean of initial states, shape (3,), close to that of the attractor for the default parameters."""
        return np.array([0.0, 0.0, 25.0])

    @property
    def scale(self) -> FloatArray:
        """Standard deviations, shape (3,), by which `standardize` divides, close to those of the attractor."""
        return np.array([8.0, 9.0, 8.6])

    @property
    def covariance(self) -> FloatArray:
        """Covariance of initial states, shape (3, 3), close to that of the attractor for the default parameters."""
        return np.array([[64.0, 50.0, 0.0], [50.0, 81.0, 0.0], [0.0, 0.0, 75.0]])

    def tendency(self, state: npt.ArrayLike) -> FloatArray:
        """Return the time derivative.

        Parameters
        ----------
        state
            Shape (..., 3).

        Returns
        -------
        ndarray
            Shape (..., 3).

        Raises
        ------
        DimensionError
            If the last axis has another size.
        """
        return self._tendency(self._checked(state))

    def _tendency(self, state: FloatArray) -> FloatArray:
        x, y, z = state[..., 0], state[..., 1], state[..., 2]
        return np.stack([self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z], axis=-1)

    def _advance(self, inner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        for _ in range(self.substeps):
            inner = rk4(self._tendency, inner, self.dt / self.substeps)
        return inner

    def draw_one(self, generator: np.random.Generator) -> FloatArray:
        r"""Draw an initial state from :math:`N(\mu, \Sigma)`, shape (3,)."""
        return self.mean + np.linalg.cholesky(self.covariance) @ generator.standard_normal(3)

    def transition(self, state: npt.ArrayLike, generator: np.random.Generator) -> FloatArray:
        """Draw the next states by one step with noise.

        Parameters
        ----------
        state
            Shape (..., 3).
        generator
            Source of the noise.

        Returns
        -------
        ndarray
            Shape (..., 3).

        Raises
        ------
        DimensionError
            If the last axis has another size.
        """
        after = self.step(self._checked(state))
        return after + self._sigma() * generator.standard_normal(after.shape)

    def log_start(self, state: npt.ArrayLike) -> FloatArray:
        r"""Return the log-density of an initial state, :math:`\log N(x_0; \mu, \Sigma)`.

        Parameters
        ----------
        state
            Shape (..., 3).

        Returns
        -------
        ndarray
            Shape (...).

        Raises
        ------
        DimensionError
            If the last axis has another size.
        """
        factor = np.linalg.cholesky(self.covariance)
        white = np.linalg.solve(factor, (self._checked(state) - self.mean)[..., None])[..., 0]
        log_det = np.log(np.diagonal(factor)).sum()
        return np.asarray(-0.5 * (white**2).sum(-1) - log_det - 1.5 * _LOG_2PI)

    def log_transition(self, before: npt.ArrayLike, after: npt.ArrayLike) -> FloatArray:
        r"""Return the log-density of a step, :math:`\log N(x_{k+1}; M(x_k), s^2 \Delta I)`.

        Parameters
        ----------
        before, after
            States one `dt` apart, shapes (..., 3) that broadcast.

        Returns
        -------
        ndarray
            Shape (...).

        Raises
        ------
        OptionError
            If the system has no noise.
        DimensionError
            If the last axis has another size.

        Examples
        --------
        >>> system = Lorenz63(noise=1.0)
        >>> start = system.draw(seed=0)
        >>> float(system.log_transition(start, system.step(start)).round(4))  # -3/2 log(2 pi dt)
        2.7765
        """
        sigma = self._sigma()
        if sigma == 0:
            msg = "noise=0: a step of the deterministic system has no density. Use Lorenz63(noise=1.0)."
            raise OptionError(msg)
        white = (self._checked(after) - self.step(self._checked(before))) / sigma
        return np.asarray(-0.5 * (white**2).sum(-1) - 3 * np.log(sigma) - 1.5 * _LOG_2PI)

    def log_density(self, trajectory: npt.ArrayLike, *, start: bool = True) -> FloatArray:
        r"""Return the log-density of a trajectory, :math:`\log p(x_0) + \sum_k \log p(x_{k+1} | x_k)`.

        Parameters
        ----------
        trajectory
            Successive states, shape (..., time, 3), as `state` extracts them from a Dataset.
        start
            Whether the first state was drawn from :math:`N(\mu, \Sigma)`. False leaves out its density, which is
            unknown after a spin-up; this is the score of Rozet and Louppe.

        Returns
        -------
        ndarray
            Shape (...).

        Raises
        ------
        OptionError
            If the system has no noise.
        DimensionError
            If the last axis has another size, or the time axis is missing.

        Examples
        --------
        >>> system = Lorenz63(noise=1.0)
        >>> truth = system.simulate(64, trajectories=2)
        >>> system.log_density(system.state(truth), start=False).shape
        (2,)
        """
        x = np.atleast_2d(self._checked(trajectory))
        total = self.log_transition(x[..., :-1, :], x[..., 1:, :]).sum(-1)
        return np.asarray(total + self.log_start(x[..., 0, :]) if start else total)

    def standardize(self, state: npt.ArrayLike) -> FloatArray:
        """Subtract `mean` and divide by `scale`; shape (..., 3)."""
        return np.asarray((self._checked(state) - self.mean) / self.scale)

    def unstandardize(self, state: npt.ArrayLike) -> FloatArray:
        """Undo `standardize`; shape (..., 3)."""
        return np.asarray(self._checked(state) * self.scale + self.mean)

    def _sigma(self) -> float:
        """Return the standard deviation of the noise of one step."""
        return float(self.noise * np.sqrt(self.dt))

    def _kicks(self, generators: Sequence[np.random.Generator], steps: int) -> Iterator[FloatArray | None]:
        if self.noise == 0:
            yield from super()._kicks(generators, steps)
            return
        for done in range(0, steps, _BLOCK):
            block = min(_BLOCK, steps - done)
            yield from self._sigma() * np.stack([g.standard_normal((block, 3)) for g in generators], axis=1)
