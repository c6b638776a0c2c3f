"""Checks of the observation operators that users give, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.errors import ObservationError
from xslams.inference.operators import fields_by_name
from xslams.linalg.autodiff import jacobian_product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.spec import VariableSpec
    from xslams.typing import FieldFunction

__all__ = ["check_function"]


def check_function(function: FieldFunction, x: Tensor, variables: Sequence[VariableSpec], name: str) -> None:
    """Check the shape and the derivatives of a user's observation operator.

    Parameters
    ----------
    function
        The operator.
    x
        Plausible physical fields, shape ``(B, L, channel, lat, lon)`` with two or more different members.
    variables
        Variables of the model.
    name
        Name of the source, for messages.

    Raises
    ------
    ObservationError
        If it returns something else than a finite tensor of shape ``(B, L, lat, lon)``, mixes members, or cannot be
        differentiated.
    """

    def observe(x: Tensor) -> Tensor:
        return function(fields_by_name(x, variables))

    about = f"Source {name!r}: operator="
    expected = (*x.shape[:2], *x.shape[3:])
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        try:
            y: object = observe(leaf)
        except Exception as e:
            shapes = {n: tuple(f.shape) for n, f in fields_by_name(x, variables).items()}
            msg = (
                f"{about} fails on fields of shapes {shapes} ({type(e).__name__}: {e}). It gets a mapping of torch "
                "tensors (batch, time, [level,] lat, lon)."
            )
            raise ObservationError(msg) from e
    if not isinstance(y, Tensor):
        msg = f"{about} returns a {type(y).__name__}; expected a torch tensor (batch, time, lat, lon)."
        raise ObservationError(msg)
    if tuple(y.shape) != expected or not y.is_floating_point():
        msg = (
            f"{about} returns shape {tuple(y.shape)} of {y.dtype}; expected {expected} (batch, time, lat, lon) of "
            f"{x.dtype}: one field on the grid and at the times of the model, not yet at the places of the data."
        )
        raise ObservationError(msg)
    if not bool(torch.isfinite(y).all()):
        msg = f"{about} returns values that are not finite for the model's climatology. Check its formula and units."
        raise ObservationError(msg)
    with torch.no_grad():
        alone = observe(x[:1])
    if not torch.allclose(alone, y[:1].detach(), rtol=1e-3, atol=1e-3 * float(y.detach().abs().max())):
        msg = f"{about} makes something else of a member alone than of a batch. It must treat members one by one."
        raise ObservationError(msg)
    lacking = (
        f"{about} cannot be differentiated: its result does not depend on the fields by way of torch. "
        "Use torch functions throughout, and no detach(), numpy() or item()."
    )
    if not y.requires_grad:
        raise ObservationError(lacking)
    generator = torch.Generator().manual_seed(0)
    v, w = (torch.randn(t.shape, generator=generator).to(t) for t in (x, y.detach()))
    try:
        back = torch.autograd.grad(y, leaf, w)[0]
        product = jacobian_product(observe, x, v)
    except RuntimeError as e:
        msg = f"{lacking} ({e})"
        raise ObservationError(msg) from e
    if not bool(torch.isfinite(back).all() and torch.isfinite(product).all()):
        msg = f"{about} has derivatives that are not finite for the model's climatology, as that of sqrt at zero."
        raise ObservationError(msg)
    if not bool((back != 0).any()):
        msg = f"{about} does not change with any field: its derivative is zero, as that of rounding and comparison is."
        raise ObservationError(msg)
    one, two = (product * w).sum(), (v * back).sum()
    size = product.norm() * w.norm() + v.norm() * back.norm()
    if float((one - two).abs() / size) > 1e-3:
        msg = f"{about} has a derivative and an adjoint that disagree; see xslams.testing.check_adjoint."
        raise ObservationError(msg)
