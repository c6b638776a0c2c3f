r"""The observation operator in latent space.

:math:`A(z) = S \, g^{-1}(m + d \, D(z))`: decode, restore the seasonal climatology, undo the transform, and apply the sparse
matrix that selects, regrids and averages. Its Jacobian is :math:`S \, \mathrm{diag}(g^{-1\prime} d) \, D`, with the decoder
:math:`D` linear, so that a product costs one decoding.
"""

from __future__ import annotations

import warnings
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
        self.y = torch.as_tensor(np.concatenate([s.values for s in sources]), dtype=torch.float32, device=device)
        variance = torch.as_tensor(np.concatenate([s.variance for s in sources]), dtype=torch.float32, device=device)
        self.variance = variance + self._representativeness(matrix)

    def _representativeness(self, matrix: sp.csr_array) -> Tensor:
        """Variance of what the decoder leaves out, as the observations see it."""
        at_mean = self._slope(self.mean)
        beyond = self._slope(self.mean.abs() + self.std)
        # Mean square of the slope over the climatological distribution, from its values at the mean and one deviation out.
        square = 0.5 * (at_mean.square() + beyond.square())
        field = square * (self.std * self.networks.autoencoder.residual_std[self.channels]).square()
        squared = sp.csr_array((matrix.data**2, matrix.indices, matrix.indptr), shape=matrix.shape)
        return (_to_torch(squared, field.device) @ field.reshape(-1, 1))[:, 0]

    def _slope(self, g: Tensor) -> Tensor:
        return self.networks.normalization.slope(g, self.channels)

    def _decode(self, z: Tensor) -> Tensor:
        return self.networks.autoencoder.decode(z, self.channels)

    def __call__(self, z: Tensor) -> Tensor:
        """From latents ``(B, L, z, z_lat, z_lon)`` to observed values ``(B, n)``."""
        x = self.networks.normalization.inverse_transform(self.mean + self.std * self._decode(z), self.channels)
        return _Apply.apply(x.flatten(1), self.forward, self.backward)  # type: ignore[no-any-return, no-untyped-call]

    def linearize(self, z: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Jacobian at `z` and its adjoint, as functions of ``(B, *z)`` and ``(B, n)``."""
        slope = self.std * self._slope(self.mean + self.std * self._decode(z))
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
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return (ctx.transpose @ grad.mT).mT, None, None  # type: ignore[attr-defined]


def _to_torch(matrix: sp.csr_array, device: torch.device) -> Tensor:
    """Sparse matrix of scipy as one of torch, in single precision."""
    with warnings.catch_warnings():
        # torch calls its compressed sparse tensors beta; products with dense matrices, all that is used here, are not new.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(
            torch.as_tensor(matrix.indptr.astype(np.int64)),
            torch.as_tensor(matrix.indices.astype(np.int64)),
            torch.as_tensor(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        ).to(device)
