"""The prior of a pretrained model over trajectories of one length: a denoiser, and the way to states and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from azula.denoise import Denoiser
from torch import Tensor

from xslams.arguments import is_whole, require
from xslams.errors import OptionError

if TYPE_CHECKING:
    from xslams.model import Model

__all__ = ["TrajectoryPrior", "prior_of"]


@dataclass(frozen=True)
class TrajectoryPrior:
    """Prior of a model over trajectories of one length.

    Attributes
    ----------
    denoiser
        Denoiser of trajectories, for `xslams.inference.sample_posterior`.
    shape
        Shape of what it denoises: frames first.
    states
        From what it denoises, ``(B, *shape)``, to states in the units of the model's variables, shape
        ``(B, L, channel, lat, lon)``. Differentiable, so that an observation operator can begin with it.
    encode
        From states back.
    """

    denoiser: Denoiser
    shape: tuple[int, ...]
    states: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]


def prior_of(model: Model, length: int, *, season: Tensor | float = 0.0) -> TrajectoryPrior:
    """Return the prior of a model over trajectories of `length` frames.

    Parameters
    ----------
    model
        Model of a system or of the atmosphere.
    length
        Number of frames.
    season
        Fraction of the year of the frames, one number or shape ``(length,)``; without meaning for a system.

    Returns
    -------
    TrajectoryPrior
        Denoiser, shape, and the way to states and back.

    Raises
    ------
    OptionError
        If there is less than one frame, or the season has another length.

    Examples
    --------
    Lorenz-63, of which x is observed once, in the middle of 21 frames:

    >>> import torch, xslams
    >>> from xslams.inference import sample_posterior
    >>> prior = prior_of(xslams.open_model("lorenz63"), length=21)
    >>> z = sample_posterior(
    ...     prior.denoiser, torch.tensor([12.0]), lambda z: prior.states(z)[:, 10, 0, 0], 0.01, shape=prior.shape,
    ...     members=8, generator=torch.Generator().manual_seed(0))
    >>> x = prior.states(z)
    >>> x.shape, bool((x[:, 10, 0] - 12).abs().max() < 1)
    (torch.Size([8, 21, 3, 1, 1]), True)
    """
    require(is_whole(length, 1), "length", length, "a whole number, at least one frame")
    require(callable(getattr(model, "prior", None)), "model", model, "a Model, xslams.open_model(name)")
    when = torch.as_tensor(season, dtype=torch.float32)
    if when.ndim and when.shape != (length,):
        msg = f"season has the shape {tuple(when.shape)}; expected one number or {length} of them, one per frame."
        raise OptionError(msg)
    when = when.expand(length)
    prior = model.prior()
    return TrajectoryPrior(
        prior.denoiser(length, when),
        (length, *prior.shape),
        lambda z: prior.decode(z, when),
        lambda x: prior.encode(x, when),
    )
