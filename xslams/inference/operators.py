r"""The observation operator in latent space.

:math:`A(z) = S \, g^{-1}(m + d \, D(z))`: decode, restore the seasonal climatology, undo the transform, and apply the
sparse matrix that selects, regrids and averages. It is linearised as :math:`S \, \mathrm{diag}(s d) \, D`, with the
decoder :math:`D` linear, so that a product costs one decoding.

The slope :math:`s` of :math:`g^{-1}` is not the tangent at the estimate but the secant from the estimate to what was
observed there: heavy rain observed where the estimate is dry lies on a steep part of the curve of which the tangent
knows nothing. With the tangent, gauges made the analysis of temperature worse. For an observation of a single cell the
secant is the same as observing the transformed variable, with the error scaled accordingly.

A user's function :math:`F` of physical fields comes between fields and matrix, :math:`A(z) = S \, F(g^{-1}(m + d \,
D(z)))`, and is linearised by differentiation. What it would have to see to yield what was observed is not known, so the
slope is the tangent there.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from xslams.errors import ObservationError
from xslams.linalg.autodiff import jvp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.priors.latent import Networks
    from xslams.spec import VariableSpec
    from xslams.typing import FieldFunction, SourceArrays

__all__ = ["FieldOperator", "FunctionOperator", "check_function", "fields_by_name", "jacobian_product"]


class FieldOperator:
    """All sources of observations together, as a function of latent trajectories.

    Parameters
    ----------
    networks
        Modules of a model.
    season
        Fraction of the year of every frame, shape ``(L,)``.
    sources
        Observations; at least one.
    """

    def __init__(self, networks: Networks, season: Tensor, sources: Sequence[SourceArrays]) -> None:
        self.networks = networks
        matrix = sp.csr_array(sp.vstack([s.operator for s in sources]))
        device = season.device
        shape = (len(season), *networks.normalization.scales.shape[:1], *networks.autoencoder.frame_shape[1:])
        # Channels that nobody observes are neither decoded nor linearised.
        columns = np.unravel_index(np.arange(matrix.shape[1]), shape)[1]
        self.channels = np.unique(columns[np.unique(matrix.indices)]).tolist()
        matrix = sp.csr_array(matrix.tocsc()[:, np.isin(columns, self.channels)])
        mean, std = networks.normalization.climatology(season)
        self.mean, self.std = mean[:, self.channels], std[:, self.channels]
        self.forward = _to_torch(matrix, device)
        self.backward = _to_torch(sp.csr_array(matrix.T), device)
        values = np.concatenate([s.values for s in sources])
        self.y = torch.as_tensor(values, dtype=torch.float32, device=device)
        # What was observed in each cell, to aim the secant at; the climatology where nothing was.
        weight = abs(matrix).T @ np.ones(len(values))
        seen = np.divide(abs(matrix).T @ values, weight, out=np.zeros_like(weight), where=weight > 0)
        target = torch.as_tensor(seen.reshape(self.mean.shape), dtype=torch.float32, device=device)
        observed = torch.as_tensor((weight > 0).reshape(self.mean.shape), device=device)
        self.target = torch.where(observed, networks.normalization.transform(target, self.channels), self.mean)
        variance = torch.as_tensor(np.concatenate([s.variance for s in sources]), dtype=torch.float32, device=device)
        # A secant is still not the curve. Twice the error variance for what is observed through a transform was best,
        # as it does optimal interpolation.
        scales = networks.normalization.scales.flatten()[self.channels].cpu().numpy()
        curved = np.broadcast_to((scales > 0)[None, :, None], (shape[0], len(scales), shape[2] * shape[3])).ravel()
        share = (abs(matrix) @ curved.astype(float)) / np.maximum(abs(matrix) @ np.ones(matrix.shape[1]), 1e-30)
        inflation = torch.as_tensor(1 + share, dtype=torch.float32, device=device)
        self.variance = inflation * (variance + self._representativeness(matrix))

    def _representativeness(self, matrix: sp.csr_array) -> Tensor:
        """Variance of what the decoder leaves out, as the observations see it."""
        slope = self.networks.normalization.slope(self.target, self.channels)
        field = (slope * self.std * self.networks.autoencoder.residual_std[self.channels]).square()
        squared = sp.csr_array((matrix.data**2, matrix.indices, matrix.indptr), shape=matrix.shape)
        return (_to_torch(squared, field.device) @ field.reshape(-1, 1))[:, 0]

    def _decode(self, z: Tensor) -> Tensor:
        return self.networks.autoencoder.decode(z, self.channels)

    def __call__(self, z: Tensor) -> Tensor:
        """From latents ``(B, L, z, z_lat, z_lon)`` to observed values ``(B, n)``."""
        x = self.networks.normalization.inverse_transform(self.mean + self.std * self._decode(z), self.channels)
        return _Apply.apply(x.flatten(1), self.forward, self.backward)  # type: ignore[no-untyped-call]

    def linearize(self, z: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Linear operator from `z` towards the observations and its adjoint, on ``(B, *z)`` and ``(B, n)``."""
        g = self.mean + self.std * self._decode(z)
        slope = self.std * self.networks.normalization.secant(g, self.target, self.channels)
        with torch.enable_grad():
            probe = torch.zeros_like(z).requires_grad_()
            decoded = self._decode(probe)
        # The decoder is affine: its derivative is its difference from its value at zero.
        offset = decoded.detach()[:1, :1]

        def forward(v: Tensor) -> Tensor:
            return (self.forward @ (slope * (self._decode(v) - offset)).flatten(1).mT).mT

        def adjoint(w: Tensor) -> Tensor:
            field = (self.backward @ w.mT).mT.reshape_as(slope)
            return torch.autograd.grad(decoded, probe, slope * field, retain_graph=True)[0]

        return forward, adjoint


