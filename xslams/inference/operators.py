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

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from xslams.errors import ObservationError
from xslams.inference.user_function import UserFunction
from xslams.linalg.sparse import SparseMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from xslams.likelihood import SourceLikelihood
    from xslams.priors.fields import FieldMap, LinearMaps
    from xslams.spec import VariableSpec
    from xslams.typing import FloatArray

__all__ = ["FieldOperator", "FunctionOperator", "SparseRows", "channel_responses"]


class FieldOperator:
    """All sources that see fields directly, as a function of latent trajectories.

    Parameters
    ----------
    fields
        Map from latents to physical fields.
    sources
        Observations; at least one.

    Attributes
    ----------
    y
        Observed values, shape ``(n,)``.
    variance
        Variances of the errors that are independent between values, shape ``(n,)``.
    """

    def __init__(self, fields: FieldMap, sources: Sequence[SourceLikelihood]) -> None:
        matrix = sp.csr_array(sp.vstack([s.matrix for s in sources]))
        device, shape = fields.mean.device, tuple(fields.mean.shape)
        # Channels that nobody observes are neither decoded nor linearised.
        columns = np.unravel_index(np.arange(matrix.shape[1]), shape)[1]
        channels = np.flatnonzero(np.bincount(columns[matrix.indices])).tolist()
        matrix = sp.csr_array(matrix.tocsc()[:, np.isin(columns, channels)])
        self.fields = fields.only(channels)
        self._rows = SparseRows(matrix, device)
        values = np.concatenate([s.values for s in sources])
        self.y = torch.as_tensor(values, dtype=torch.float32, device=device)
        # What was observed in each cell, to aim the secant at; NaN where nothing was.
        weight = abs(matrix).T @ np.ones(len(values))
        seen = np.divide(abs(matrix).T @ values, weight, out=np.full_like(weight, np.nan), where=weight > 0)
        part = shape[0], len(channels), *shape[2:]
        self.observed = torch.as_tensor(seen.reshape(part), dtype=torch.float32, device=device)
        variance = np.concatenate([s.errors.variance for s in sources])
        self.variance = torch.as_tensor(variance, dtype=torch.float32, device=device)
        spread = np.divide(abs(matrix).T @ np.sqrt(variance), weight, out=np.zeros_like(weight), where=weight > 0)
        self._error = torch.as_tensor(spread.reshape(part), dtype=torch.float32, device=device)

    @property
    def one_slope(self) -> bool:
        """Whether one slope may stand for the transforms of what is observed."""
        return self.fields.one_slope

    def errors_of_model(self) -> tuple[FloatArray, FloatArray]:
        """Return the variance of what the decoder leaves out, and the inflation of all variances, each ``(n,)``.

        A secant is still not the curve. Twice the error variance for what is observed through a transform was best, as
        it does optimal interpolation.
        """
        part = tuple(self.observed.shape)
        curved = np.broadcast_to(self.fields.curved.cpu().numpy()[None, :, None, None], part).ravel()
        residual = self._rows.of_squares(self.fields.residual(self.observed).square())
        return residual.detach().cpu().numpy(), 1 + self._rows.share(curved)

    def __call__(self, z: Tensor) -> Tensor:
        """From latents ``(B, L, *latent)`` to observed values ``(B, n)``."""
        return self._rows(self.fields(z))

    def secant(self, z: Tensor) -> LinearMaps:
        """Linear map with slopes that lead from the fields at `z` to what was observed, and its adjoint."""
        forward, adjoint = self.fields.secant(z, self.observed, self._error)
        return lambda v: self._rows(forward(v)), lambda w: adjoint(
            self._rows.adjoint(w).reshape(-1, *self.observed.shape)
        )

    # Guidance works with any linear map that leads towards the observations; the secant serves it better.
    linearize = secant


