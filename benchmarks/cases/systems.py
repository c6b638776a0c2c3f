"""Small systems: what is observed of their trajectories."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ObserveSites"]


class ObserveSites:
    """Some components or sites at some frames, as a linear operator on standardised trajectories.

    Parameters
    ----------
    every
        Frames from one observation time to the next.
    sites
        Positions among the flattened channels and sites, shape (s,).
    std
        Standard deviations of the sites in the units of the observations, shape (s,), or one for all.
    first
        Frame of the first observation.
    """

    def __init__(self, every: int, sites: Tensor, std: float | Tensor = 1.0, first: int = 0) -> None:
        self.frames, self.sites, self.std = slice(first, None, every), torch.as_tensor(sites), std

    def __call__(self, z: Tensor) -> Tensor:
        """From trajectories (B, L, channel, 1, site) to observations without the mean, (B, n)."""
        return (z[:, self.frames].flatten(2)[..., self.sites] * self.std).flatten(1)

    def linearize(self, z: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Return the product with the Jacobian and with its adjoint."""

        def adjoint(w: Tensor) -> Tensor:
            v = w.new_zeros(len(w), *z.shape[1:]).flatten(2)
            v[:, self.frames, self.sites] = w.unflatten(1, (-1, len(self.sites))) * self.std
            return v.reshape(len(w), *z.shape[1:])

        return self, adjoint
