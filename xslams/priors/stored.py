"""Weights as a model file holds them: their hash, their types, and that they are finite."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from xslams.errors import ModelError
from xslams.learned import LearnedOperator, to_storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

__all__ = ["UNTRAINED", "check_finite", "check_types", "digest", "operator_tensors"]

#: Begin and end of the message where training itself gives weights that are not finite.
UNTRAINED = (
    "Training failed",
    "Look for wild values in the data, or for units in which they are very large; train again with checked data",
)


def check_finite(tensors: Mapping[str, Tensor], what: str, remedy: str) -> None:
    """Refuse weights that are not finite.

    Parameters
    ----------
    tensors
        Weights by name.
    what, remedy
        Begin and end of the message.

    Raises
    ------
    ModelError
        If there is such a weight; the message names the first tensor.
    """
    for name, values in tensors.items():
        # Not every operation knows the smallest types of floating point.
        wide = values.float() if values.is_floating_point() else values
        if count := int((~torch.isfinite(wide)).sum()):
            msg = f"{what}: {count} of {values.numel()} weights of {name} are not finite. {remedy}."
            raise ModelError(msg)


def operator_tensors(operators: Sequence[LearnedOperator]) -> dict[str, Tensor]:
    """Return what a model file holds of learned observation operators."""
    return {name: torch.from_numpy(values) for name, values in to_storage(operators)[1].items()}


def digest(spec: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of a specification and of weights as they are stored, independent of their order.

    Parameters
    ----------
    spec
        Specification as text.
    tensors
        Weights by name.
    """
    found = hashlib.sha256(spec.encode())
    for name, values in sorted(tensors.items()):
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        found.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def check_types(stored: Mapping[str, Tensor], prior: nn.Module) -> None:
    """Refuse weights of another type than the prior has or stores, which would be cast without a word.

    Parameters
    ----------
    stored
        Weights by name, as in a file.
    prior
        The prior with these weights. A prior may store its weights under names and in types of its own.

    Raises
    ------
    ModelError
        If there is such a type; the message names the first tensors.
    """
    kept, written = prior.state_dict(), prior.storage_state()  # type: ignore[operator]  # a Prior
    wrong = []
    for name, values in stored.items():
        known = {state[name].dtype for state in (kept, written) if name in state}
        floating = values.is_floating_point() and any(dtype.is_floating_point for dtype in known)
        if known and values.dtype not in known and not floating:
            wrong.append(f"{name} has the type {values.dtype}, expected {' or '.join(sorted(map(str, known)))}")
    if wrong:
        msg = f"The weights do not fit the architecture in the header: {'; '.join(wrong[:3])}."
        raise ModelError(msg)
