r"""Shallow water on the rotating sphere: the simplest equations with waves, vortices and jets of an atmosphere.

The equations of the vorticity :math:`\zeta`, the divergence :math:`\delta` and the depth :math:`h` of a fluid without
orography are, with :math:`f = 2 \Omega \sin\varphi` and :math:`\eta = \zeta + f`,

.. math::

    \begin{aligned}
    \partial_t \zeta &= - \nabla \cdot (\eta \mathbf v) \\
    \partial_t \delta &= \mathbf k \cdot \nabla \times (\eta \mathbf v)
        - \nabla^2 \left(\tfrac12 \mathbf v^2 + g h\right) \\
    \partial_t h &= - \nabla \cdot (h \mathbf v)
    \end{aligned}

each with a scale-selective diffusion. Fields are expanded in spherical harmonics with triangular truncation; products
are computed on a Gaussian grid without quadratic aliases (Hack and Jakob 1992). Time steps are Runge-Kutta of fourth
order, with the diffusion in an integrating factor. The mean depth is conserved to rounding; energy and potential
enstrophy are conserved up to truncation errors.

**Step.** The fastest waves, of total wavenumber T, move at about :math:`U + \sqrt{g H}` and are stable for
:math:`(U + \sqrt{g H})\, \delta t \sqrt{T (T + 1)} / a < 2.8`. Each `dt` is split into the smallest number of steps for
which this product is at most 1.4; H is the mean depth and U the parameter `max_speed`.

**Initial states** are balanced: for a given vorticity and no divergence, the depth solves the nonlinear balance
equation, so that the divergence has no initial tendency. In spherical harmonics the solution is a division by
``n (n + 1)``. For zonal flows it is gradient wind balance.

References
----------
Williamson, D. L. et al. (1992), A standard test set for numerical approximations to the shallow water equations in
spherical geometry, J. Comput. Phys. 102, 211-224.

Hack, J. J. and Jakob, R. (1992), Description of a global shallow water model based on the spectral transform method,
NCAR/TN-343+STR.

Galewsky, J., Scott, R. K. and Polvani, L. M. (2004), An initial-value problem for testing numerical models of the
global shallow-water equations, Tellus A 56, 429-440.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import DimensionError, OptionError
from xslams.systems.common import System, check, finite, positive, rk4, whole
from xslams.systems.harmonics import Coefficients, SphericalHarmonics, spherical_harmonics
from xslams.typing import FloatArray

__all__ = ["ShallowWater"]

_COURANT = 1.4
_STARTS = ("jet", "rossby-haurwitz", "zonal")
# Total wavenumbers of random perturbations.
_WAVES = range(4, 13)
_DAY = 86400.0


@dataclass(frozen=True)
class ShallowWater(System):
    """The shallow-water equations on the rotating sphere, by the spectral transform method.

    A state has shape (3, lat, lon): vorticity (s-1), divergence (s-1) and depth (m) on a Gaussian grid, 32 x 64 for a
    truncation of 21, 48 x 96 for 31, 64 x 128 for 42.

    Parameters
    ----------
    truncation
        Largest total wavenumber T, at least 12.
    initial
        Initial flow: ``"jet"``, the barotropically unstable jet of Galewsky et al. (2004); ``"rossby-haurwitz"``, a
        wave of zonal wavenumber 4 that moves to the east, case 6 of Williamson et al. (1992); or ``"zonal"``, a steady
        flow, their case 2.
    perturbation
        Root mean square wind (m s-1) of random waves of total wavenumbers 4 to 12, which are added to the flow.
    depth
        Mean depth (m); by default that of the flow `initial`: about 10000, 9523 or 2362.
    dt
        Time between frames (s).
    substeps
        Number of Runge-Kutta steps in each `dt`; by default derived from `max_speed`.
    max_speed
        Wind speed (m s-1) for which the time step is stable.
    diffusion_time
        Time (s) in which diffusion damps the largest wavenumber by a factor of e; None for no diffusion.
    diffusion_order
        Even order of the derivatives in the diffusion. Solid rotation is not damped.
    radius, rotation, gravity
        Radius (m), rate of rotation (s-1) and gravity (m s-2) of the planet.
    epoch
        Date of the first frame, which is only a label.

    Raises
    ------
    OptionError
        If a parameter is out of range.

    Examples
    --------
    >>> sphere = ShallowWater(truncation=21)
    >>> truth = sphere.simulate(4, seed=1)
    >>> dict(truth["h"].sizes)
    {'time': 5, 'lat': 32, 'lon': 64}
    >>> truth["time"].values[-1]
    np.datetime64('2000-01-02T00:00:00.000000000')
    """

    truncation: int = 42
    initial: Literal["jet", "rossby-haurwitz", "zonal"] = "jet"
    perturbation: float = 2.0
    depth: float | None = None
    dt: float = 21600.0
    substeps: int | None = None
    max_speed: float = 120.0
    diffusion_time: float | None = 10800.0
    diffusion_order: int = 8
    radius: float = 6.37122e6
    rotation: float = 7.292e-5
    gravity: float = 9.80616
    epoch: str = "2000-01-01"

    variables = ("vorticity", "divergence", "h")
    dims = ("lat", "lon")
    _together = False
    _title = "Shallow water on the rotating sphere"
    _references = (
        "Williamson et al. (1992), J. Comput. Phys. 102, 211-224; Galewsky et al. (2004), Tellus A 56, 429-440; "
        "Hack and Jakob (1992), NCAR/TN-343+STR"
    )
    _attributes = {  # noqa: RUF012  read, never written
        "u": {"standard_name": "eastward_wind", "long_name": "eastward wind", "units": "m s-1"},
        "v": {"standard_name": "northward_wind", "long_name": "northward wind", "units": "m s-1"},
        "h": {"standard_name": "geopotential_height", "long_name": "height of the free surface", "units": "m"},
        "vorticity": {
            "standard_name": "atmosphere_upward_relative_vorticity",
            "long_name": "relative vorticity",
            "units": "s-1",
        },
        "divergence": {"standard_name": "divergence_of_wind", "long_name": "divergence of the wind", "units": "s-1"},
    }

    def __post_init__(self) -> None:
        whole("truncation", self.truncation, _WAVES[-1])
        check(self.initial in _STARTS, "initial", self.initial, f"one of {', '.join(_STARTS)}")
        finite(perturbation=self.perturbation, rotation=self.rotation)
        check(self.perturbation >= 0, "perturbation", self.perturbation, "a wind in m s-1, at least 0")
        positive(
            dt=self.dt, max_speed=self.max_speed, radius=self.radius, gravity=self.gravity,
            **{k: v for k in ("depth", "diffusion_time") if (v := getattr(self, k)) is not None},
        )  # fmt: skip
        if self.substeps is not None:
            whole("substeps", self.substeps, 1)
        whole("diffusion_order", self.diffusion_order, 2)
        check(self.diffusion_order % 2 == 0, "diffusion_order", self.diffusion_order, "an even number")
        try:
            known = not np.isnat(np.datetime64(self.epoch, "ns"))
        except ValueError:
            known = False
        check(known, "epoch", self.epoch, "a date such as '2000-01-01'")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state: (3, lat, lon)."""
        return (3, *self.harmonics.shape)

    @property
    def harmonics(self) -> SphericalHarmonics:
        """Transforms between the grid and the harmonics."""
        return spherical_harmonics(self.truncation)

    @property
    def steps_per_frame(self) -> int:
        """Runge-Kutta steps in each `dt`: `substeps`, or enough to keep the fastest waves stable."""
        if self.substeps is not None:
            return self.substeps
        speed = self.max_speed + np.sqrt(self.gravity * self.mean_depth)
        wavenumber = np.sqrt(self.truncation * (self.truncation + 1)) / self.radius
        return int(np.ceil(self.dt * speed * wavenumber / _COURANT))

    @property
    def mean_depth(self) -> float:
        """Mean depth (m) of initial states: `depth`, or that of the flow `initial`."""
        if self.depth is not None:
            return self.depth
        return {"jet": 10_000.0, "rossby-haurwitz": self._wave_depth, "zonal": self._zonal_depth}[self.initial]

    def tendency(self, state: npt.ArrayLike) -> FloatArray:
        """Return the time derivatives of vorticity (s-2), divergence (s-2) and depth (m s-1).

        Parameters
        ----------
        state
            Shape (..., 3, lat, lon); unresolved waves are removed.

        Returns
        -------
        ndarray
            Shape (..., 3, lat, lon).

        Raises
        ------
        DimensionError
            If the last axes have other sizes.
        """
        inner = self._enter(self._checked(state))
        return self._leave(self._tendency(inner) - self._damping * inner)

    def velocity(self, state: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the eastward and northward wind (m s-1).

        Parameters
        ----------
        state
            Shape (..., 3, lat, lon).

        Returns
        -------
        u, v : ndarray
            Shapes (..., lat, lon).

        Raises
        ------
        DimensionError
            If the last axes have other sizes.
        """
        inner = self._enter(self._checked(state))
        winds = np.stack(self.harmonics.wind(inner[..., 0, :, :], inner[..., 1, :, :]))
        u, v = self.harmonics.synthesize(winds) * (self.radius / self._cos_lat)
        return u, v

    def balanced(self, u: npt.ArrayLike, v: npt.ArrayLike = 0.0, *, depth: float | None = None) -> FloatArray:
        """Return the state with the vorticity of a wind, no divergence, and the balanced depth.

        Parameters
        ----------
        u, v
            Eastward and northward wind (m s-1), with shapes that broadcast to (..., lat, lon). Its divergence is
            ignored.
        depth
            Mean depth (m); by default `mean_depth`.

        Returns
        -------
        ndarray
            Shape (..., 3, lat, lon).

        Raises
        ------
        DimensionError
            If the wind is not on the grid.
        OptionError
            If the balance needs more than the mean depth, so that the fluid would run dry.

        Examples
        --------
        >>> import numpy as np
        >>> sphere = ShallowWater(truncation=21)
        >>> state = sphere.balanced(20 * np.cos(np.deg2rad(sphere.harmonics.lat))[:, None])
        >>> bool(abs(sphere.tendency(state)[1]).max() < 1e-18)  # of the divergence
        True
        """
        grid = self.harmonics.shape
        try:
            vector = np.broadcast_arrays(np.asarray(u, float), np.asarray(v, float), np.empty(grid))[:2]
        except ValueError as e:
            msg = (
                f"Got a wind of shapes {np.shape(u)} and {np.shape(v)}; expected {grid} as its last axes, the grid of "
                f"truncation={self.truncation}."
            )
            raise DimensionError(msg) from e
        curl, _ = self.harmonics.curl_divergence(*(self._cos_lat * c for c in vector))
        return self._balance(curl / self.radius, depth)

    def zonal(self) -> FloatArray:
        """Return steady solid rotation in 12 days, case 2 of Williamson et al. (1992); shape (3, lat, lon)."""
        return self.balanced(self._zonal_speed * self._cos_lat, depth=self.depth or self._zonal_depth)

    def rossby_haurwitz(self) -> FloatArray:
        """Return the Rossby-Haurwitz wave number 4, case 6 of Williamson et al. (1992); shape (3, lat, lon)."""
        r, omega, k = _Wave.number, _Wave.omega, _Wave.amplitude
        sin, cos, lon = self.harmonics.sin_lat[:, None], self._cos_lat, np.deg2rad(self.harmonics.lon)
        vorticity = 2 * omega * sin - k * (r + 1) * (r + 2) * sin * cos**r * np.cos(r * lon)
        return self._balance(self.harmonics.analyse(vorticity), self.depth or self._wave_depth)

    def jet(self, *, bump: float = 0.0) -> FloatArray:
        """Return the jet of Galewsky et al. (2004), with 80 m s-1 at 45 degrees north.

        Parameters
        ----------
        bump
            Height (m) of the unbalanced perturbation that triggers the instability, 120 in the paper.

        Returns
        -------
        ndarray
            Shape (3, lat, lon).

        Examples
        --------
        >>> sphere = ShallowWater(truncation=21)
        >>> waves = sphere.simulate(4, start=sphere.jet(bump=120.0))
        """
        lat, lon = np.deg2rad(self.harmonics.lat)[:, None], np.deg2rad(self.harmonics.lon)
        south, north = np.pi / 7, np.pi / 2 - np.pi / 7
        inside = (lat > south) & (lat < north)
        # The reciprocal of a product that is negative inside the jet and tends to 0 at its edges.
        shape = np.exp(1 / np.where(inside, (lat - south) * (lat - north), -1.0) + 4 / (north - south) ** 2)
        state = self.balanced(np.where(inside, 80.0 * shape, 0.0), depth=self.depth or 10_000.0)
        east = (lon + np.pi) % (2 * np.pi) - np.pi
        state[2] += bump * self._cos_lat * np.exp(-((3 * east) ** 2) - (15 * (np.pi / 4 - lat)) ** 2)
        return state

    def draw_one(self, generator: np.random.Generator) -> FloatArray:
        """Draw a balanced initial state, the flow `initial` with random waves; shape (3, lat, lon)."""
        vorticity = self._basic.copy()
        for n in _WAVES:
            # The wind has the same variance at each n, shared equally by 2n + 1 modes; vorticity is wind times
            # wavenumber. A complex coefficient represents two modes.
            share = self.perturbation**2 / (len(_WAVES) * (2 * n + 1))
            noise = np.sqrt(share * n * (n + 1)) / self.radius * generator.standard_normal((2, n + 1))
            vorticity[0, n] += noise[0, 0]
            vorticity[1 : n + 1, n] += np.sqrt(0.5) * (noise[0, 1:] + 1j * noise[1, 1:])
        return self._balance(vorticity)

    def mass(self, state: npt.ArrayLike) -> FloatArray:
        """Return the mean depth (m); shape (...) for states of shape (..., 3, lat, lon)."""
        return self._mean(self._checked(state)[..., 2, :, :])

    def energy(self, state: npt.ArrayLike) -> FloatArray:
        r"""Return the mean of :math:`\tfrac12 h \mathbf v^2 + \tfrac12 g h^2` (m3 s-2), shape (...)."""
        u, v = self.velocity(state)
        h = self._checked(state)[..., 2, :, :]
        return self._mean(0.5 * h * (u**2 + v**2 + self.gravity * h))

    def potential_enstrophy(self, state: npt.ArrayLike) -> FloatArray:
        r"""Return the mean of :math:`\tfrac12 \eta^2 / h` (m-1 s-2); shape (...) for states (..., 3, lat, lon)."""
        fields = self._checked(state)
        return self._mean(0.5 * (fields[..., 0, :, :] + self._coriolis) ** 2 / fields[..., 2, :, :])

    @cached_property
    def _cos_lat(self) -> FloatArray:
        return np.sqrt(1 - self.harmonics.sin_lat[:, None] ** 2)

    @cached_property
    def _coriolis(self) -> FloatArray:
        return 2 * self.rotation * self.harmonics.sin_lat[:, None]

    @cached_property
    def _damping(self) -> FloatArray:
        """Rate of diffusion by total wavenumber n, shape (T + 1,)."""
        if self.diffusion_time is None:
            return np.zeros(self.truncation + 1)
        # Solid rotation (n = 1) has no strain for diffusion to act on.
        strain = np.maximum(-self.harmonics.laplacian - 2, 0)
        rate: FloatArray = (strain / strain[-1]) ** (self.diffusion_order // 2) / self.diffusion_time
        return rate

    @property
    def _zonal_speed(self) -> float:
        return 2 * np.pi * self.radius / (12 * _DAY)

    @property
    def _zonal_depth(self) -> float:
        """Mean depth of case 2, in which g h = 29400 m2 s-2 at the equator."""
        u = self._zonal_speed
        return (2.94e4 - (self.radius * self.rotation * u + u**2 / 2) / 3) / self.gravity

    @property
    def _wave_depth(self) -> float:
        """Mean depth of case 6, in which h = 8000 m at the poles."""
        r, omega, k = _Wave.number, _Wave.omega, _Wave.amplitude
        zonal = 0.5 * omega * (2 * self.rotation + omega) * _mean_cos(2)
        wave = (r + 1) * _mean_cos(2 * r + 2) + (2 * r**2 - r - 2) * _mean_cos(2 * r) - 2 * r**2 * _mean_cos(2 * r - 2)
        return 8000.0 + self.radius**2 * (zonal + 0.25 * k**2 * wave) / self.gravity

    @cached_property
    def _basic(self) -> Coefficients:
        """Vorticity of the flow `initial`."""
        start = {"jet": self.jet, "rossby-haurwitz": self.rossby_haurwitz, "zonal": self.zonal}[self.initial]
        return self.harmonics.analyse(start()[0])

    def _balance(self, vorticity: Coefficients, depth: float | None = None) -> FloatArray:
        """Return the state with this vorticity, no divergence, and the depth for which no divergence arises."""
        depth = depth or self.mean_depth
        inner = np.zeros((*vorticity.shape[:-2], 3, *vorticity.shape[-2:]), complex)
        inner[..., 0, :, :] = vorticity
        # Without depth, this is the tendency of the divergence that the depth has to balance.
        excess = self._tendency(inner)[..., 1, :, :]
        inner[..., 2, :, :] = self.radius**2 / self.gravity * self.harmonics.inverse_laplacian * excess
        inner[..., 2, 0, 0] = depth
        state = self._leave(inner)
        lowest = state[..., 2, :, :].min()
        if lowest <= 0:
            msg = f"The balanced depth falls to {lowest:.0f} m with a mean of {depth:.0f} m. Give a larger depth."
            raise OptionError(msg)
        return state

    def _tendency(self, inner: Coefficients) -> Coefficients:
        """Return the tendencies of the coefficients (..., 3, T + 1, T + 1) without diffusion."""
        harmonics, a = self.harmonics, self.radius
        zeta, delta, h = (inner[..., i, :, :] for i in range(3))
        room = np.zeros_like(zeta[..., :1])
        wide = [*harmonics.wind(zeta, delta), *(np.concatenate([c, room], axis=-1) for c in (zeta, h))]
        u, v, zeta_grid, h_grid = harmonics.synthesize(np.stack(wide))
        u, v, eta = a * u, a * v, zeta_grid + self._coriolis
        curl, divergence = harmonics.curl_divergence(np.stack([eta * u, h_grid * u]), np.stack([eta * v, h_grid * v]))
        head = harmonics.analyse(0.5 * (u**2 + v**2) / self._cos_lat**2 + self.gravity * h_grid)
        return np.stack(
            [-divergence[0] / a, curl[0] / a - harmonics.laplacian / a**2 * head, -divergence[1] / a], axis=-3
        )

    def _mean(self, field: FloatArray) -> FloatArray:
        return np.asarray(field.mean(-1) @ self.harmonics.weights)

    def _enter(self, state: FloatArray) -> npt.NDArray[Any]:
        return self.harmonics.analyse(state)

    def _leave(self, inner: npt.NDArray[Any]) -> FloatArray:
        return self.harmonics.synthesize(inner)

    def _advance(self, inner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        count = self.steps_per_frame
        half = np.exp(-0.5 * self._damping * self.dt / count)
        for _ in range(count):
            inner = rk4(self._tendency, inner, self.dt / count, half)
        return inner

    def _fields(self, frames: FloatArray) -> dict[str, FloatArray]:
        u, v = self.velocity(frames)
        return {"h": frames[..., 2, :, :], "u": u, "v": v, **super()._fields(frames)}

    def _coords(self) -> dict[str, xr.Variable]:
        axes = {"lat": ("latitude", "degrees_north", "Y"), "lon": ("longitude", "degrees_east", "X")}
        return {
            name: xr.Variable(
                name,
                getattr(self.harmonics, name).copy(),
                {"standard_name": full, "long_name": full, "units": units, "axis": axis},
            )
            for name, (full, units, axis) in axes.items()
        }

    def _time(self, frames: int) -> xr.Variable:
        elapsed = np.rint(np.arange(frames) * self.dt * 1e9).astype("timedelta64[ns]")
        attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
        return xr.Variable("time", np.datetime64(self.epoch, "ns") + elapsed, attrs)


class _Wave:
    """Parameters of case 6: zonal wavenumber, solid rotation and amplitude (s-1)."""

    number = 4
    omega = 7.848e-6
    amplitude = 7.848e-6


def _mean_cos(power: int) -> float:
    """Return the mean over the sphere of an even power of the cosine of latitude."""
    return float(np.prod([2 * i / (2 * i + 1) for i in range(1, power // 2 + 1)]))
