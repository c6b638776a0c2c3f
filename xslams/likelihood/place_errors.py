r"""Biases and variances of the errors of places that innovations tell, where the places of a source differ.

The innovations of a stretch of time, less what is known of their errors, are

.. math:: d = H x' + G b + e, \qquad b \sim N(0, K), \qquad e_i \sim N(0, r_s \lambda_{p(i)})

with a bias :math:`b_p` of each place that all stretches share. Biases of a source have a part of each place alone and
one that is alike in a region, :math:`K_{pq} = \tau_s^2 \delta_{pq} + \sigma_s^2 e^{-|p - q| / L}` with :math:`L` = 300
km, since what a model's cell cannot represent (lakes, coasts, mountains) is common to neighbours. Variances of errors
are :math:`r_s` times the factor of a place, which has a scaled inverse chi-square distribution with :math:`\nu_s`
degrees of freedom about one.

:math:`\tau_s, \sigma_s` are those of largest likelihood with the state and the biases marginalised. The variances are
found by expectation maximisation: the expected squares of the errors of a place, given all innovations, are drawn to
those of its source. :math:`\nu_s` follows from how much more the squares of innovations, each standardised by what all
others tell of it, differ from place to place than by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from xslams.sphere import EARTH_RADIUS
from xslams.typing import FloatArray

__all__ = ["PlaceErrors", "PlaceSample", "place_errors"]

# Length in km over which biases of a region are alike.
_LENGTH = 300.0
# Rounds of expectation maximisation, with one variance of a source and then with those of places.
_ROUNDS = 8, 10
# Twice the gain in logarithmic likelihood that biases need in all, and for each value: where anomalies persist for
# longer than a prior knows, biases gain a third of the latter.
_GAIN, _GAIN_EACH = 10.0, 0.05
# Where places have variances of their own, the spread of the squares of their innovations is more than chance allows by
# this many standard errors, and by more than a prior that is wrong by a third of its variance would make it.
_SURE, _EXCESS = 2.0, 0.15
# Least degrees of freedom.
_FREEDOM = 2.0
# Variance of biases over that of the errors: least and largest, and what is none.
_RANGE, _NONE = (1e-5, 10.0), 0.02


@dataclass(frozen=True)
class PlaceSample:
    """Innovations of one stretch of time, and the places that they are of.

    Attributes
    ----------
    innovation
        Observation less prior mean, shape (n,).
    prior
        Their covariance by the prior, shape (n, n).
    known
        Variance of what is known of their errors, shape (n,).
    unit
        What the variance of a place is multiplied by, shape (n,).
    place
        Number of the place of each value, -1 where its error is known, shape (n,).
    """

    innovation: FloatArray
    prior: FloatArray
    known: FloatArray
    unit: FloatArray
    place: npt.NDArray[np.intp]


@dataclass(frozen=True)
class PlaceErrors:
    """Errors of places.

    Attributes
    ----------
    bias
        Expected bias of each place, shape (place,).
    variance
        Mean squared error of each place without it, what is left unknown of the bias included, shape (place,).
    elsewhere
        Mean squared error of a place of each source that is not among them, shape (source,).
    told
        Sources of which places differ beyond chance; of the others nothing is said, shape (source,).
    """

    bias: FloatArray
    variance: FloatArray
    elsewhere: FloatArray
    told: npt.NDArray[np.bool_]


def place_errors(
    samples: Sequence[PlaceSample],
    source: npt.NDArray[np.intp],
    at: FloatArray,
    pooled: FloatArray,
    biased: npt.NDArray[np.bool_],
) -> PlaceErrors:
    """Estimate biases and variances of the errors of places.

    Parameters
    ----------
    samples
        Stretches of time, whose states are independent.
    source
        Source of each place, shape (place,).
    at
        Direction of each place from the centre of the sphere, shape (place, 3).
    pooled
        Variance of the errors of each source by one number, shape (source,).
    biased
        Whether the places of a source may have biases, shape (source,).

    Examples
    --------
    Twenty places in the middle of the Atlantic, of which one has a bias of three:

    >>> rng, place = np.random.default_rng(0), np.tile(np.arange(20), 8)
    >>> d = rng.normal(size=160) + 3.0 * (place == 7)
    >>> one = np.ones(160)
    >>> at = np.stack([np.cos(np.arange(20.0)), np.sin(np.arange(20.0)), 0 * np.arange(20.0)], axis=1)
    >>> found = place_errors([PlaceSample(d, 0.01 * np.eye(160), 0 * one, one, place)], np.zeros(20, int), at,
    ...                      np.array([1.5]), np.array([True]))
    >>> bool(found.told[0]), int(found.bias.argmax())
    (True, 7)
    """
    fit = _Fit(samples, source, at, pooled, biased)
    plain = fit.state(np.zeros((2, pooled.size)))
    for _ in range(_ROUNDS[0]):
        state = fit.state(None)
        fit.improve(state, own=False)
    state = fit.state(None)
    if plain.cost - state.cost < max(_GAIN, _GAIN_EACH * float(fit.count.sum())):
        fit.without_biases(pooled)
        state = plain
    own = fit.find_freedom(state)
    if own.any():
        for _ in range(_ROUNDS[1]):
            fit.improve(state, own=True)
            state = fit.state(None)
    return fit.result(state, own)


@dataclass(frozen=True)
class _State:
    """What all innovations tell with some variances.

    Attributes
    ----------
    cost
        Twice the negative logarithm of the likelihood.
    kernel
        Covariance of biases, shape (place, place).
    bias, doubt
        Expectation and variance of the bias of each place, shape (place,).
    squares
        Expected squares of errors, summed over the values of a place, in the units of its variance, shape (place,).
    standardised, share
        Squares of innovations, standardised by what all others tell of them, and the share of their variance that is
        the error's, summed likewise, shape (place,).
    """

    cost: float
    kernel: FloatArray
    bias: FloatArray
    doubt: FloatArray
    squares: FloatArray
    standardised: FloatArray
    share: FloatArray


class _Fit:
    """Variances that are being found."""

    def __init__(
        self,
        samples: Sequence[PlaceSample],
        source: npt.NDArray[np.intp],
        at: FloatArray,
        pooled: FloatArray,
        biased: npt.NDArray[np.bool_],
    ) -> None:
        self.samples, self.source = samples, source
        self.places, self.sources = source.size, pooled.size
        self.count = np.bincount(np.concatenate([s.place[s.place >= 0] for s in samples]), minlength=self.places)
        self.error = pooled.astype(float) * np.where(biased, 0.5, 1.0)
        self.factor = np.ones(self.places)
        self.freedom = np.full(self.sources, np.inf)
        self.biased = biased
        self.pooled = pooled
        distance = EARTH_RADIUS * np.sqrt(np.maximum(((at[:, None] - at) ** 2).sum(axis=-1), 0.0))
        self.region = np.exp(-distance / _LENGTH) * (source[:, None] == source)
        self.logs = np.log(np.stack([pooled, pooled]) / 4.0)
        self.groups = [self._group(s) for s in samples]

    def _group(self, sample: PlaceSample) -> sp.csr_array:
        """Matrix from the biases of places to innovations."""
        rows = np.flatnonzero(sample.place >= 0)
        entries = np.sqrt(sample.unit[rows]), (rows, sample.place[rows])
        return sp.csr_array(entries, shape=(sample.place.size, self.places))

    def covariance(self, variances: FloatArray) -> FloatArray:
        """Covariance of biases."""
        alone, region = variances[:, self.source]
        return np.asarray(np.diag(alone) + self.region * region[:, None])

    def without_biases(self, pooled: FloatArray) -> None:
        """Go back to sources without biases."""
        self.biased = np.zeros(self.sources, bool)
        self.error = pooled.astype(float)

    def state(self, variances: FloatArray | None) -> _State:
        """Innovations given the present variances; those of biases are found where they are not given."""
        plain = variances is not None
        own = (self.pooled if plain else self.error)[self.source] * self.factor
        parts = []
        information, seen, cost = np.zeros((self.places, self.places)), np.zeros(self.places), 0.0
        for sample, group in zip(self.samples, self.groups, strict=True):
            mine = np.where(sample.place >= 0, own[sample.place] * sample.unit, 0.0)
            small = 1e-9 * float(np.mean(np.diag(sample.prior)))
            factor = cho_factor(sample.prior + np.diag(sample.known + mine + small), lower=True)
            inverse = cho_solve(factor, np.eye(mine.size))
            weighted = inverse @ sample.innovation
            cost += float(2 * np.log(np.diag(factor[0])).sum() + sample.innovation @ weighted)
            spread = group.T @ inverse
            information += spread @ group
            seen += group.T @ weighted
            parts.append((mine, inverse, weighted, spread))
        if variances is None:
            variances = self._likeliest(information, seen)
        kernel = self.covariance(variances)
        gain, doubt = _marginal(kernel, information, seen)
        bias = doubt @ seen
        squares, standardised, share = (np.zeros(self.places) for _ in range(3))
        for sample, (mine, inverse, weighted, spread) in zip(self.samples, parts, strict=True):
            has = sample.place >= 0
            place = sample.place[has]
            left = (weighted - spread.T @ bias)[has]
            power = (np.diag(inverse) - ((doubt @ spread) * spread).sum(axis=0))[has]
            mine, unit = mine[has], sample.unit[has]
            squares += np.bincount(place, ((mine * left) ** 2 + mine - mine**2 * power) / unit, self.places)
            standardised += np.bincount(place, left**2 / power, self.places)
            share += np.bincount(place, mine * power, self.places)
        return _State(cost + gain, kernel, bias, np.diag(doubt).copy(), squares, standardised, share)

    def _likeliest(self, information: FloatArray, seen: FloatArray) -> FloatArray:
        """Variances of biases of largest likelihood, alone and of a region, shape (2, source)."""
        if not self.biased.any():
            return np.zeros((2, self.sources))
        chosen = np.flatnonzero(self.biased)
        mine = [(self.source == s).astype(float) for s in chosen]
        parts = np.stack([*(np.diag(m) for m in mine), *(self.region * m[:, None] for m in mine)])

        def cost(logs: FloatArray) -> tuple[float, FloatArray]:
            variances = np.exp(logs)
            kernel = np.tensordot(variances, parts, 1)
            value, doubt = _marginal(kernel, information, seen)
            weight = information - information @ doubt @ information
            left = seen - information @ (doubt @ seen)
            slope = [float((weight * part).sum() - left @ part @ left) for part in parts]
            return value, variances * np.array(slope)

        bounds = np.log(np.concatenate([self.pooled[chosen]] * 2)[:, None] * np.array(_RANGE))
        start = np.clip(self.logs[:, chosen].ravel(), bounds[:, 0], bounds[:, 1])
        found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 20})
        self.logs[:, chosen] = found.x.reshape(2, -1)
        variances = np.zeros((2, self.sources))
        variances[:, chosen] = np.exp(self.logs[:, chosen])
        return variances

    def improve(self, state: _State, *, own: bool) -> None:
        """One round of expectation maximisation."""
        if own:
            error = self.error[self.source]
            freedom = self.freedom[self.source]
            told = np.isfinite(freedom)
            ratio = (state.squares / error + np.where(told, freedom, 0.0)) / (self.count + np.where(told, freedom, 1.0))
            self.factor = np.where(told, ratio, 1.0)
        squares = np.bincount(self.source, state.squares / self.factor, self.sources)
        # Of a source without places, nothing is told.
        values = np.maximum(np.bincount(self.source, self.count, self.sources), 1)
        self.error = np.maximum(squares / values, 1e-4 * self.pooled)

    def find_freedom(self, state: _State) -> npt.NDArray[np.bool_]:
        """Degrees of freedom of the factors of each source, and where these differ beyond chance."""
        told = np.zeros(self.sources, bool)
        for s in range(self.sources):
            mine = (self.source == s) & (self.count > 1)
            if mine.sum() < 2:
                continue
            count, size = self.count[mine], state.standardised[mine] / self.count[mine]
            share = float(state.share[mine].sum() / count.sum())
            excess = (size - float(np.average(size, weights=count))) ** 2 - 2.0 / count
            mean = float(excess.mean())
            told[s] = mean > max(_SURE * float(np.std(excess)) / np.sqrt(count.size), _EXCESS)
            if told[s]:
                self.freedom[s] = max(2.0 * share**2 / mean, _FREEDOM)
        return told

    def result(self, state: _State, own: npt.NDArray[np.bool_]) -> PlaceErrors:
        """Errors of places by what was found."""
        variance = self.error[self.source] * self.factor
        number = np.maximum(np.bincount(self.source, minlength=self.sources), 1)
        elsewhere = np.bincount(self.source, variance + np.diag(state.kernel), self.sources) / number
        biases = np.bincount(self.source, np.diag(state.kernel), self.sources) / number
        return PlaceErrors(state.bias, variance + state.doubt, elsewhere, own | (biases > _NONE * self.error))


def _marginal(kernel: FloatArray, information: FloatArray, seen: FloatArray) -> tuple[float, FloatArray]:
    """Return what biases add to twice the negative log-likelihood, and their covariance given all innovations."""
    size = len(kernel)
    if not kernel.any():
        return 0.0, np.zeros((size, size))
    root = np.linalg.cholesky(kernel + 1e-9 * float(np.mean(np.diag(kernel))) * np.eye(size))
    inner = np.linalg.cholesky(np.eye(size) + root.T @ information @ root)
    half = solve_triangular(inner, root.T, lower=True)
    told = half @ seen
    return float(2 * np.log(np.diag(inner)).sum() - told @ told), half.T @ half
