r"""Kolmogorov flow: two-dimensional turbulence on a doubly periodic square, driven by a sinusoidal force along x.

.. math::

    \partial_t \mathbf u + \mathbf u \cdot \nabla \mathbf u + \nabla p
    = \tfrac{1}{Re} \nabla^2 \mathbf u - \alpha \mathbf u + F \sin(n y)\, \hat{\mathbf x},
    \qquad \nabla \cdot \mathbf u = 0, \qquad (x, y) \in [0, 2\pi)^2

The vorticity :math:`\omega = \partial_x v - \partial_y u` is integrated, without a mean velocity,

.. math::

    \partial_t \omega = \partial_x \partial_y (u^2 - v^2) + (\partial_y^2 - \partial_x^2)(u v)
    + \tfrac{1}{Re} \nabla^2 \omega - \alpha \omega - n F \cos(n y)

by Fourier series, with four transforms for each tendency (Basdevant 1983). Wavenumbers of a third of the grid size and
more are removed (Orszag 1971), so that products have no aliases and the discrete equations conserve energy and
enstrophy like the continuous ones. Viscosity and drag are exact, by an integrating factor in the Runge-Kutta steps.

**Step.** Explicit advection of the largest wavenumber :math:`N / 3` by speeds up to :math:`U` is stable for
:math:`U\,\delta t\, N / 3 < 2.8`. Each `dt` is split into the smallest number of steps for which the Courant number
:math:`U\,\delta t\,N / 2\pi` is at most one half, a third of that limit. U is the parameter `max_speed`, so that the
steps do not depend on the flow.

References
----------
Basdevant, C. (1983), Technical improvements for direct numerical simulation of homogeneous three-dimensional
turbulence, J. Comput. Phys. 50, 209-214.

Orszag, S. A. (1971), On the elimination of aliasing in finite-difference schemes by filtering high-wavenumber
components, J. Atmos. Sci. 28, 1074.

Chandler, G. J. and Kerswell, R. R. (2013), Invariant recurrent solutions embedded in a turbulent two-dimensional
Kolmogorov flow, J. Fluid Mech. 722, 554-595.

Rozet, F. and Louppe, G. (2023), Score-based data assimilation, arXiv:2306.10574.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import OptionError
from xslams.systems.common import System, check, finite, positive, rk4, whole
from xslams.typing import FloatArray

__all__ = ["KolmogorovFlow"]

_COURANT = 0.5
# Largest wavenumber of initial states, which are therefore the same on every grid that resolves it.
_WAVES = 10


@dataclass(frozen=True)
class KolmogorovFlow(System):
    """Two-dimensional Navier-Stokes flow on a doubly periodic square with Kolmogorov forcing and linear drag.

    All quantities are nondimensional; the square has sides of 2 pi. A state is the vorticity, shape (`size`, `size`),
    with rows along y.

    Parameters
    ----------
    size
        Points along each side, an even number. Wavenumbers below a third of it are resolved. A Reynolds number of 1000
        needs 128 points; with 64 the finest filaments are missing, and some of their enstrophy accumulates in the
        shortest waves.
    reynolds
        Reynolds number, for a unit length and a unit speed. `inf` is the inviscid flow.
    forcing, wavenumber
        Amplitude and wavenumber of the force.
    drag
        Rate of the linear drag.
    dt
        Time between frames.
    substeps
        Number of Runge-Kutta steps in each `dt`; by default derived from `max_speed`.
    max_speed
        Speed for which the Courant number is at most one half.
    coarsen
        Points along each side of the boxes over which the fields of the Dataset are averaged. Rozet and Louppe (2023)
        integrate with size 256 and coarsen by 4.

    Raises
    ------
    OptionError
        If a parameter is out of range.

    Examples
    --------
    >>> flow = KolmogorovFlow(size=32)
    >>> truth = flow.simulate(2, spinup=0)
    >>> {name: field.shape for name, field in truth.items()}
    {'vorticity': (3, 32, 32), 'u': (3, 32, 32), 'v': (3, 32, 32)}
    """

    size: int = 64
    reynolds: float = 1000.0
    forcing: float = 1.0
    wavenumber: int = 4
    drag: float = 0.1
    dt: float = 0.2
    substeps: int | None = None
    max_speed: float = 5.0
    coarsen: int = 1

    variables = ("vorticity",)
    dims = ("y", "x")
    default_spinup = 64
    _together = False
    _title = "Kolmogorov flow"
    _references = "Chandler and Kerswell (2013), J. Fluid Mech. 722, 554-595; Rozet and Louppe (2023), arXiv:2306.10574"
    _attributes = {  # noqa: RUF012  read, never written
        "vorticity": {"long_name": "vorticity", "units": "1"},
        "u": {"long_name": "velocity along x", "units": "1"},
        "v": {"long_name": "velocity along y", "units": "1"},
    }

    def __post_init__(self) -> None:
        whole("size", self.size, 8)
        check(self.size % 2 == 0, "size", self.size, "an even number")
        if self.reynolds != np.inf:
            positive(reynolds=self.reynolds)
        finite(forcing=self.forcing, drag=self.drag)
        whole("wavenumber", self.wavenumber, 1)
        resolved = (self.size - 1) // 3
        check(
            self.wavenumber <= resolved,
            "wavenumber",
            self.wavenumber,
            f"at most {resolved}, the largest that size resolves",
        )
        positive(dt=self.dt, max_speed=self.max_speed)
        if self.substeps is not None:
            whole("substeps", self.substeps, 1)
        whole("coarsen", self.coarsen, 1)
        check(self.size % self.coarsen == 0, "coarsen", self.coarsen, f"a divisor of size={self.size}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state: (size, size)."""
        return (self.size, self.size)

    @property
    def steps_per_frame(self) -> int:
        """Runge-Kutta steps in each `dt`: `substeps`, or enough for a Courant number of at most one half."""
        if self.substeps is not None:
            return self.substeps
        return int(np.ceil(self.dt * self.max_speed * self.size / (2 * np.pi * _COURANT)))

    @cached_property
    def _k(self) -> tuple[FloatArray, FloatArray]:
        """Wavenumbers along x, shape (1, size / 2 + 1), and y, shape (size, 1)."""
        n = self.size
        return np.fft.rfftfreq(n, 1 / n)[None, :], np.fft.fftfreq(n, 1 / n)[:, None]

    @cached_property
    def _mask(self) -> npt.NDArray[np.bool_]:
        """Resolved wavenumbers: all except the mean and those that would be aliased in products."""
        kx, ky = self._k
        return np.asarray((3 * abs(kx) < self.size) & (3 * abs(ky) < self.size) & ((kx != 0) | (ky != 0)))

    @cached_property
    def _inverse(self) -> FloatArray:
        """Minus the inverse Laplacian: 1 over the squared wavenumber, 0 if not resolved."""
        kx, ky = self._k
        return np.where(self._mask, 1 / np.where(self._mask, kx**2 + ky**2, 1.0), 0.0)

    @cached_property
    def _damping(self) -> FloatArray:
        """Rate of damping by viscosity and drag."""
        kx, ky = self._k
        return (kx**2 + ky**2) / self.reynolds + self.drag

    @cached_property
    def _products(self) -> tuple[FloatArray, FloatArray]:
        """Coefficients of ``u v`` and of ``u u - v v`` in the tendency of the vorticity."""
        kx, ky = self._k
        return self._mask * (kx**2 - ky**2), self._mask * -(kx * ky)

    @cached_property
    def _force(self) -> npt.NDArray[np.complex128]:
        """Curl of the force."""
        curl = -self.wavenumber * self.forcing * np.cos(self.wavenumber * self._points)
        return self._mask * np.fft.rfft2(np.repeat(curl[:, None], self.size, axis=1))

    @property
    def _points(self) -> FloatArray:
        return np.arange(self.size) * (2 * np.pi / self.size)

    def tendency(self, state: npt.ArrayLike) -> FloatArray:
        """Return the time derivative of the vorticity.

        Parameters
        ----------
        state
            Vorticity, shape (..., size, size); unresolved waves are removed.

        Returns
        -------
        ndarray
            Shape (..., size, size).

        Raises
        ------
        DimensionError
            If the last axes have other sizes.
        """
        omega = self._enter(self._checked(state))
        return self._leave(self._tendency(omega) - self._damping * omega)

    def velocity(self, state: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the velocities along x and y, without divergence and mean.

        Parameters
        ----------
        state
            Vorticity, shape (..., size, size).

        Returns
        -------
        u, v : ndarray
            Shapes (..., size, size).

        Raises
        ------
        DimensionError
            If the last axes have other sizes.
        """
        return self._velocity(self._enter(self._checked(state)))

    def energy(self, state: npt.ArrayLike) -> FloatArray:
        """Return the mean kinetic energy (half the squared speed); shape (...) for vorticity (..., size, size)."""
        u, v = self.velocity(state)
        return np.asarray(0.5 * (u**2 + v**2).mean((-2, -1)))

    def enstrophy(self, state: npt.ArrayLike) -> FloatArray:
        """Return the mean enstrophy (half the squared vorticity); shape (...) for vorticity (..., size, size)."""
        return np.asarray(0.5 * (self._checked(state) ** 2).mean((-2, -1)))

    def draw_one(self, generator: np.random.Generator) -> FloatArray:
        """Draw an initial state, isotropic waves about wavenumber 4 with an rms speed of 1; shape (size, size)."""
        numbers = np.arange(-_WAVES, _WAVES + 1)
        noise = generator.standard_normal((2, numbers.size, numbers.size))
        kx, ky = np.meshgrid(numbers, numbers)
        k = np.hypot(kx, ky)
        # The energy spectrum grows as k^3 below its peak and decays as a Gaussian above; 2 pi k modes share the energy
        # at k, and vorticity has k times the amplitude of velocity.
        amplitude = k * np.sqrt(k**2 * np.exp(-3 * k**2 / 32))
        modes = amplitude * (noise[0] + 1j * noise[1])
        # Waves that the grid does not resolve are drawn and dropped, so that the others do not depend on the grid.
        resolved = 3 * np.maximum(abs(kx), abs(ky)) < self.size
        full = np.zeros(self.shape, complex)
        full[ky[resolved], kx[resolved]] = modes[resolved]
        omega = np.fft.ifft2(full).real
        return np.asarray(omega / np.sqrt(2 * self.energy(omega)))

    def _tendency(self, omega: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
        """Return the tendency of the coefficients without damping."""
        u, v = self._velocity(omega)
        cross, difference = self._products
        result: npt.NDArray[np.complex128] = (
            cross * np.fft.rfft2(u * v) + difference * np.fft.rfft2((u - v) * (u + v)) + self._force
        )
        return result

    def _velocity(self, omega: npt.NDArray[np.complex128]) -> tuple[FloatArray, FloatArray]:
        kx, ky = self._k
        stream = self._inverse * omega
        return np.fft.irfft2(1j * ky * stream, s=self.shape), np.fft.irfft2(-1j * kx * stream, s=self.shape)

    def _enter(self, state: FloatArray) -> npt.NDArray[Any]:
        return self._mask * np.fft.rfft2(state)

    def _leave(self, inner: npt.NDArray[Any]) -> FloatArray:
        return np.fft.irfft2(inner, s=self.shape)

    def _advance(self, inner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        count = self.steps_per_frame
        half = np.exp(-0.5 * self._damping * self.dt / count)
        for _ in range(count):
            inner = rk4(self._tendency, inner, self.dt / count, half)
        return inner

    def state(self, ds: xr.Dataset) -> FloatArray:  # noqa: D102  inherited
        if self.coarsen > 1:
            msg = (
                f"coarsen={self.coarsen}: the Dataset has averages over boxes, which do not determine the state. Keep "
                "coarsen=1 and average its result with .coarsen()."
            )
            raise OptionError(msg)
        return super().state(ds)

    def _fields(self, frames: FloatArray) -> dict[str, FloatArray]:
        u, v = self.velocity(frames)
        return {name: self._average(field) for name, field in (("vorticity", frames), ("u", u), ("v", v))}

    def _average(self, field: FloatArray) -> FloatArray:
        n, r = self.size // self.coarsen, self.coarsen
        return field.reshape(*field.shape[:-2], n, r, n, r).mean((-3, -1)) if r > 1 else field

    def _coords(self) -> dict[str, xr.Variable]:
        centres = self._points.reshape(-1, self.coarsen).mean(1)
        return {
            name: xr.Variable(
                name,
                centres,
                # After this length the axis begins anew.
                {"long_name": f"distance along {name}", "units": "1", "axis": name.upper(), "modulo": 2 * np.pi},
            )
            for name in ("y", "x")
        }