class FunctionOperator:
    """A source that a user's function of physical fields predicts, as a function of latent trajectories.

    Parameters
    ----------
    fields
        Map from latents to physical fields.
    source
        Observations with a `function`.
    variables
        Variables of the model, in the order of its channels.
    """

    def __init__(self, fields: FieldMap, source: SourceLikelihood, variables: Sequence[VariableSpec]) -> None:
        if source.function is None:
            msg = f"Source {source.name!r} has no function."
            raise ObservationError(msg)
        self.fields, self.function = fields, UserFunction(source.function, variables, source.name)
        device = fields.mean.device
        self._rows = SparseRows(source.matrix, device)
        self.y = torch.as_tensor(source.values, dtype=torch.float32, device=device)
        self.variance = torch.as_tensor(source.errors.variance, dtype=torch.float32, device=device)

    @property
    def one_slope(self) -> bool:
        """No: nothing is known of the function of a user."""
        return False

    def errors_of_model(self) -> tuple[FloatArray, FloatArray]:
        """Return the variance of what the decoder leaves out, and the inflation of all variances, each ``(n,)``.

        Exact for functions of a column: what the decoder leaves out of a channel is disturbed in all cells at once.
        """
        scale, x = self.fields.residual(), self.fields.mean[None]
        seen = torch.zeros_like(x[0, :, 0])
        for response in channel_responses(self.function, x, scale):
            seen = seen + response[0].square()
        residual = self._rows.of_squares(seen).detach().cpu().numpy()
        return residual, np.ones_like(residual)

    def __call__(self, z: Tensor) -> Tensor:
        """From latents ``(B, L, *latent)`` to observed values ``(B, n)``."""
        return self._rows(self.function(self.fields(z)))

    def linearize(self, z: Tensor) -> LinearMaps:
        """Product with the Jacobian at `z`, and with its adjoint, on ``(B, *z)`` and ``(B, n)``."""
        x, (forward, adjoint) = self.fields.tangent(z.detach())
        seen, pullback = self.function.pullback(x)

        def tangent(v: Tensor) -> Tensor:
            return self._rows(self.function.product(x, forward(v)))

        def back(w: Tensor) -> Tensor:
            return adjoint(pullback(self._rows.adjoint(w).reshape_as(seen)))

        return tangent, back


def channel_responses(function: UserFunction, x: Tensor, scale: Tensor) -> Iterator[Tensor]:
    """Disturb one channel after the other, each in all cells at once, and yield how a function responds.

    Parameters
    ----------
    function
        Function of physical fields.
    x
        Fields about which it is linearised, shape ``(1, L, channel, lat, lon)``.
    scale
        Size of the disturbances, shape ``(L, channel, lat, lon)``.
    """
    for channel in range(x.shape[2]):
        v = torch.zeros_like(x)
        v[0, :, channel] = scale[:, channel]
        yield function.product(x, v)


class SparseRows:
    """Sparse matrix whose rows are observations, on a device; its transpose is at hand for backward passes.

    Parameters
    ----------
    matrix
        Shape ``(n, size of a field)``.
    device
        Where to put it.
    """

    def __init__(self, matrix: sp.csr_array, device: torch.device) -> None:
        self._matrix, self._device = matrix, device
        self._product = SparseMatrix(matrix, device)

    def __call__(self, x: Tensor) -> Tensor:
        """From fields ``(B, *field)`` to values ``(B, n)``; differentiable."""
        return self._product(x.flatten(1))

    def adjoint(self, w: Tensor) -> Tensor:
        """From values ``(B, n)`` to flat fields ``(B, size)``."""
        return self._product.adjoint(w)

    def share(self, chosen: npt.NDArray[np.bool_]) -> FloatArray:
        """Return the share of the weight of each row that is on chosen elements of a field, ``(n,)``."""
        size = abs(self._matrix)
        share: FloatArray = (size @ chosen.astype(float)) / np.maximum(size @ np.ones(size.shape[1]), 1e-30)
        return share

    def of_squares(self, field: Tensor) -> Tensor:
        """Return the matrix of squared elements times a field, shape ``(n,)``."""
        m = self._matrix
        squared = sp.csr_array((m.data**2, m.indices, m.indptr), shape=m.shape)
        return SparseMatrix(squared, self._device)(field.reshape(1, -1))[0]
