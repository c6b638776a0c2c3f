r"""Bias and error of a source, estimated where the truth is known.

The difference between a value and what the observation operator makes of the truth is

.. math:: d_{s,t} = \mu_{g(t)} + b_{s,g(t)} + e_{s,t}

at place :math:`s` and time :math:`t` in group :math:`g` (a month, season, or hour of the day). Biases of places are a
Gaussian process over the groups, with a constant part, an annual or daily cycle and a part of every group of its own,
whose variances are those of largest likelihood over all places; each bias is its expectation given the mean
differences of its place. Places with few values, and groups that no value lies in, are thereby drawn to the rest of the
source. Days are not independent: with the lag correlation :math:`\rho` of the residuals, :math:`n` of them count as
:math:`n (1 - \rho) / (1 + \rho)`.

Variances of errors are the product of one per group and one per place, the latter drawn to that of the source. As the
likelihood takes errors for independent, they are multiplied by :math:`\sqrt{(1 + \rho) / (1 - \rho)}`: the density of
the errors at low frequencies is larger than that by the same factor again, and at high ones smaller. Of several values
of one place on one frame the mean counts: :math:`\rho` is that of these means, and variances are multiplied by
:math:`\kappa`, the number of values times the mean square of their mean over that of one, which is one where they err
independently, and their number where they err alike.

Errors of neighbouring places may be alike, since they share weather, an algorithm, or what the truth itself has wrong.
Their correlation in space is estimated too, and used where residuals of times that were held out are likelier with it,
see `xslams.observations.innovation_correlation`. In time they stay inflated: an AR(1) process in the place of that was
no better for stations over North America, on months of the training period that were held out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import minimize

from xslams.arguments import require
from xslams.errors import CoverageError, DimensionError, ObservationError, ObservationOptionError, UnitError
from xslams.labels.calendar import hours, on_time_axis, without_zones
from xslams.labels.channels import to_channels
from xslams.labels.coordinates import coordinate, levels_along, listed
from xslams.labels.frames import Frames, learn
from xslams.labels.grid import grid_of
from xslams.labels.recognise import inspect
from xslams.labels.repeats import without_repeats
from xslams.labels.valid_values import with_valid_values
from xslams.observations.bound_variable import BoundVariable
from xslams.observations.error_covariance import ErrorCovariance
from xslams.observations.innovation_correlation import Correlation, correlation_in_space
from xslams.observations.place_values import GROUPS, Places, PlaceValues, places_of
from xslams.observations.quality import QualityControl
from xslams.observations.stated_errors import Error
from xslams.observations.superob import combined
from xslams.observations.vertical import height
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray

if TYPE_CHECKING:
    from xslams.observations.observation import Observation

__all__ = ["calibrated"]

# Differences that are further from the median of their source, in robust standard deviations, tell nothing of errors.
_WILD = 8.0
# Effective values of a source that a bias and an error need at least.
_LEAST = 5
# A variance below this share of that of the truth at the places is none.
_NONE = 1e-12


def calibrated(source: Observation, reference: xr.Dataset | xr.DataArray, by: str | None) -> Observation:
    """Return a source with bias and error from a period where the truth is known; see `Observation.calibrated`."""
    group: object = by
    known = group is None or (isinstance(group, str) and group in GROUPS)
    require(known, "by", by, "'month', 'season', 'hour' or None", ObservationOptionError)
    if source.operator is not None:
        msg = f"Source {source.name!r}: what an operator= makes is not calibrated. Estimate its errors yourself."
        raise ObservationError(msg)
    truth = (
        reference
        if isinstance(reference, xr.Dataset)
        else reference.to_dataset(name="values" if reference.name is None else None)
    )
    truth = without_repeats(on_time_axis(without_zones(with_valid_values(truth))))
    spec = _describe(truth)
    time = truth[str(coordinate(truth, "time"))]
    # What a value differs by is measured before anything is taken away or averaged.
    plain = QualityControl(flags=source.qc.flags, background_check=None)
    one = PlaceValues.everywhere(1.0)  # errors of places, for which values of one frame may be alike
    bound = source.replace(error=one, qc=plain).bind(spec, Frames.of(time, spec, truth))
    parts = bound.audited(strict=True)
    fields = np.asarray(to_channels(truth, spec).values, float).ravel()
    found: dict[str, tuple[PlaceValues, PlaceValues]] = {}
    correlations: list[Correlation | None] = []
    for variable, part in zip(bound.variables, parts, strict=True):
        likelihood, elements = part.likelihood, part.audit.elements
        assert elements is not None
        difference = (likelihood.values - likelihood.matrix @ fields) / np.sqrt(likelihood.errors.instrument)
        known = np.isfinite(difference)
        *pair, correlation = _estimate(variable, difference[known], elements[known], by)
        found[variable.name] = (pair[0], pair[1])
        correlations.append(correlation)
    biases, errors = ({name: pair[k] for name, pair in found.items()} for k in (0, 1))
    qc = replace(source.qc, bias=biases)
    return source.replace(error=_error(errors, correlations, qc), qc=qc)


def _error(
    errors: dict[str, PlaceValues], found: list[Correlation | None], qc: QualityControl
) -> Error | ErrorCovariance:
    """Errors of a source, with their correlation where all of its variables have one, and quality control allows it."""
    known = [c for c in found if c is not None]
    if len(known) < len(found) or qc.robust is not None or qc.bias_error is not None:
        return errors
    # One for the source, and the weaker of those of its variables.
    length, independent = min(c.length for c in known), max(c.independent for c in known)
    return ErrorCovariance(errors, length=length, independent=independent)


def _describe(ds: xr.Dataset) -> Spec:
    """Specification of the fields of a reference, as if they were those of a model."""
    names = inspect(ds).variables
    time = coordinate(ds, "time")
    if not names or time is None or ds[time].size < 2:
        msg = (
            f"The reference of a calibration needs fields with latitudes, longitudes and several times; got "
            f"{listed(ds.data_vars)} with coordinates {listed(ds.coords)}."
        )
        raise DimensionError(msg)
    grid = grid_of(ds)
    frame, methods = learn(ds, names)
    variables = []
    for name in names:
        da = ds[name]
        if "units" not in da.attrs:
            msg = f"The reference's {name!r} has no units. Set ds[{name!r}].attrs['units']."
            raise UnitError(msg)
        level = coordinate(da, "level")
        deep = level is not None and da[level].ndim == 1 and level in da.dims
        level = next(iter(levels_along(da, level)), level) if deep and level is not None else None
        variables.append(
            VariableSpec(
                name, str(da.attrs["units"]), standard_name=da.attrs.get("standard_name"),
                level_dim=level, levels=() if level is None else tuple(float(v) for v in da[level].values),
                level_attrs={} if level is None else {k: v for k, v in da[level].attrs.items() if isinstance(v, str)},
                cell_method=methods.get(name, ""),
            )
        )  # fmt: skip
    step = float(np.median(np.diff(hours(ds[time]))))
    return Spec(
        tuple(variables), tuple(grid.lat.tolist()), tuple(grid.lon.tolist()), grid.periodic, time_step=step, frame=frame
    )


@dataclass(frozen=True)
class _Sample:
    """Differences of a source, place, group, hour and frame of each, shape (n,); number of places and of groups."""

    difference: FloatArray
    place: npt.NDArray[np.intp]
    group: npt.NDArray[np.intp]
    hour: FloatArray
    frame: npt.NDArray[np.intp]
    places: int
    groups: int

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum over the values of each place and group, shape (place, group)."""
        cell = self.place * self.groups + self.group
        total = np.bincount(cell, values, self.places * self.groups).astype(float)
        return total.reshape(self.places, self.groups)

    @property
    def counts(self) -> FloatArray:
        """Number of values of each place and group, shape (place, group)."""
        return self.sums(np.ones(self.difference.size))

    def redundancy(self, residual: FloatArray) -> tuple[float, float]:
        """By how much the variance of means, of one frame and of many, exceeds that of independent errors."""
        member = combined(self.place, self.frame)
        _, first, count = np.unique(member, return_index=True, return_counts=True)
        mean = np.bincount(member, residual) / count
        power = float(np.mean(residual**2))
        if not power:
            return 1.0, 1.0
        alike = float(
            np.clip(np.sum(count**2 * mean**2) / residual.size / power, 1.0, np.sum(count**2) / residual.size)
        )
        rho = _autocorrelation(mean, self.place[first], self.hour[first])
        return alike, alike * (1 + rho) / (1 - rho)


