"""Help to test observation operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from xslams.errors import AdjointError, ObservationError

if TYPE_CHECKING:
    from torch import Tensor

    from xslams.model import Model

__all__ = ["check_adjoint", "example_fields"]


def example_fields(model: Model, *, batch: int = 2, times: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Plausible physical fields of a model: its climatology from the first of January on, with anomalies.

    Parameters
    ----------
    model
        Trained model.
    batch, times
        Number of members and of frames.
    seed
        Of the anomalies, which are independent in every cell.

    Returns
    -------
    dict
        Name of every variable to tensor (batch, time, [level,] lat, lon) in double precision, in the model's units.

    Examples
    --------
    >>> import xslams
    >>> fields = example_fields(xslams.open_model("speedy-t30"))
    >>> {name: tuple(field.shape) for name, field in fields.items()}
    {'t': (2, 3, 8, 48, 96), 'pr': (2, 3, 48, 96), 'olr': (2, 3, 48, 96)}
    """
    import numpy as np
    import torch

    from xslams.inference.arrays import climatology_arrays
    from xslams.inference.user_function import fields_by_name

    season = np.arange(times) * model.spec.time_step / (24 * 365.25)
    mean, std = (torch.as_tensor(a).double() for a in climatology_arrays(model, season))
    noise = torch.randn((batch, *mean.shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return fields_by_name(mean + 0.5 * std * noise, model.spec.variables)


def check_adjoint(
    operator: Callable[[Any], Tensor],
    at: Mapping[str, Tensor] | Tensor,
    *,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    r"""Check that the derivative of an operator is one, and that its adjoint is the adjoint.

    For random :math:`v` and :math:`w`, :math:`\langle J v, w \rangle = \langle v, J^\top w \rangle` has to hold to
    rounding, and :math:`J v` has to agree with central differences.

    Parameters
    ----------
    operator
        Function of a mapping of tensors (as ``operator=`` of an `xslams.Observation`) or of a tensor. If it has a
        method ``linearize(z)`` that returns products with Jacobian and adjoint, these are checked; otherwise those that
        torch finds.
    at
        Where: a mapping of tensors, see `example_fields`, or a tensor. Double precision makes for a sharp test.
    tolerance
        Largest relative mismatch of the adjoint; by default a thousand roundings.
    seed
        Of the random vectors.

    Returns
    -------
    float
        The relative mismatch of the adjoint.

    Raises
    ------
    AdjointError
        If derivative, adjoint and differences disagree.
    ObservationError
        If the operator cannot be differentiated, writes into its argument, is random, or returns values that are not
        finite or of another dtype.

    Examples
    --------
    >>> import torch
    >>> fields = {"t": torch.rand(1, 2, 8, 4, 4, dtype=torch.float64)}
    >>> check_adjoint(lambda fields: fields["t"].mean(dim=2), fields) < 1e-12
    True
    >>> check_adjoint(lambda fields: fields["t"][:, :, 0].detach() ** 2, fields)
    Traceback (most recent call last):
    xslams.errors.ObservationError: The operator cannot be differentiated: ...
    """
    import torch

    from xslams.inference.observation_operator import ObservationOperator
    from xslams.linalg.autodiff import jacobian_product
    from xslams.linalg.derivative_checks import adjoint_test

    names = list(at) if isinstance(at, Mapping) else []
    parts = [at[n].detach() for n in names] if isinstance(at, Mapping) else [at.detach()]
    sizes = [p.numel() for p in parts]
    x = torch.cat([p.reshape(-1) for p in parts])

    def whole(flat: Tensor) -> Any:
        pieces = [f.reshape(p.shape) for f, p in zip(flat.split(sizes), parts, strict=True)]
        return dict(zip(names, pieces, strict=True)) if names else pieces[0]

    def observe(flat: Tensor) -> Tensor:
        return operator(whole(flat))

    _check_values(observe, x)
    generator = torch.Generator().manual_seed(seed)
    scale = torch.cat([p.abs().mean().clamp(min=1e-6).expand(p.numel()) for p in parts])
    v = scale * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x)
    if isinstance(operator, ObservationOperator) and not names:
        y = observe(x).detach()
        forward, backward = operator.linearize(parts[0])
        product = forward(v.reshape(parts[0].shape))
        w = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y)
        back = backward(w).reshape(-1)
    else:
        lacking = (
            "The operator cannot be differentiated: its result does not depend on its argument by way of torch. "
            "Use torch functions throughout, and no detach(), numpy() or item()."
        )
        try:
            with torch.enable_grad():
                leaf = x.clone().requires_grad_()
                result = observe(leaf)
            if not result.requires_grad:
                raise ObservationError(lacking)
            y = result.detach()
            w = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y)
            back = torch.autograd.grad(result, leaf, w)[0]
            product = jacobian_product(observe, x, v)
        except RuntimeError as e:
            msg = f"{lacking} ({e})"
            raise ObservationError(msg) from e
    if not bool(torch.isfinite(back).all() and torch.isfinite(product).all()):
        msg = "The operator has derivatives that are not finite, as that of sqrt at zero."
        raise ObservationError(msg)
    rounding = torch.finfo(x.dtype).eps
    limit = 1000 * rounding if tolerance is None else tolerance
    one, two, mismatch = adjoint_test(v, product, w, back)
    if not mismatch <= limit:
        msg = (
            f"<J v, w> = {one:.9g} but <v, J* w> = {two:.9g}: they differ by {mismatch:.1e} of their size, more than "
            f"{limit:.1e}. The adjoint is not that of the derivative."
        )
        raise AdjointError(msg)
    # The best step of central differences balances rounding and curvature.
    step = rounding ** (1 / 3)
    with torch.no_grad():
        slope = (observe(x + step * v) - observe(x - step * v)) / (2 * step)
    off = float((slope - product).norm() / (slope.norm() + product.norm() + 1e-300))
    noise = rounding * float(y.norm()) / step / float(slope.norm() + product.norm() + 1e-300)
    if not off <= max(100 * rounding ** (2 / 3), 100 * noise, 1e-6):
        msg = (
            f"J v differs from central differences by {off:.1e} of its size. The derivative is not that of the "
            "operator (a part of it is not seen by torch, or its backward is wrong), or it has a kink here."
        )
        raise AdjointError(msg)
    return mismatch


def _check_values(observe: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Raise unless a function makes finite values of the dtype of its argument, the same ones at each call."""
    import torch

    from xslams.linalg.derivative_checks import is_repeatable, writes_into

    with torch.no_grad():
        y: object = observe(x.clone())
    if not isinstance(y, torch.Tensor) or y.dtype != x.dtype:
        got = f"a tensor of {y.dtype}" if isinstance(y, torch.Tensor) else f"a {type(y).__name__}"
        msg = f"The operator returns {got}; expected a tensor of {x.dtype}, as its argument is."
        raise ObservationError(msg)
    if not bool(torch.isfinite(y).all()):
        bad = int((~torch.isfinite(y)).sum())
        msg = f"The operator returns {bad} of {y.numel()} values that are not finite. Check its formula and units."
        raise ObservationError(msg)
    if writes_into(observe, x):
        msg = "The operator writes into its argument. Let it make new tensors: x = x - 1 in place of x -= 1."
        raise ObservationError(msg)
    if not is_repeatable(observe, x):
        msg = "The operator makes something else of the same argument at each call. It must have no random part."
        raise ObservationError(msg)
