"""Priors of Markov processes of small systems: their step, and a network that denoises their trajectories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xslams.networks.architecture import MarkovArchitecture
from xslams.networks.transition import Transition
from xslams.networks.two_filter import TwoFilter
from xslams.priors.base import PRIORS, Prior
from xslams.priors.markov_denoiser import MarkovDenoiser

if TYPE_CHECKING:
    from xslams.spec import Spec

__all__ = ["MarkovPrior"]


@PRIORS.register("markov")
class MarkovPrior(nn.Module, Prior):
    """Mean and standard deviation of each variable; a `Transition` and a `TwoFilter` for trajectories of unit variance.

    Parameters
    ----------
    spec
        Its ``architecture`` is that of a `MarkovArchitecture`.
    """

    mean: Tensor
    std: Tensor
    refine: Tensor
    bare: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        sizes = MarkovArchitecture.from_header(spec.architecture)
        sites = len(spec.lat) * len(spec.lon)
        self._shape = spec.frame_shape
        self.filters = TwoFilter(
            spec.channels, sites, memory=sizes.memory, hidden=sizes.hidden, reach=sizes.reach, blocks=sizes.blocks
        )
        self.transition = Transition(
            spec.channels, sites, hidden=sizes.products, reach=sizes.step_reach, substeps=sizes.substeps
        )
        # Largest noise at which the transition improves on the filters, and at which it needs none.
        self.register_buffer("refine", torch.zeros(()))
        self.register_buffer("bare", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(spec.channels, 1, 1))
        self.register_buffer("std", torch.ones(spec.channels, 1, 1))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channel, lat, lon) of a frame, which is not reduced."""
        return self._shape

    @property
    def step(self) -> Transition:
        """Step of the process from frame to frame."""
        return self.transition

    def denoiser(self, length: int, season: Tensor) -> MarkovDenoiser:
        """Return a denoiser of trajectories of any length."""
        return MarkovDenoiser(self)

    def encode(self, x: Tensor, season: Tensor) -> Tensor:
        """From states ``(*, L, channel, lat, lon)``, the climatological mean where missing, to numbers of order one."""
        return torch.nan_to_num(self.standardize(x), nan=0.0)

    def decode(self, z: Tensor, season: Tensor) -> Tensor:
        """Undo `encode`."""
        return self.unstandardize(z)

    def climatology(self, season: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of states, the same for every frame."""
        shape = (len(season), *self.shape)
        return self.mean.expand(shape), self.std.expand(shape)

    def standardize(self, x: Tensor) -> Tensor:
        """From states ``(*, channel, lat, lon)`` to numbers of order one."""
        return (x - self.mean) / self.std

    def unstandardize(self, z: Tensor) -> Tensor:
        """Undo `standardize`."""
        return z * self.std + self.mean

    def storage_state(self) -> dict[str, Tensor]:
        """Weights as they are stored: in full, since small changes from frame to frame count."""
        return {k: v.detach().cpu() for k, v in self.state_dict().items()}