def _autocorrelation(residual: FloatArray, place: npt.NDArray[np.intp], hour: FloatArray) -> float:
    """Correlation of residuals of one place that follow each other in the shortest step."""
    order = np.lexsort((hour, place))
    step, r = np.diff(hour[order]), residual[order]
    same = (np.diff(place[order]) == 0) & (step > 0)
    if not same.any():
        return 0.0
    next_to = same & (step <= 1.01 * np.median(step[same]))
    power = float(np.mean(r**2))
    return float(np.clip(np.mean(r[1:][next_to] * r[:-1][next_to]) / power, 0.0, 0.95)) if power else 0.0


def _estimate(
    variable: BoundVariable, difference: FloatArray, elements: npt.NDArray[np.intp], by: str | None
) -> tuple[PlaceValues, PlaceValues, Correlation | None]:
    """Bias and error of one variable, and the correlation of its errors in space."""
    da = variable.values
    where = places_of(da)
    place = _along(where.number, da)[elements].astype(np.intp)
    stamps = variable.stamps.reset_coords(drop=True)
    hour = _along(xr.DataArray(hours(variable.stamps).reshape(stamps.shape), dims=stamps.dims), da)[elements].astype(
        float
    )
    label = np.zeros(stamps.shape, int) if by is None else getattr(variable.stamps.dt, by).values
    groups = GROUPS[by]
    number = {g: n for n, g in enumerate(groups)}
    numbers = xr.DataArray(np.vectorize(number.__getitem__, otypes=[np.intp])(label), dims=stamps.dims)
    group = _along(numbers, da)[elements].astype(np.intp)
    usual = np.abs(difference - np.median(difference)) if difference.size else difference
    good = usual <= _WILD * 1.4826 * max(float(np.median(usual)), 1e-300) if difference.size else np.zeros(0, bool)
    frame = _along(xr.DataArray(variable.match.first.reshape(stamps.shape), dims=stamps.dims), da)[elements].astype(
        np.intp
    )
    sample = _Sample(difference[good], place[good], group[good], hour[good], frame[good], len(where.lat), len(groups))
    mean, bias, error, alone = _fit(sample, variable.source)
    correlation = _correlation(sample, bias, where, combined(hour, height(da).ravel()[elements])[good])
    units = str(da.attrs.get("units", variable.observed.units))
    has = sample.counts.sum(axis=1) > 0
    lat, lon = where.lat[has], where.lon[has]
    return (
        PlaceValues(by, lat, lon, bias.T[:, has], mean, units),
        PlaceValues(by, lat, lon, error.T[:, has], alone, units),
        correlation,
    )


