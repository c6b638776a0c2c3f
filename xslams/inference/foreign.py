"""Parts that users bring, such as denoisers, operators, guidances and samplers: what they raise and return.

Whatever comes out of a part that is not as it should be becomes an error that names the part and what is expected of
it, and not a traceback through the layers between.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.errors import OptionError, SlamsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DENOISER", "GUIDANCE", "OPERATOR", "SAMPLER", "calling", "checked", "guarded", "out_of_memory"]

#: What is expected of each kind of part.
DENOISER = (
    "A denoiser, azula.denoise.Denoiser, has a schedule, and called with noisy states (B, *shape) and a time it "
    "returns an object whose mean has the shape of the states, by torch functions that can be differentiated"
)
OPERATOR = (
    "The operator A takes states (B, *shape) to floating-point values (B, n), by torch functions that can be "
    "differentiated: no detach(), numpy() or item(), and nothing is written into the states"
)
GUIDANCE = (
    "Derive it from xslams.inference.guidance.Guidance: weights(problem, memory) returns weights (B, n), one for each "
    "observation, and what is to be remembered"
)
SAMPLER = (
    "A sampler has intervals(steps), a number, and sample(run, x), which returns states of the shape of x; derive it "
    "from xslams.inference.samplers.Sampler"
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of too little memory, which says nothing about the part that asked for it.

    Examples
    --------
    >>> out_of_memory(MemoryError()), out_of_memory(ValueError("shape"))
    (True, False)
    """
    text = isinstance(error, RuntimeError) and "allocate memory" in str(error)  # as torch says on a CPU
    return text or isinstance(error, MemoryError | torch.OutOfMemoryError)


@contextlib.contextmanager
def calling(part: object, expected: str) -> Iterator[None]:
    """Name a part in the errors that it raises.

    Parameters
    ----------
    part
        The part, or its name.
    expected
        What is expected of it.

    Raises
    ------
    OptionError
        In place of whatever is no error of this package and none of memory.

    Examples
    --------
    >>> with calling("The operator A", "A takes states to values"):
    ...     torch.ones(2) @ torch.ones(3)
    Traceback (most recent call last):
    xslams.errors.OptionError: The operator A fails (RuntimeError: ...). A takes states to values.
    """
    try:
        yield
    except SlamsError:
        raise
    except Exception as e:
        if out_of_memory(e):
            raise
        reason = next(iter(str(e).splitlines()), "")
        msg = f"{_name(part)} fails ({type(e).__name__}: {reason}). {expected}."
        raise OptionError(msg) from e


def checked(value: object, part: object, expected: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return what a part has made if it is a floating-point tensor of the right shape.

    Parameters
    ----------
    value
        What it has returned.
    part, expected
        As for `calling`.
    shape
        The shape; None: any.

    Raises
    ------
    OptionError
        If it is something else.

    Examples
    --------
    >>> checked(torch.ones(2), "The operator A", "A takes states to values", (2, 1))
    Traceback (most recent call last):
    xslams.errors.OptionError: The operator A gives values of shape (2,) where (2, 1) is needed. A takes ...
    """
    if not isinstance(value, Tensor):
        msg = f"{_name(part)} gives a {type(value).__name__} where a torch tensor is needed. {expected}."
        raise OptionError(msg)
    if shape is not None and tuple(value.shape) != shape:
        msg = f"{_name(part)} gives values of shape {tuple(value.shape)} where {shape} is needed. {expected}."
        raise OptionError(msg)
    if not value.is_floating_point():
        msg = f"{_name(part)} gives values of type {value.dtype} where floating-point numbers are needed. {expected}."
        raise OptionError(msg)
    return value


def guarded(
    function: Callable[[Tensor], Tensor], part: object, expected: str, caller: object, shape: torch.Size
) -> Callable[[Tensor], Tensor]:
    """Return a product with a map of a part, which names the part where it fails, or its caller if that is wrong.

    Parameters
    ----------
    function
        The product.
    part, expected
        As for `calling`.
    caller
        The guidance, which may hand on what is of another shape.
    shape
        Shape of what the map takes, of which the first dimension is free.
    """

    def product(v: Tensor) -> Tensor:
        # The number of states is free.
        checked(v, caller, GUIDANCE, (*tuple(getattr(v, "shape", ()))[:1], *shape[1:]))
        with calling(part, expected):
            return function(v)

    return product


def _name(part: object) -> str:
    return part if isinstance(part, str) else type(part).__name__
