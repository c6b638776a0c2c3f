"""What a user says of errors that are correlated: lengths in space, height and time, and covariances between values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.arguments import is_number, require, shown
from xslams.display import page, settings
from xslams.errors import ObservationOptionError
from xslams.observations.stated_errors import Error, check_stated
from xslams.typing import FloatArray

if TYPE_CHECKING:
    from xslams.observations.quality import QualityControl

__all__ = ["ErrorCovariance", "correlation_matrix", "require_compatible", "without_covariance"]

# Smallest eigenvalue of a correlation matrix that single precision can invert.
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class ErrorCovariance:
    r"""Errors of a source that are correlated from value to value.

    The correlation of two values is the product of those in space, in height, in time, and between the elements of a
    dimension, as far as they are given. Where one is not given, values that differ there have independent errors:
    with `time` alone, every place has a time series of its own.

    Parameters
    ----------
    std
        Standard deviation of the error in the units of the data, as for ``Observation(error=...)``. By default the root
        of the diagonal of `covariance`.
    length
        Length of the correlation in space in km: at a distance :math:`d` along the chord it is :math:`(1 + d / L)
        e^{-d / L}`.
    vertical
        Length of the correlation in height, in the logarithm of pressure or sigma; in the units of the level
        coordinate where that is something else.
    time
        Hours after which the correlation in time is :math:`1 / e`: an AR(1) process.
    covariance
        Covariance between the elements of one dimension of the data other than time (stations, channels, levels), a
        square DataArray whose first dimension is called like that of the data, and the second otherwise. With
        coordinates, elements find their own by label. With ``"variable"`` as first dimension and names of variables as
        its coordinate, it is that between the variables of a source. If `std` is given, only the correlation is taken.
    independent
        Share of the variance that is independent from value to value, to which correlations are shrunk: neighbouring
        values are never quite redundant, and the covariance of a sample is noisy. 0 takes correlations as they are.

    Raises
    ------
    ObservationOptionError
        If a length is not positive, or the covariance is not symmetric, has missing values, or is singular.

    Examples
    --------
    >>> ErrorCovariance(1.5, length=300.0, time=12.0)
    ErrorCovariance(std=1.5, length=300.0, time=12.0)
    """

    std: Error | None = None
    length: float | None = None
    vertical: float | None = None
    time: float | None = None
    covariance: xr.DataArray | None = None
    independent: float = 0.01

    def __post_init__(self) -> None:
        check_stated(self.std, "std")
        for name in ("length", "vertical", "time"):
            value: Any = getattr(self, name)
            positive = value is None or (is_number(value) and float(value) > 0)
            units = {"length": "of km", "time": "of hours"}.get(name, "of log-pressure, or of units of the level")
            require(positive, name, value, f"a positive number {units}", ObservationOptionError)
        share: Any = self.independent
        within = is_number(share, 0.0) and float(share) <= 1
        require(within, "independent", share, "a share of the variance, from 0 to 1", ObservationOptionError)
        if self.covariance is not None:
            correlation_matrix(self.covariance, "covariance", self.independent)
        elif self.std is None:
            msg = "An ErrorCovariance needs std=, the standard deviation of the error, or a covariance=."
            raise ObservationOptionError(msg)

    def __repr__(self) -> str:
        names = ("std", "length", "vertical", "time")
        parts = [f"{n}={shown(getattr(self, n))}" for n in names if getattr(self, n) is not None]
        if self.covariance is not None:
            parts.append(f"covariance=<{' x '.join(map(str, self.covariance.dims))}>")
        return f"ErrorCovariance({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return page("xslams.ErrorCovariance", "", [settings(self)], repr(self))

    @property
    def correlated(self) -> bool:
        """Whether any two values are correlated."""
        return any(v is not None for v in (self.length, self.vertical, self.time, self.covariance))

    @property
    def dim(self) -> str | None:
        """Dimension of the data that the covariance belongs to; None without a covariance."""
        return None if self.covariance is None else str(self.covariance.dims[0])

    @cached_property
    def between(self) -> FloatArray | None:
        """Correlation matrix between the elements of `dim`."""
        return None if self.covariance is None else correlation_matrix(self.covariance, "covariance", self.independent)

    @property
    def stated(self) -> Error:
        """Standard deviations."""
        if self.std is not None or self.covariance is None:
            assert self.std is not None
            return self.std
        dim = self.covariance.dims[0]
        std = np.sqrt(np.diagonal(self.covariance.values))
        coords = {dim: self.covariance.indexes[dim]} if dim in self.covariance.indexes else {}
        if dim == "variable":
            return {str(n): float(v) for n, v in zip(coords.get(dim, range(std.size)), std, strict=True)}
        return xr.DataArray(std, dims=(dim,), coords=coords)


def correlation_matrix(covariance: object, what: str, independent: float = 0.0) -> FloatArray:
    """Return the correlation matrix of a covariance that a user gives.

    Parameters
    ----------
    covariance
        Square DataArray of two dimensions.
    what
        Name of the argument, for messages.
    independent
        Share of the variance that is independent in addition; the matrix that is returned is without it.

    Raises
    ------
    ObservationOptionError
        If it is something else, not symmetric, has missing values, or is singular.

    Examples
    --------
    >>> correlation_matrix(xr.DataArray([[4.0, 1.0], [1.0, 1.0]], dims=("station", "other")), "covariance")
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    if not isinstance(covariance, xr.DataArray) or covariance.ndim != 2 or len(set(covariance.sizes.values())) != 1:
        got = dict(covariance.sizes) if isinstance(covariance, xr.DataArray) else shown(covariance)
        msg = (
            f"{what}={got}; expected a square DataArray of two dimensions, the first of which is called like the "
            "dimension of the data: xr.DataArray(matrix, dims=('station', 'station_2'))."
        )
        raise ObservationOptionError(msg)
    if covariance.dtype.kind not in "fiu" or not covariance.size:
        msg = f"{what}= has {covariance.size} elements of type {covariance.dtype}; expected real numbers."
        raise ObservationOptionError(msg)
    if covariance.dims[0] == "variable" and "variable" not in covariance.indexes:
        msg = f"{what}= is between variables, and does not name them: .assign_coords(variable=['tas', 'pr', ...])."
        raise ObservationOptionError(msg)
    matrix = np.asarray(covariance.values, float)
    variance = np.diagonal(matrix)
    if not np.isfinite(matrix).all() or not (variance > 0).all():
        msg = f"{what}= has missing values, or variances that are not positive; leave such elements out."
        raise ObservationOptionError(msg)
    correlation = matrix / np.sqrt(variance[:, None] * variance)
    if not np.allclose(correlation, correlation.T, atol=1e-6):
        msg = f"{what}= is not symmetric, as covariances are; symmetrise it: (c + c.T) / 2."
        raise ObservationOptionError(msg)
    correlation = (correlation + correlation.T) / 2
    least = float(np.linalg.eigvalsh((1 - independent) * correlation + independent * np.eye(len(correlation)))[0])
    if least < _LEAST:
        msg = (
            f"{what}= is singular or not positive definite: the smallest eigenvalue of its correlation matrix is "
            f"{least:.3g}; expected at least {_LEAST:g}. A sample of fewer cases than elements is: shrink it by "
            "independent=, the share of the variance that is independent in each element."
        )
        raise ObservationOptionError(msg)
    return np.asarray(correlation)


