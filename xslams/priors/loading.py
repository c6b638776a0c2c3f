"""Load the prior of a model file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

import xslams.priors.latent
import xslams.priors.markov  # noqa: F401  both register their kinds
from xslams.errors import ModelError
from xslams.learned import LearnedOperator, from_storage
from xslams.learned.storage import PREFIX
from xslams.priors.base import build_prior
from xslams.priors.stored import check_finite, check_types, digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from xslams.priors.base import Prior
    from xslams.spec import Spec

__all__ = ["load_operators", "load_prior"]

# What reading, building and loading raise about sizes and names that belong to no model.
_MISFITS = (
    SafetensorError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError,
    MemoryError, RecursionError,
)  # fmt: skip
# Messages of torch where a prior wants values of tensors that have none.
_WITHOUT_VALUES = re.compile(r"\bmeta (tensor|device)")
_LONGEST = 600


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
        If the kind is unknown, the weights in the file are not those that the spec describes, the file was changed
        after it was saved, or a weight is not finite.
    """
    try:
        state = {name: values for name, values in _read(path).items() if not name.startswith(PREFIX)}
        _compare_sizes(spec, state)
        prior = build_prior(spec)
        assert isinstance(prior, nn.Module)
        # Weights may be stored in half precision; load_state_dict casts them to the modules' own.
        prior.load_state_dict(state)
        check_finite(prior.state_dict(), "The model is damaged", "Fetch or train it again")
        check_types(state, prior)
    except ModelError as e:
        msg = f"{path}: {e}"
        raise ModelError(msg) from e
    except _MISFITS as e:
        fault = str(e)
        fault = fault if len(fault) <= _LONGEST else f"{fault[:_LONGEST]}..."
        msg = (
            f"The weights in {path} do not fit the architecture in its header. Fetch or train the model again. "
            f"({fault})"
        )
        raise ModelError(msg) from e
    prior.eval().requires_grad_(requires_grad=False)
    return prior


def load_operators(spec: Spec, path: Path) -> tuple[LearnedOperator, ...]:
    """Load the learned observation operators of a model.

    Parameters
    ----------
    spec
        As in the header of the file.
    path
        File of the model.

    Raises
    ------
    ModelError
        If they are not those that the spec describes, the file was changed, or a number is not finite.
    """
    try:
        arrays = {name: values.numpy() for name, values in _read(path).items() if name.startswith(PREFIX)}
        return from_storage(spec.operators, arrays, spec.frame_shape)
    except (ModelError, *_MISFITS) as e:
        msg = f"{path}: {e}"
        raise ModelError(msg) from e


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors of a file, which has the hash that it says; files of earlier versions say none."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}
    if "sha256" in metadata and digest(metadata.get("spec", ""), state) != metadata["sha256"]:
        msg = "The file was changed after it was saved: its content has another hash than its header says. "
        msg += "Fetch or train the model again."
        raise ModelError(msg)
    return state


def _compare_sizes(spec: Spec, state: Mapping[str, Tensor]) -> None:
    """Load weights without memory, so that sizes are compared with the file before any of them is asked for."""
    try:
        with torch.device("meta"):
            sketch = build_prior(spec)
            assert isinstance(sketch, nn.Module)
            sketch.load_state_dict({k: torch.empty_like(v, device="meta") for k, v in state.items()})
    except (RuntimeError, TypeError, ValueError) as e:
        # A prior of the user's may compute with its weights when it is built or loaded.
        if not _WITHOUT_VALUES.search(str(e)):
            raise
