r"""The observation operator in latent space.

:math:`A(z) = S \, g^{-1}(m + d \, D(z))`: decode, restore the seasonal climatology, undo the transform, and apply the
sparse matrix that selects, regrids and averages. It is linearised as :math:`S \, \mathrm{diag}(s d) \, D`, with the
decoder :math:`D` linear, so that a product costs one decoding.

The slope :math:`s` of :math:`g^{-1}` is not the tangent at the estimate but the secant from the estimate to what was
observed there: heavy rain observed where the estimate is dry lies on a steep part of the curve of which the tangent
knows nothing. With the tangent, gauges made the analysis of temperature worse. For an observation of a single cell the
secant is the same as observing the transformed variable, with the error scaled accordingly.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.models.networks import Networks
    from xslams.typing import SourceArrays

__all__ = ["FieldOperator"]


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
