"""Linear maps from frames of a process to latents, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Mixing", "joined"]


class Mixing(Protocol):
    """A linear map of the frames of trajectories ``(B, L, z, z_lat, z_lon)`` that can be inverted."""

    def __call__(self, w: Tensor) -> Tensor:
        """Mix frames of the process; differentiable."""
        ...

    def adjoint(self, z: Tensor) -> Tensor:
        """Apply the adjoint."""
        ...

    def inverse(self, z: Tensor) -> Tensor:
        """Return the frames of the process that are mixed to `z`."""
        ...


@dataclass(frozen=True)
class _Both:
    """One mixing after another."""

    last: Mixing
    first: Mixing

    def __call__(self, w: Tensor) -> Tensor:
        return self.last(self.first(w))

    def adjoint(self, z: Tensor) -> Tensor:
        return self.first.adjoint(self.last.adjoint(z))

    def inverse(self, z: Tensor) -> Tensor:
        return self.first.inverse(self.last.inverse(z))


def joined(last: Mixing | None, first: Mixing | None) -> Mixing | None:
    """Return the map that applies `first` and then `last`, of which there may be none."""
    if last is None or first is None:
        return first if last is None else last
    return _Both(last, first)