def without_covariance(error: object) -> tuple[Any, ErrorCovariance | None]:
    """Return what a source gives as error in two parts: standard deviations, and what says how they are correlated."""
    if isinstance(error, ErrorCovariance):
        return error.stated, error if error.correlated else None
    if isinstance(error, Mapping) and any(isinstance(v, ErrorCovariance) for v in error.values()):
        msg = "error= maps variables to ErrorCovariance; expected one for all of a source: ErrorCovariance(std={...})."
        raise ObservationOptionError(msg)
    return error, None


def require_compatible(error: object, qc: QualityControl) -> None:
    """Raise where quality control and correlated errors do not go together.

    Parameters
    ----------
    error
        What a source gives as error.
    qc
        Its quality control.

    Raises
    ------
    ObservationOptionError
        If the likelihood has heavy tails or an unknown bias as well, or values of several kinds are averaged.
    """
    covariance = without_covariance(error)[1]
    if covariance is None:
        return
    parts = {
        "robust": (qc.robust is not None, "a gross error must not be taken for that of its neighbours: use thin= or "
                   "background_check= against gross errors"),
        "bias_error": (qc.bias_error is not None, "a bias is an error that is correlated without end: give a long "
                       "time= or length= in its place"),
        "superob": (qc.superob is not False and covariance.dim is not None, "means over several elements of a "
                    "covariance have none: average data and covariance first"),
    }  # fmt: skip
    for name, (wrong, why) in parts.items():
        if wrong:
            msg = f"qc: {name}={shown(getattr(qc, name))} with correlated errors, error=ErrorCovariance(...); {why}."
            raise ObservationOptionError(msg)
