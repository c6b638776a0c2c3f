"""Options of sampling and training: frozen, typed, with every default in one place."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Literal

from xslams.errors import OptionError
from xslams.typing import PRECISIONS, Precision

__all__ = ["ComputeOptions", "SamplerOptions", "require"]


def require(holds: bool, name: str, got: object, expected: str) -> None:
    """Raise `OptionError` unless the condition on an option holds.

    Parameters
    ----------
    holds
        The condition.
    name, got
        Name and value of the option.
    expected
        What was expected, for the message.

    Examples
    --------
    >>> require(False, "members", 0, "a positive whole number")
    Traceback (most recent call last):
    xslams.errors.OptionError: members=0; expected a positive whole number.
    """
    if not holds:
        msg = f"{name}={got!r}; expected {expected}."
        raise OptionError(msg)


def _is_whole(value: object, least: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return False
    return int(value) >= least


@dataclass(frozen=True)
class SamplerOptions:
    """How members are drawn from the posterior.

    Attributes
    ----------
    guidance
        Name in `xslams.inference.guidance.GUIDANCE`, or a guidance with its settings.
    sampler
        Name in `xslams.inference.samplers.SAMPLERS`, or a sampler with its settings.
    steps
        Network calls per member, without corrections.
    corrections
        Langevin corrections at every noise level but the first and the last, one more call each.
    antithetic
        Whether member ``2 k + 1`` has the negated noise of member ``2 k``.
    """

    guidance: object = "mmps"
    sampler: object = "auto"
    steps: int = 32
    corrections: int = 0
    antithetic: bool = False

    def __post_init__(self) -> None:
        require(_is_whole(self.steps, 1), "steps", self.steps, "a whole number of at least 1")
        require(_is_whole(self.corrections, 0), "corrections", self.corrections, "a whole number of at least 0")


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how torch computes; the draws are the same to rounding.

    Attributes
    ----------
    device
        Torch device, such as ``"cpu"`` or ``"cuda"``; by default the GPU where there is one.
    batch_size
        Members at a time on a GPU; ``"auto"`` takes as many as fit, and fewer where memory runs out. A CPU takes them
        one by one, with one thread for each.
    precision
        ``"float32"``, or ``"bf16"``: the networks in bfloat16.
    compile
        Whether to compile the networks with `torch.compile`.
    """

    device: str | None = None
    batch_size: int | Literal["auto"] = "auto"
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        size = self.batch_size
        require(size == "auto" or _is_whole(size, 1), "batch_size", size, "'auto' or a whole number of at least 1")
        require(self.precision in PRECISIONS, "precision", self.precision, " or ".join(map(repr, PRECISIONS)))