def _correlation(sample: _Sample, bias: FloatArray, where: Places, frame: npt.NDArray[np.intp]) -> Correlation | None:
    """Correlation in space of what is left without bias, in units of its size at each place."""
    if where.lat.size < 2 or not np.isfinite(where.lat).all():
        return None
    left = sample.difference - bias[sample.place, sample.group]
    count = np.bincount(sample.place, minlength=sample.places)
    overall = float(left @ left) / left.size
    # Drawn to that of the source, as a place with few values is exact by chance.
    variance = (np.bincount(sample.place, left**2, sample.places) + 5.0 * overall) / (count + 5.0)
    residual = left / np.sqrt(variance[sample.place])
    return correlation_in_space(residual, where.lat[sample.place], where.lon[sample.place], frame.astype(float))


def _along(values: xr.DataArray, da: xr.DataArray) -> npt.NDArray[Any]:
    """Spread values over the dimensions of data, flat."""
    bare = da.reset_coords(drop=True).drop_vars(list(da.coords), errors="ignore")
    return np.asarray(values.broadcast_like(bare).transpose(*da.dims).values).ravel()


def _fit(sample: _Sample, source: str) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Mean bias of each group and bias of each place in it, error of each place, and error of other places."""
    counts = sample.counts
    means = np.divide(sample.sums(sample.difference), counts, out=np.zeros_like(counts), where=counts > 0)
    residual = sample.difference - means[sample.place, sample.group]
    alike, thin = sample.redundancy(residual)
    free = sample.difference.size - int((counts > 0).sum())
    if min(free, sample.difference.size / thin) < _LEAST:
        msg = (
            f"Source {source!r}: {sample.difference.size} values at {int((counts.sum(1) > 0).sum())} places have a "
            f"truth to compare with, which is too few for a bias and an error of {sample.groups} "
            f"group{'s' * (sample.groups > 1)} of dates. Give a longer reference"
            f"{', or by=None' if sample.groups > 1 else ' or source, or an error of yours: error='}."
        )
        raise CoverageError(msg)
    power = float(np.sum(residual**2)) / free
    scale = float(np.mean(sample.difference**2))
    if power <= _NONE * max(scale, 1e-300):
        msg = (
            f"Source {source!r}: values and reference differ by nothing but a constant, as if one had been made of the "
            "other. Compare with a truth that does not hold the observations, or give error=."
        )
        raise ObservationError(msg)
    noise = np.divide(power * thin, counts, out=np.full_like(counts, np.inf), where=counts > 0)
    kernels = _kernels(sample.groups)
    variances = _variances(means, noise, kernels)
    covariance = np.einsum("k,kgh->gh", variances, kernels)
    mean = _group_means(means, noise, covariance)
    bias, doubt = _expected(means - mean, noise, covariance)
    left = sample.difference - (mean + bias)[sample.place, sample.group]
    by_group, by_place = _error_variances(sample, left, thin)
    inflation = np.sqrt(alike * thin)
    error = np.sqrt(inflation * by_group * by_place[:, None] + doubt)
    alone = np.sqrt(inflation * by_group + np.diag(covariance))
    return mean, mean + bias, error, alone


def _kernels(groups: int) -> FloatArray:
    """Covariances over the groups of unit variance: constant, annual or daily cycle, and of each group alone."""
    constant = np.ones((groups, groups))
    if groups == 1:
        return constant[None]
    phase = 2 * np.pi * np.arange(groups) / groups
    return np.stack([constant, np.cos(phase[:, None] - phase), np.eye(groups)])


def _systems(noise: FloatArray, covariance: FloatArray) -> FloatArray:
    """Covariance of the mean differences of each place; groups without values have a huge variance."""
    large = 1e6 * (np.trace(covariance) + noise[np.isfinite(noise)].max())
    return covariance + np.eye(noise.shape[1]) * np.where(np.isfinite(noise), noise, large)[:, None, :]


def _group_means(means: FloatArray, noise: FloatArray, covariance: FloatArray) -> FloatArray:
    """Mean bias of the source in each group, drawn to that of all groups where there is little to tell it."""
    weight = 1.0 / (np.diag(covariance) + noise)
    total = weight.sum(axis=0)
    own = np.divide((weight * means).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    overall = float((total * own).sum() / total.sum())
    doubt = np.divide(1.0, total, out=np.full_like(total, np.inf), where=total > 0)
    spread = max(float(np.average((own - overall) ** 2, weights=total)) - float(np.mean(doubt[total > 0])), 0.0)
    trust = np.where(total > 0, spread / (spread + np.where(total > 0, doubt, 1.0) + 1e-300), 0.0)
    return np.asarray(overall + trust * (own - overall))


def _variances(means: FloatArray, noise: FloatArray, kernels: FloatArray) -> FloatArray:
    """Variances of the parts of the biases of places, those of largest likelihood."""
    known = np.isfinite(noise).any(axis=1)
    means, noise = means[known], noise[known]
    typical = float(np.median(noise[np.isfinite(noise)]))

    def cost(logs: FloatArray) -> float:
        covariance = np.einsum("k,kgh->gh", np.exp(logs), kernels)
        rest = np.where(np.isfinite(noise), means - _group_means(means, noise, covariance), 0.0)
        systems = _systems(noise, covariance)
        _, determinant = np.linalg.slogdet(systems)
        return float(determinant.sum() + (rest * np.linalg.solve(systems, rest[..., None])[..., 0]).sum())

    # A place alone says nothing of how places differ; variances stay within reason.
    bounds = [(np.log(typical) - 9.0, np.log(typical) + 12.0)] * len(kernels)
    start = np.full(len(kernels), np.log(typical))
    return np.asarray(np.exp(minimize(cost, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}).x))


def _expected(rest: FloatArray, noise: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return expectation and variance of the bias of each place in each group, shape (place, group)."""
    systems = _systems(noise, covariance)
    known = np.where(np.isfinite(noise), rest, 0.0)
    bias = np.linalg.solve(systems, known[..., None])[..., 0] @ covariance
    explained = np.einsum(
        "gh,phg->pg", covariance, np.linalg.solve(systems, np.broadcast_to(covariance, systems.shape))
    )
    return bias, np.maximum(np.diag(covariance) - explained, 0.0)


def _error_variances(sample: _Sample, left: FloatArray, thin: float) -> tuple[FloatArray, FloatArray]:
    """Variance of each group, shape (group,), and the factor of each place, shape (place,)."""
    squares, counts = sample.sums(left**2), sample.counts
    overall = float(left @ left) / left.size
    by_group = overall * _drawn(squares.sum(axis=0) / overall, counts.sum(axis=0), thin)
    return by_group, _drawn((squares / by_group).sum(axis=1), counts.sum(axis=1), thin)


def _drawn(ratio: FloatArray, count: FloatArray, thin: float) -> FloatArray:
    """Ratios of variances, given as sums over `count` values, drawn to one as far as sampling explains their spread."""
    own = np.divide(ratio, count, out=np.ones_like(ratio), where=count > 0)
    effective = count / thin
    known = effective > 1
    sampling = float(np.mean(2.0 / effective[known])) if known.any() else 0.0
    spread = max(float(np.var(own[known])) - sampling, 0.02) if known.any() else 0.02
    prior = 2.0 / spread
    return np.asarray((effective * own + prior) / (effective + prior))
