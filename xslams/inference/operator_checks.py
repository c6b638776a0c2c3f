"""Checks of the observation operators that users give, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.errors import ObservationError
from xslams.linalg.derivative_checks import adjoint_test, contradicted, is_repeatable, writes_into

if TYPE_CHECKING:
    from xslams.inference.user_function import UserFunction

__all__ = ["check_function"]

# Share of the values at which differences may disagree with the derivative: those within a step of a kink.
_KINKS = 0.01
# Mismatch of inner products in parts of their size; single precision of derivatives leaves less.
_ADJOINT = 2e-5
# Smallest difference of members in parts of what is usual, but for those that do not differ at all.
_LEAST = 0.1
# Where between two members derivatives are compared; a kink that is near a value at one place is not at the others.
_PLACES = (0.3, 0.45, 0.7)


def check_function(function: UserFunction, x: Tensor) -> None:
    """Check values and derivatives of a user's observation operator.

    Parameters
    ----------
    function
        The operator.
    x
        Plausible physical fields, shape ``(B, L, channel, lat, lon)`` with two or more different members.

    Raises
    ------
    ObservationError
        If it returns something else than a finite tensor of shape ``(B, L, lat, lon)`` and of the dtype of the fields,
        writes into them, is random, mixes members, or has no derivative or another one than its values.
    """
    about = function.about
    with torch.no_grad():
        y = function(x.clone())
        alone = function(x[:1].clone())
    if writes_into(function, x):
        raise function.changes_its_fields()
    if not is_repeatable(function, x):
        msg = f"{about} makes something else of the same fields at each call. It must not be random or remember."
        raise ObservationError(msg)
    if not torch.allclose(alone, y[:1], rtol=1e-3, atol=1e-3 * float(y.abs().max())):
        msg = f"{about} makes something else of a member alone than of a batch. It must treat members one by one."
        raise ObservationError(msg)
    _check_derivative(function, x)
    if wrong := _contradicted_share(function, x):
        msg = (
            f"{about} has a derivative that differences of its values contradict at {wrong}. A part of it is not seen "
            "by torch (detach(), numpy(), item(), .data, rounding), or its backward is wrong. Use torch functions "
            "throughout; see xslams.testing.check_adjoint."
        )
        raise ObservationError(msg)


def _contradicted_share(function: UserFunction, x: Tensor) -> str:
    """Say at how many values differences contradict the derivative; empty where they do at kinks only.

    A derivative that is wrong in few cells is wrong in the same ones wherever it is taken, and kinks lie elsewhere.
    """
    generator = torch.Generator().manual_seed(1)
    wrong, apart = None, _apart(x)
    for place in _PLACES:
        # Between the members, since the climatology itself may be at a kink, as rain is at zero where it never rains.
        between = x + place * (x.flip(0) - x)
        v = _probe(x, generator) * apart
        here = contradicted(function.where_defined, between, v, function.product(between, v))
        wrong = here if wrong is None else wrong & here
        if place == _PLACES[0] and float(wrong.float().mean()) > _KINKS:
            break
        if not bool(wrong.any()):
            return ""
    assert wrong is not None
    cells = int(wrong.flatten(0, 1).any(dim=0).sum())
    return f"{cells} of {wrong[0, 0].numel()} cells"


def _apart(x: Tensor) -> Tensor:
    """Difference of members, nowhere so small next to what is usual that a step of that size would show nothing."""
    apart = x.flip(0) - x
    usual = apart.square().mean((-2, -1), keepdim=True).sqrt()
    return apart.sign() * apart.abs().clamp(min=_LEAST * usual)


def _check_derivative(function: UserFunction, x: Tensor) -> None:
    """Check that there is a derivative, and that its adjoint is the adjoint."""
    about = function.about
    y, pullback = function.pullback(x)
    generator = torch.Generator().manual_seed(0)
    v, w = (_probe(t, generator) for t in (x, y))
    back, product = pullback(w), function.product(x, v)
    if not bool((back != 0).any()):
        msg = f"{about} does not change with any field: its derivative is zero, as that of rounding and comparison is."
        raise ObservationError(msg)
    # In double precision, as the sum of many products is what one of them that is wrong has to show in; member by
    # member, as what is wrong in both may cancel.
    pairs = zip(*(t.double() for t in (v, product, w, back)), strict=True)
    if max(adjoint_test(*parts).mismatch for parts in pairs) > _ADJOINT:
        msg = f"{about} has a derivative and an adjoint that disagree; see xslams.testing.check_adjoint."
        raise ObservationError(msg)


def _probe(like: Tensor, generator: torch.Generator) -> Tensor:
    """Random directions without small elements, in which nothing could hide."""
    size, sign = torch.rand((2, *like.shape), generator=generator)
    return ((0.5 + size) * torch.where(sign < 0.5, -1.0, 1.0)).to(like)