class FunctionOperator:
    """A source that a user's function of physical fields predicts, as a function of latent trajectories.

    Parameters
    ----------
    networks
        Modules of a model.
    season
        Fraction of the year of every frame, shape ``(L,)``.
    source
        Observations with a `function`.
    variables
        Variables of the model, in the order of its channels.
    """

    def __init__(
        self, networks: Networks, season: Tensor, source: SourceArrays, variables: Sequence[VariableSpec]
    ) -> None:
        if source.function is None:
            msg = f"Source {source.name!r} has no function."
            raise ObservationError(msg)
        self.networks, self.variables, self.function = networks, tuple(variables), source.function
        self.mean, self.std = networks.normalization.climatology(season)
        self.forward = _to_torch(source.operator, season.device)
        self.backward = _to_torch(sp.csr_array(source.operator.T), season.device)
        self.y = torch.as_tensor(source.values, dtype=torch.float32, device=season.device)
        variance = torch.as_tensor(source.variance, dtype=torch.float32, device=season.device)
        self.variance = variance + self._representativeness(source.operator)

    def _representativeness(self, matrix: sp.csr_array) -> Tensor:
        """Variance of what the decoder leaves out, as the observations see it.

        Exact for functions of a column: what the decoder leaves out of a channel is disturbed in all cells at once.
        """
        normalization = self.networks.normalization
        scale = normalization.slope(self.mean) * self.std * self.networks.autoencoder.residual_std
        x = normalization.inverse_transform(self.mean)[None]
        seen = torch.zeros_like(self.mean[:, 0])
        for channel in range(self.mean.shape[1]):
            v = torch.zeros_like(x)
            v[0, :, channel] = scale[:, channel]
            seen = seen + jacobian_product(self._observe, x, v)[0].square()
        squared = sp.csr_array((matrix.data**2, matrix.indices, matrix.indptr), shape=matrix.shape)
        return (_to_torch(squared, seen.device) @ seen.reshape(-1, 1))[:, 0]

    def _observe(self, x: Tensor) -> Tensor:
        """From physical fields ``(B, L, channel, lat, lon)`` to what is made of them, ``(B, L, lat, lon)``."""
        return self.function(fields_by_name(x, self.variables))

    def _normal(self, z: Tensor) -> Tensor:
        return self.mean + self.std * self.networks.autoencoder.decode(z)

    def __call__(self, z: Tensor) -> Tensor:
        """From latents ``(B, L, z, z_lat, z_lon)`` to observed values ``(B, n)``."""
        seen = self._observe(self.networks.normalization.inverse_transform(self._normal(z)))
        return _Apply.apply(seen.flatten(1), self.forward, self.backward)  # type: ignore[no-untyped-call]

    def linearize(self, z: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Product with the Jacobian at `z`, and with its adjoint, on ``(B, *z)`` and ``(B, n)``."""
        g = self._normal(z.detach())
        slope = self.std * self.networks.normalization.slope(g)
        x = self.networks.normalization.inverse_transform(g)
        decode = self.networks.autoencoder.decode
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            seen = self._observe(leaf)
            probe = torch.zeros_like(z).requires_grad_()
            decoded = decode(probe)
        offset = decoded.detach()[:1, :1]

        def forward(v: Tensor) -> Tensor:
            field = jacobian_product(self._observe, x, slope * (decode(v) - offset))
            return (self.forward @ field.flatten(1).mT).mT

        def adjoint(w: Tensor) -> Tensor:
            field = (self.backward @ w.mT).mT.reshape_as(seen)
            back = torch.autograd.grad(seen, leaf, field, retain_graph=True)[0]
            return torch.autograd.grad(decoded, probe, slope * back, retain_graph=True)[0]

        return forward, adjoint


def fields_by_name(x: Tensor, variables: Sequence[VariableSpec]) -> dict[str, Tensor]:
    """Physical fields of every variable.

    Parameters
    ----------
    x
        All channels, shape ``(B, L, channel, lat, lon)``.
    variables
        Variables of the model, in the order of its channels.

    Returns
    -------
    dict
        Name to tensor ``(B, L, level, lat, lon)``, without ``level`` for variables that have none.
    """
    parts = x.split([v.channels for v in variables], dim=2)
    return {v.name: p if v.levels else p[:, :, 0] for v, p in zip(variables, parts, strict=True)}


def jacobian_product(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """Product of the Jacobian of a function with a vector.

    Parameters
    ----------
    function
        Differentiable.
    x, v
        Where, and the vector; same shape.

    Examples
    --------
    >>> jacobian_product(lambda x: x**2, torch.tensor([3.0]), torch.tensor([1.0]))
    tensor([6.])
    """
    try:
        product = jvp(function, x, v)
    except (NotImplementedError, RuntimeError):
        # No forward mode for something in it: the adjoint is linear in its argument, and its adjoint is the product.
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y = function(leaf)
            w = torch.zeros_like(y, requires_grad=True)
            back = torch.autograd.grad(y, leaf, w, create_graph=True)[0]
            product = torch.autograd.grad(back, w, v)[0]
    return product.detach()


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


class _Apply(torch.autograd.Function):
    """Product with a sparse matrix, whose transpose is at hand for the backward pass."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose  # type: ignore[attr-defined]
        return (matrix @ x.mT).mT

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        return (ctx.transpose @ grad.mT).mT, None, None  # type: ignore[attr-defined]


def _to_torch(matrix: sp.csr_array, device: torch.device) -> Tensor:
    """Sparse matrix of scipy as one of torch, in single precision."""
    with warnings.catch_warnings():
        # torch calls its compressed sparse tensors beta; products with dense matrices, all that is used here, are not
        # new.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(
            torch.as_tensor(matrix.indptr.astype(np.int64)),
            torch.as_tensor(matrix.indices.astype(np.int64)),
            torch.as_tensor(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        ).to(device)
