"""Load the prior of a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.torch import load_file
from torch import nn

import xslams.priors.latent
import xslams.priors.markov  # noqa: F401  both register their kinds
from xslams.errors import ModelError
from xslams.priors.base import build_prior

if TYPE_CHECKING:
    from pathlib import Path

    from xslams.priors.base import Prior
    from xslams.spec import Spec

__all__ = ["load_prior"]


def load_prior(spec: Spec, path: Path) -> Prior:
    """Build a prior and load its weights, in evaluation mode and without gradients.

    Parameters
    ----------
    spec
        As in the header of the file.
    path
        File of the model.

    Raises
    ------
    ModelError
        If the kind is unknown, or the weights in the file are not those that the spec describes.
    """
    try:
        prior = build_prior(spec)
    except ModelError as e:
        msg = f"{path}: {e}"
        raise ModelError(msg) from e
    assert isinstance(prior, nn.Module)
    # Weights may be stored in half precision; load_state_dict casts them to the modules' own.
    try:
        prior.load_state_dict(load_file(path))
    except RuntimeError as e:
        msg = f"The weights in {path} do not fit the architecture in its header. Fetch or train it again. ({e})"
        raise ModelError(msg) from e
    prior.eval().requires_grad_(requires_grad=False)
    return prior
