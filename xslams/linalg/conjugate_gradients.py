r"""What observations add to the mean of a Gaussian, by conjugate gradients that know their error in its own units.

The increment :math:`\delta` of a prior of covariance :math:`V` by observations :math:`J` with errors :math:`R` and
innovation :math:`d` minimises

.. math:: \delta^\top V^{-1} \delta + (d - J \delta)^\top R^{-1} (d - J \delta) .

What this functional is above its least is the square of the error in units of the posterior covariance,
:math:`e^\top (V^{-1} + J^\top R^{-1} J) e`. Conjugate gradients on :math:`\delta` lower just that with every iteration.
Those on weights of the observations, :math:`(R + J V J^\top) w = d`, lower another functional, and a small residual of
theirs says little about the increment where observations are many.

With :math:`V` as preconditioner its inverse is not needed: the product of the inverse with a search direction
:math:`p` follows as the directions do (Derber and Rosati [1]_), and so does that with the increment,
:math:`V^{-1} \delta`, the *dual* of the increment. An iteration costs one product with :math:`V` and one with
:math:`J` and its adjoint, as on the weights.

The error is estimated by the decrease of the last iterations, which goes on about as it did [2]_, where the decreases
of several are taken together, as single ones vary threefold; the squared norm of the gradient in :math:`V` is a bound.
It has to be small next to the number of directions that the observations determine, the degrees of freedom for signal
:math:`\mathrm{tr}\, J V J^\top (R + J V J^\top)^{-1}`, which is what :math:`\delta^\top V^{-1} \delta` is on average.
The error is a sum over these directions, in which that of one place may hide. Hence the last changes have to be small
at every observation, too, in units of its error.

References
----------
.. [1] Derber and Rosati, A global oceanic data assimilation system, 1989,
   doi:10.1175/1520-0485(1989)019<1333:AGODAS>2.0.CO;2.
.. [2] Strakos and Tichy, On error estimation in the conjugate gradient method and why it works in finite precision
   computations, 2002, ETNA 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LinearObservations", "Solution", "minimum", "solve"]

# Shares of a decrease that the next one may be expected to be. The first iteration has none to be compared with.
_FIRST, _LEAST, _MOST = 0.7, 0.75, 0.95
# Iterations whose decreases are taken together and compared with those of as many before: single ones vary threefold.
_WINDOWS = (3, 4, 5, 6)
# Guesses of which less than this share is new tell the same.
_DISTINCT = 1e-5
_TINY = 1e-30


@dataclass(frozen=True)
class LinearObservations:
    """Observations of a Gaussian by a linear map.

    Attributes
    ----------
    innovation
        Observations less what the prior expects of them, shape ``(B, n)``.
    covariance
        Product with :math:`V`, on ``(B, *shape)``.
    forward, adjoint
        Product with :math:`J`, from ``(B, *shape)`` to ``(B, n)``, and with its adjoint.
    precision
        Product with :math:`R^{-1}`, on ``(B, n)``.
    disturbance
        Product of :math:`R^{-1}` with what is added to the innovation, shape ``(B, n)``: noise of covariance
        :math:`R^{-1}` disturbs observations by their errors. None adds nothing.
    """

    innovation: Tensor
    covariance: Callable[[Tensor], Tensor]
    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    precision: Callable[[Tensor], Tensor]
    disturbance: Tensor | None = None

    @property
    def weighted(self) -> Tensor:
        """Product of :math:`R^{-1}` with the innovation, disturbed or not."""
        weighted = self.precision(self.innovation)
        return weighted if self.disturbance is None else weighted + self.disturbance


@dataclass(frozen=True)
class Solution:
    """What observations add to the prior.

    Attributes
    ----------
    increment
        Shape ``(B, *shape)``.
    dual
        Product of the inverse covariance with the increment, shape ``(B, *shape)``: a guess for problems nearby.
    error
        Estimate of the root mean square error of the increment, in units of its own standard deviation, over as many
        directions as `signal` says, ``(B,)``.
    signal
        Estimate of the degrees of freedom for signal, or what was given if that is larger, ``(B, 1)``.
    change
        Largest change of what an observation sees in the last two iterations, in units of its error, ``(B,)``.
    iterations
        Number of iterations that were made for at least one row.
    """

    increment: Tensor
    dual: Tensor
    error: Tensor
    signal: Tensor
    change: Tensor
    iterations: int


def solve(
    observations: LinearObservations,
    *,
    guesses: Sequence[Tensor] = (),
    signal: Tensor | float = 0.0,
    tolerance: float = 0.0,
    largest: float = 0.0,
    iterations: int = 500,
) -> Solution:
    r"""Find the increment.

    Every row goes on until its own error is small, and a row that is done is left alone, so that no row depends on
    which others are solved with it. So is a row that meets a direction in which the covariance is negative, as that of
    a network may be.

    Parameters
    ----------
    observations
        Observations.
    guesses
        Duals of increments like the one that is wanted, ``(B, *shape)`` each. The search begins with the best
        combination of them, at the cost of one product for each.
    signal
        What is known of the degrees of freedom for signal, shape ``(B, 1)``.
    tolerance, largest
        Error, and largest change at an observation, at which a row is done; see `Solution`.
    iterations
        Largest number of iterations.

    Examples
    --------
    A standard normal variable that is observed as 1 with a unit error:

    >>> import torch
    >>> same = lambda x: x
    >>> one = solve(LinearObservations(torch.ones(1, 1), same, same, same, same), tolerance=1e-3, largest=1.0)
    >>> one.increment, one.iterations
    (tensor([[0.5000]]), 1)
    """
    dual, increment, gradient = _start(observations, guesses)
    step = observations.covariance(gradient)
    norm = _dot(gradient, step)
    direction, duals = step, gradient
    error, made = norm, 0
    decreases: list[Tensor] = []
    change, before = torch.full_like(norm, torch.inf), torch.zeros_like(norm)
    active = norm > 0
    signal = torch.as_tensor(signal).to(norm)
    # Innovations may be larger than all errors allow.
    most = min(observations.innovation.shape[-1], gradient[0].numel())
    while made < iterations and bool(active.any()):
        seen = observations.forward(direction)
        weighted = observations.precision(seen)
        product = duals + observations.adjoint(weighted)
        # A direction in which the covariance is negative has a negative square.
        active = active & (_dot(duals, direction) > 0)
        length = torch.where(active, norm / _dot(direction, product), 0.0)
        long = _column(length, direction)
        dual, increment, gradient = dual + long * duals, increment + long * direction, gradient - long * product
        decreases, made = [*decreases[1 - 2 * _WINDOWS[-1] :], length * norm], made + 1
        error = torch.where(active, _left(decreases), error)
        now = length.square() * (seen * weighted).amax(-1, keepdim=True)
        change = torch.where(active, torch.maximum(now, before), change)
        before = now
        signal = torch.maximum(signal, _dot(dual, increment).clamp(max=most))
        active = active & ((error > tolerance**2 * signal) | (change > largest**2))
        if made == iterations or not bool(active.any()):
            break
        step = observations.covariance(gradient)
        after = _dot(gradient, step)
        error = torch.where(active, torch.minimum(error, after.abs()), error)
        active = active & (after > 0) & ((error > tolerance**2 * signal) | (change > largest**2))
        ratio = _column(torch.where(active, after / norm, 0.0), step)
        norm = after
        direction, duals = step + ratio * direction, gradient + ratio * duals
    error, change = (square.clamp(min=0).sqrt()[:, 0] for square in (error / signal.clamp(min=_TINY), change))
    return Solution(increment, dual, error, signal.expand_as(norm), change, made)


def minimum(
    matrix: Callable[[Tensor], Tensor],
    inverse: Callable[[Tensor], Tensor],
    slope: Tensor,
    *,
    tolerance: float,
    iterations: int,
) -> tuple[Tensor, int]:
    r"""Find where :math:`x^\top A x - 2 b^\top x` is least, by conjugate gradients with another preconditioner.

    Parameters
    ----------
    matrix, inverse
        Products with :math:`A` and with an approximation of its inverse, both symmetric and positive definite, on
        ``(B, *shape)``.
    slope
        The right side :math:`b`, shape ``(B, *shape)``.
    tolerance
        Root mean square over all directions of the error, in units of :math:`A^{-1}`, at which a row is done.
    iterations
        Largest number of iterations.

    Returns
    -------
    tuple
        The place, shape of `slope`, and how many iterations were made for at least one row.

    Examples
    --------
    >>> minimum(lambda x: 4 * x, lambda r: r, torch.ones(1, 2), tolerance=1e-3, iterations=10)
    (tensor([[0.2500, 0.2500]]), 1)
    """
    place, gradient, made = torch.zeros_like(slope), slope, 0
    direction = step = inverse(gradient)
    norm = _dot(gradient, step)
    decreases: list[Tensor] = []
    most = tolerance**2 * slope[0].numel()
    active = norm > 0
    while bool(active.any()):
        product = matrix(direction)
        length = torch.where(active, norm / _dot(direction, product), 0.0)
        long = _column(length, direction)
        place, gradient, made = place + long * direction, gradient - long * product, made + 1
        decreases = [*decreases[1 - 2 * _WINDOWS[-1] :], length * norm]
        active = active & (_left(decreases) > most)
        if made == iterations or not bool(active.any()):
            break
        step = inverse(gradient)
        after = _dot(gradient, step)
        active = active & (after > 0)
        direction = step + _column(torch.where(active, after / norm, 0.0), step) * direction
        norm = after
    return place, made


def _start(observations: LinearObservations, guesses: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best combination of guesses, its increment, and half the slope downhill there."""
    weighted = observations.weighted
    if not guesses:
        gradient = observations.adjoint(weighted)
        return torch.zeros_like(gradient), torch.zeros_like(gradient), gradient
    increments = [observations.covariance(g) for g in guesses]
    seen = [observations.forward(u) for u in increments]
    precise = [observations.precision(s) for s in seen]
    rows = [
        torch.cat([_dot(g, u) + _dot(p, s) for u, s in zip(increments, seen, strict=True)], dim=-1)
        for g, p in zip(guesses, precise, strict=True)
    ]
    matrix = torch.stack(rows, dim=-2).double()
    side = torch.cat([_dot(s, weighted) for s in seen], dim=-1).double()
    # Guesses may be many times smaller than others, nearly the same, or nothing.
    scale = matrix.diagonal(dim1=-2, dim2=-1).clamp(min=_TINY).rsqrt()
    matrix = scale[:, :, None] * (matrix + matrix.mT) / 2 * scale[:, None]
    inverse = torch.linalg.pinv(matrix, rtol=_DISTINCT, hermitian=True)
    shares = (scale * (inverse @ (scale * side)[..., None])[..., 0]).to(weighted).split(1, dim=-1)
    dual, increment = (
        torch.stack([_column(s, v) * v for s, v in zip(shares, vectors, strict=True)]).sum(0)
        for vectors in (guesses, increments)
    )
    told = torch.stack([s * p for s, p in zip(shares, precise, strict=True)]).sum(0)
    return dual, increment, observations.adjoint(weighted - told) - dual


def _left(decreases: Sequence[Tensor]) -> Tensor:
    """Sum of the decreases that are to come, ``(B, 1)``, if they go on as the last ones; the largest of all windows."""
    if len(decreases) == 1:
        return decreases[0] * _FIRST / (1 - _FIRST)
    last = torch.stack(list(decreases[::-1])).cumsum(0)
    found = []
    for window in {min(w, len(last) // 2) for w in _WINDOWS}:
        now = last[window - 1]
        before = last[2 * window - 1] - now
        share = (now / before.clamp(min=_TINY)).clamp(_LEAST**window, _MOST)
        found.append(now * share / (1 - share))
    return torch.stack(found).amax(0)


def _dot(u: Tensor, v: Tensor) -> Tensor:
    """Inner products of rows, shape ``(B, 1)``."""
    return (u * v).flatten(1).sum(-1, keepdim=True)


def _column(factor: Tensor, like: Tensor) -> Tensor:
    """Factors of rows ``(B, 1)`` in a shape that broadcasts against states."""
    return factor.reshape(-1, *[1] * (like.ndim - 1))
