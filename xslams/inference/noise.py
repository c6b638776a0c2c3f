"""Noise that belongs to its member: the same whatever batch, chunk or process it is drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from xslams.inference.batches import transfer
from xslams.likelihood.identity import mixed

__all__ = ["GeneratorNoise", "KeyedNoise", "Noise"]


class Noise(Protocol):
    """Source of standard normal noise of the shape of the state."""

    def __call__(self, draw: int) -> Tensor:
        """Return the draw of that number."""
        ...


class GeneratorNoise:
    """Noise from one generator, draw after draw.

    Parameters
    ----------
    shape
        Shape ``(members, *shape)`` of a draw.
    generator
        Source of randomness; torch's global generator by default.
    like
        Tensor whose type and device the noise gets.
    antithetic
        Whether member ``2 k + 1`` has the negated noise of member ``2 k``.
    """

    def __init__(
        self, shape: Sequence[int], generator: torch.Generator | None, like: Tensor, *, antithetic: bool = False
    ) -> None:
        self.shape, self.generator, self.like = tuple(shape), generator, like
        self.antithetic = antithetic

    def __call__(self, draw: int) -> Tensor:
        """Return the next draw."""
        device = self.like.device if self.generator is None else self.generator.device
        members, *rest = self.shape
        count = (members + 1) // 2 if self.antithetic else members
        noise = torch.randn((count, *rest), generator=self.generator, dtype=self.like.dtype, device=device)
        if self.antithetic:
            noise = torch.stack([noise, -noise], dim=1).flatten(0, 1)[:members]
        return noise.to(self.like.device)


class KeyedNoise:
    """Noise of a member at a time, the same whatever else is computed with it.

    Parameters
    ----------
    seed
        Seed of the run.
    members
        Numbers of the members in this batch.
    labels
        Time labels of the frames.
    frame_shape
        Shape of a latent frame.
    device
        Where to put the noise. It is drawn on the CPU, so that it is the same on every device.
    antithetic
        Whether member ``2 k + 1`` has the negated noise of member ``2 k``, in this batch or another.
    """

    def __init__(
        self,
        seed: int,
        members: Sequence[int],
        labels: Sequence[int],
        frame_shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        *,
        antithetic: bool = False,
    ) -> None:
        self.seed, self.members, self.labels = seed, members, labels
        self.frame_shape = frame_shape
        self.device = device
        self.antithetic = antithetic

    def __call__(self, draw: int) -> Tensor:
        """Return draw number `draw`, shape ``(member, time, *frame_shape)``."""
        out = torch.empty(len(self.members), len(self.labels), *self.frame_shape)
        generator = torch.Generator()
        for i, member in enumerate(self.members):
            for j in range(len(self.labels)):
                generator.manual_seed(int(self._key(member, j, draw) >> np.uint64(1)))
                torch.randn(self.frame_shape, generator=generator, out=out[i, j])
            if self._sign(member) < 0:
                out[i].neg_()
        return transfer(out, self.device)

    def of_values(self, frame: npt.NDArray[np.intp], name: npt.NDArray[np.uint64], draw: int) -> Tensor:
        """Return noise of values that belong to frames.

        Parameters
        ----------
        frame
            Position of the frame of each value, shape ``(n,)``.
        name
            Whole numbers that tell the values of a frame apart, shape ``(n,)``; they key the noise.
        draw
            Number of the draw.

        Returns
        -------
        Tensor
            Shape ``(member, n)``.
        """
        out = np.empty((len(self.members), frame.size), np.float32)
        for i, member in enumerate(self.members):
            keys = np.array([self._key(member, j, draw) for j in range(len(self.labels))], np.uint64)
            # The upper 53 bits are what a number of double precision holds.
            share = ((mixed(keys[frame] ^ name) >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53
            out[i] = self._sign(member) * ndtri(share)
        return transfer(torch.from_numpy(out), self.device)

    def _key(self, member: int, frame: int, draw: int) -> np.uint64:
        """Return the key of the noise of a member at a frame."""
        owner = member // 2 if self.antithetic else member
        # Labels before 1970 are negative, which a seed sequence refuses.
        key = np.random.SeedSequence([self.seed, owner, self.labels[frame] % 2**63, draw])
        return np.uint64(key.generate_state(1, np.uint64)[0])

    def _sign(self, member: int) -> int:
        """Return what the noise of the owner of a key is multiplied by."""
        return -1 if self.antithetic and member % 2 else 1
