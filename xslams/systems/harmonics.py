r"""Spherical harmonics on a Gaussian grid, and differential operators acting on them.

A real field is the sum

.. math::

    f(\lambda, \mu) = \sum_{m=-T}^{T} \sum_{n=|m|}^{T} f_n^m P_n^m(\mu) e^{i m \lambda},
    \qquad \mu = \sin\varphi, \qquad \tfrac12 \int_{-1}^1 P_n^m(\mu)^2\, d\mu = 1,

with triangular truncation T, where :math:`f_n^{-m}` is the conjugate of :math:`f_n^m` and not stored. In this
normalisation (without the sign :math:`(-1)^m`) the coefficient with m = n = 0 is the mean over the sphere, and the mean
square is the sum of :math:`|f_n^m|^2` over all m and n.

The integral over longitude is a Fourier transform; the integral over :math:`\mu` is a Gauss-Legendre quadrature. With
:math:`N_\lambda > 3T` longitudes and :math:`N_\varphi \ge (3T + 1) / 2` latitudes, products of two fields have no
aliases.

References
----------
Machenhauer, B. (1979), The spectral method, in: Numerical methods used in atmospheric models II, GARP Publ. 17,
121-275.

Hack, J. J. and Jakob, R. (1992), Description of a global shallow water model based on the spectral transform method,
NCAR/TN-343+STR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from xslams.typing import FloatArray

__all__ = ["SphericalHarmonics", "spherical_harmonics"]

Coefficients = npt.NDArray[np.complex128]


@lru_cache(maxsize=4)
def spherical_harmonics(truncation: int) -> SphericalHarmonics:
    """Return the transforms for a truncation, which are computed once.

    Parameters
    ----------
    truncation
        Largest wavenumber T.

    Examples
    --------
    >>> spherical_harmonics(21).shape
    (32, 64)
    """
    return SphericalHarmonics(truncation)


@dataclass(frozen=True)
class SphericalHarmonics:
    """Transforms between a Gaussian grid and spherical harmonics, and operators on a sphere of radius 1.

    Coefficients have shape (..., T + 1, T + 1): zonal wavenumber m, total wavenumber n; those with n < m are 0. Fields
    have shape (..., lat, lon), from south to north and from longitude 0 to the east.

    Parameters
    ----------
    truncation
        Largest wavenumber T.

    Examples
    --------
    >>> harmonics = spherical_harmonics(10)
    >>> field = np.sin(np.deg2rad(harmonics.lat))[:, None] * np.ones(32)
    >>> coefficients = harmonics.analyse(field)  # sin(lat) is P_1^0 over the square root of 3
    >>> float(coefficients[0, 1].real.round(6))
    0.57735
    """

    truncation: int

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Numbers of latitudes and longitudes: the smallest grid without aliases whose Fourier transforms are fast."""
        count = 3 * self.truncation + 1
        while count % 4 or not _is_smooth(count):
            count += 1
        return count // 2, count

    @cached_property
    def _quadrature(self) -> tuple[FloatArray, FloatArray]:
        """Sines of the latitudes and weights that sum to 1."""
        nodes, weights = np.polynomial.legendre.leggauss(self.shape[0])
        return nodes, weights / 2

    @property
    def sin_lat(self) -> FloatArray:
        """Sines of the latitudes, shape (lat,)."""
        return self._quadrature[0]

    @property
    def weights(self) -> FloatArray:
        """Fractions of the area of the sphere by latitude, shape (lat,)."""
        return self._quadrature[1]

    @cached_property
    def lat(self) -> FloatArray:
        """Latitudes in degrees north."""
        return np.rad2deg(np.arcsin(self.sin_lat))

    @cached_property
    def lon(self) -> FloatArray:
        """Longitudes in degrees east."""
        return np.arange(self.shape[1]) * (360 / self.shape[1])

    @cached_property
    def laplacian(self) -> FloatArray:
        """Eigenvalues ``-n (n + 1)``, shape (T + 1,)."""
        n = np.arange(self.truncation + 1.0)
        return -n * (n + 1)

    @cached_property
    def inverse_laplacian(self) -> FloatArray:
        """Inverses of `laplacian`, 0 for the mean."""
        return np.divide(1.0, self.laplacian, out=np.zeros(self.truncation + 1), where=self.laplacian != 0)

    @cached_property
    def _epsilon(self) -> FloatArray:
        r""":math:`\epsilon_n^m = \sqrt{(n^2 - m^2) / (4 n^2 - 1)}`, shape (T + 1, T + 3); 0 for n < m."""
        m, n = np.arange(self.truncation + 1.0)[:, None], np.arange(self.truncation + 3.0)
        return np.asarray(np.sqrt(np.maximum(n**2 - m**2, 0) / np.maximum(4 * n**2 - 1, 1)))

    @cached_property
    def _legendre(self) -> FloatArray:
        r"""Functions :math:`P_n^m` at the latitudes, shape (T + 1, lat, T + 2): one n more than the truncation.

        They follow from the recurrence in n, which is stable upwards from n = m:
        :math:`\mu P_n^m = \epsilon_{n+1}^m P_{n+1}^m + \epsilon_n^m P_{n-1}^m`.
        """
        t, mu, eps = self.truncation, self.sin_lat, self._epsilon
        p = np.zeros((t + 1, mu.size, t + 2))
        sectoral = np.ones_like(mu)
        for m in range(t + 1):
            if m:
                sectoral = sectoral * np.sqrt((2 * m + 1) / (2 * m) * (1 - mu**2))
            p[m, :, m] = sectoral
            for n in range(m, t + 1):
                p[m, :, n + 1] = (mu * p[m, :, n] - eps[m, n] * p[m, :, n - 1] * (n > m)) / eps[m, n + 1]
        return p

    @cached_property
    def _slopes(self) -> FloatArray:
        r"""Functions :math:`(1 - \mu^2)\, dP_n^m / d\mu` at the latitudes, shape (T + 1, lat, T + 1)."""
        t, eps, p = self.truncation, self._epsilon, self._legendre
        n = np.arange(t + 1.0)
        below = np.concatenate([np.zeros_like(p[..., :1]), p[..., :t]], axis=-1)
        return np.asarray((n + 1) * eps[:, None, : t + 1] * below - n * eps[:, None, 1 : t + 2] * p[..., 1:])

    @cached_property
    def _forward(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Quadrature matrices (T + 1, T + 1, lat) for a field and for its derivatives along longitude and latitude."""
        weights = self.weights[:, None]
        area = weights / (1 - self.sin_lat[:, None] ** 2)
        p = self._legendre[..., : self.truncation + 1]
        matrices = [np.ascontiguousarray(np.swapaxes(a, 1, 2)) for a in (weights * p, area * p, area * self._slopes)]
        return matrices[0], matrices[1], matrices[2]

    def analyse(self, field: FloatArray) -> Coefficients:
        """Return coefficients (..., T + 1, T + 1) of fields (..., lat, lon)."""
        return _multiply(self._forward[0], self._fourier(field))

    def synthesize(self, coefficients: Coefficients) -> FloatArray:
        """Return fields (..., lat, lon) of coefficients (..., T + 1, T + 1), or (..., T + 1, T + 2) up to n = T + 1."""
        waves = _multiply(self._legendre[..., : coefficients.shape[-1]], coefficients)
        return np.fft.irfft(np.swapaxes(waves, -1, -2), n=self.shape[1], axis=-1, norm="forward")

    def wind(self, vorticity: Coefficients, divergence: Coefficients) -> tuple[Coefficients, Coefficients]:
        r"""Return the wind times the cosine of latitude.

        The components are :math:`u \cos\varphi = \partial_\lambda \chi - (1 - \mu^2) \partial_\mu \psi` and
        :math:`v \cos\varphi = \partial_\lambda \psi + (1 - \mu^2) \partial_\mu \chi`, with the stream function
        :math:`\psi = \nabla^{-2} \zeta` and the velocity potential :math:`\chi = \nabla^{-2} \delta`.

        Parameters
        ----------
        vorticity, divergence
            Shapes (..., T + 1, T + 1).

        Returns
        -------
        u, v : ndarray
            Shapes (..., T + 1, T + 2), because the derivative raises the largest wavenumber by one.
        """
        psi, chi = self.inverse_laplacian * vorticity, self.inverse_laplacian * divergence
        return self._along(chi) - self._across(psi), self._along(psi) + self._across(chi)

    def curl_divergence(self, u: FloatArray, v: FloatArray) -> tuple[Coefficients, Coefficients]:
        r"""Return curl and divergence of a vector field, with derivatives by parts inside the quadrature.

        Parameters
        ----------
        u, v
            Components to the east and north, each times the cosine of latitude, shapes (..., lat, lon).

        Returns
        -------
        curl, divergence : ndarray
            Shapes (..., T + 1, T + 1).
        """
        waves = self._fourier(np.stack([u, v]))
        _, along, across = self._forward
        i_m = 1j * np.arange(self.truncation + 1.0)[:, None]
        du, dv = i_m * _multiply(along, waves)
        su, sv = _multiply(across, waves)
        return dv + su, du - sv

    def _along(self, c: Coefficients) -> Coefficients:
        """Differentiate along longitude, with zeros for n = T + 1."""
        m = np.arange(self.truncation + 1.0)[:, None]
        return np.concatenate([1j * m * c, np.zeros_like(c[..., :1])], axis=-1)

    def _across(self, c: Coefficients) -> Coefficients:
        r"""Return the coefficients of :math:`(1 - \mu^2) \partial_\mu f`."""
        t, eps = self.truncation, self._epsilon
        n = np.arange(t + 2.0)
        zero = np.zeros_like(c[..., :1])
        above = np.concatenate([c[..., 1:], zero, zero], axis=-1)
        below = np.concatenate([zero, c], axis=-1)
        result: Coefficients = (n + 2) * eps[:, 1 : t + 3] * above - (n - 1) * eps[:, : t + 2] * below
        return result

    def _fourier(self, field: FloatArray) -> Coefficients:
        """Return Fourier coefficients (..., T + 1, lat)."""
        waves = np.fft.rfft(field, axis=-1, norm="forward")[..., : self.truncation + 1]
        return np.swapaxes(waves, -1, -2)


def _multiply(matrix: FloatArray, vectors: Coefficients) -> Coefficients:
    """Multiply vectors (..., m, b) by a real matrix (m, a, b) for each m: (..., m, a)."""
    # As columns of a real matrix, because numpy would convert the other matrix to complex: twice the work and a copy.
    leading = vectors.shape[:-2]
    columns = np.ascontiguousarray(np.moveaxis(vectors.reshape(-1, *vectors.shape[-2:]), 0, -1))
    product: Coefficients = np.matmul(matrix, columns.view(np.float64)).view(np.complex128)
    return np.moveaxis(product, -1, 0).reshape(*leading, *product.shape[:2])


def _is_smooth(count: int) -> bool:
    """Whether 2, 3 and 5 are the only prime factors."""
    for prime in (2, 3, 5):
        while count % prime == 0:
            count //= prime
    return count == 1
