"""Where networks compute, and faster ones at the price of other rounding: bfloat16 where safe, and compilation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from xslams.arguments import shown
from xslams.errors import OptionError
from xslams.typing import PRECISIONS

if TYPE_CHECKING:
    from xslams.networks.unet import ScoreNetwork

__all__ = ["accelerate", "device_of"]


def device_of(name: str | None) -> torch.device:
    """Return the device of that name; by default the GPU where there is one.

    Raises
    ------
    OptionError
        If torch knows no such device, or this machine has none.
    """
    here = "cpu" if not torch.cuda.is_available() else "cpu, cuda"
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # As text, since torch takes a bare number for the GPU of that number.
        device = torch.device(str(name))
        # Only a device that computes and hands back what it computed will do, which that named "meta" does not.
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as e:
        why = str(e).split(chr(10), 1)[0]
        msg = f"device={shown(name)} cannot be used on this machine, which has {here} ({why}). Choose one of these."
        raise OptionError(msg) from e
    return device


class _Reduced(nn.Module):
    """Score network in half precision where that is safe, as torch's autocast knows it."""

    def __init__(self, score: nn.Module, like: ScoreNetwork) -> None:
        super().__init__()
        self.score, self.window, self.pointwise = score, like.window, like.pointwise

    def forward(self, x: Tensor, gaussian: Tensor, log_sigma: Tensor, season: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            out: Tensor = self.score(x, gaussian, log_sigma, season)
        return out.to(x.dtype)


@functools.lru_cache(maxsize=2)
def _compiled(score: nn.Module) -> nn.Module:
    """Compile a network once, as that takes a minute."""
    return cast("nn.Module", torch.compile(score))


def accelerate(
    score: ScoreNetwork | None, precision: str = "float32", *, compiled: bool = False
) -> ScoreNetwork | None:
    """Make a score network faster, at the price of other rounding.

    Parameters
    ----------
    score
        Score network of a model, if it has one. The Gaussian part of the denoiser stays in single precision.
    precision
        ``"float32"``, or ``"bf16"`` for bfloat16 where autocast of torch takes it.
    compiled
        Whether to compile it (`torch.compile`).

    Returns
    -------
    ScoreNetwork
        The same function.

    Raises
    ------
    OptionError
        If the precision is unknown.
    """
    if precision not in PRECISIONS:
        msg = f"precision={precision!r}; expected one of {', '.join(map(repr, PRECISIONS))}."
        raise OptionError(msg)
    if score is None:
        return None
    fast: nn.Module = score
    if compiled:
        fast = _compiled(score)
    if precision == "bf16":
        fast = _Reduced(fast, score)
    return cast("ScoreNetwork", fast)
