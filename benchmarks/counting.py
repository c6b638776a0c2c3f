"""Count how often networks are called, by hooks: nothing in the package counts for the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from xslams.priors.gaussian import TrajectoryGaussian

__all__ = ["Count", "counted", "products"]


@dataclass
class Count:
    """Number of calls of a module, and of the samples in them.

    Attributes
    ----------
    calls
        Number of calls.
    samples
        Sum of the sizes of the first dimension of what was given.
    """

    calls: int = 0
    samples: int = 0


@contextmanager
def counted(module: nn.Module | None) -> Iterator[Count]:
    """Count the calls of a module for a while; none of a network that is not there.

    Parameters
    ----------
    module
        Denoiser or network.

    Examples
    --------
    >>> import torch
    >>> layer = nn.Linear(2, 1)
    >>> with counted(layer) as count:
    ...     _ = layer(torch.ones(3, 2))
    >>> count
    Count(calls=1, samples=3)
    """
    count = Count()
    if module is None:
        yield count
        return

    def add(_module: nn.Module, given: tuple[object, ...]) -> None:
        count.calls += 1
        count.samples += len(given[0])  # type: ignore[arg-type]  # a tensor

    handle = module.register_forward_pre_hook(add)
    try:
        yield count
    finally:
        handle.remove()


@contextmanager
def products() -> Iterator[Count]:
    """Count the products with the covariance of a Gaussian prior while the context lasts."""
    original, count = TrajectoryGaussian.covariance, Count()

    def counting(self: TrajectoryGaussian, v: Tensor, *arguments: Tensor) -> Tensor:
        count.calls += 1
        count.samples += len(v)
        return original(self, v, *arguments)

    TrajectoryGaussian.covariance = counting  # type: ignore[method-assign]
    try:
        yield count
    finally:
        TrajectoryGaussian.covariance = original  # type: ignore[method-assign]
