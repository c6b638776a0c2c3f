"""The spread of the prior of a trained model."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import torch

from xslams.model import Model

if TYPE_CHECKING:
    from xslams.priors.latent import LatentPrior

__all__ = ["wider"]


@torch.no_grad()
def wider(model: Model, factor: float) -> Model:
    """Return a model whose state has a larger spread.

    Parameters
    ----------
    model
        A latent model in memory.
    factor
        Of the standard deviation of all channels of the state. ``spec.training["settings"]["spread"]`` has it, too, as
        if it had been chosen with the other settings.
    """
    if factor == 1:
        return model
    spec, training = model.spec, model.spec.training
    prior: LatentPrior = copy.deepcopy(model.prior())  # type: ignore[assignment]
    prior.normalization.widen([factor] * spec.state_channels)
    prior.round_to_storage()
    before = training["settings"]["spread"] or [1.0] * spec.state_channels
    settings = training["settings"] | {"spread": [round(factor * own, 4) for own in before]}
    spec = dataclasses.replace(spec, training=training | {"settings": settings})
    return Model(spec, prior=prior, operators=model.operators)
