"""Innovations against the climatology of a model, and their covariance by its Gaussian prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from xslams.inference.batches import one_thread
from xslams.inference.decoder_errors import completed
from xslams.inference.operators import FieldOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.likelihood import SourceLikelihood
    from xslams.model import Model
    from xslams.typing import FloatArray

__all__ = ["innovation_arrays", "knows_covariance"]

# Rows of the covariance that are computed at once.
_BATCH = 16


def knows_covariance(model: Model) -> bool:
    """Whether the prior of a model has a Gaussian covariance that observations can be compared with."""
    return model.prior().stationary is not None


def innovation_arrays(
    model: Model, likelihoods: Sequence[SourceLikelihood], year_fraction: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Innovations of observations, their covariance by the prior, and variances of what the decoder leaves out.

    Parameters
    ----------
    model
        Model whose prior has a Gaussian covariance.
    likelihoods
        Observations of variables of the model.
    year_fraction
        Fraction of the year of each frame, shape (T,).

    Returns
    -------
    tuple of ndarray
        Shapes (n,), (n, n) and (n,), values of all sources in the order given. Transforms are linearised by the secant
        from the climatology to what was observed.
    """
    prior = model.prior().to(torch.device("cpu"))
    process = prior.stationary
    assert process is not None  # see `knows_covariance`
    with one_thread(), torch.no_grad():
        season = torch.as_tensor(np.asarray(year_fraction, np.float32))
        fields = prior.fields(season)
        known = completed(fields, likelihoods, model.spec.variables)
        operator = FieldOperator(fields, known)
        rest = torch.zeros(1, len(season), *prior.shape)
        innovation = (operator.y - operator(rest)[0]).double().numpy()
        forward, adjoint = operator.linearize(rest)
        gaussian = process.trajectory(len(season))
        rows = [
            forward(gaussian.apply(lambda v: v, adjoint(part))) for part in torch.eye(len(innovation)).split(_BATCH)
        ]
    covariance = torch.cat(rows).double().numpy()
    decoder = np.concatenate([np.zeros(0), *(k.errors.decoder for k in known if k.errors.decoder is not None)])
    return innovation, (covariance + covariance.T) / 2, decoder.astype(float)
