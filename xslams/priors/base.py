"""The prior of a pretrained model as something to draw from: a denoiser of trajectories, and the way to states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from azula.denoise import Denoiser
from torch import Tensor

from xslams.errors import OptionError
from xslams.priors.denoiser import TrajectoryDenoiser
from xslams.priors.markov import MarkovDenoiser

if TYPE_CHECKING:
    from xslams.model import Model

__all__ = ["Prior", "prior_of"]


@dataclass(frozen=True)
class Prior:
    """Prior of trajectories of a model.

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


def prior_of(model: Model, length: int, *, season: Tensor | float = 0.0) -> Prior:
    """Return the prior of a model over trajectories of `length` frames.

    Parameters
    ----------
    model
        Model of a system or of the atmosphere.
    length
        Number of frames.
    season
        Fraction of the year of the frames, one number or shape ``(length,)``; of no meaning for a system.

    Returns
    -------
    Prior
        Denoiser, shape, and the way to states and back.

    Raises
    ------
    OptionError
        If there is less than one frame, or the season has another length.

    Examples
    --------
    Lorenz-63, of which x is seen once, in the middle of 21 frames:

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
    if length < 1:
        msg = f"A trajectory has at least one frame; got length={length}."
        raise OptionError(msg)
    spec = model.spec
    if "memory" in spec.architecture:
        filters = model.filters()
        shape = (length, spec.channels, len(spec.lat), len(spec.lon))
        return Prior(MarkovDenoiser(filters), shape, filters.unstandardize, filters.standardize)
    when = torch.as_tensor(season, dtype=torch.float32)
    if when.ndim and when.shape != (length,):
        msg = f"season has the shape {tuple(when.shape)}; expected one number or {length} of them, one per frame."
        raise OptionError(msg)
    when = when.expand(length)
    networks = model.networks()
    return Prior(
        TrajectoryDenoiser(networks, when),
        (length, *spec.latent_shape),
        lambda z: networks.normalization.denormalize(networks.autoencoder.decode(z), when),
        lambda x: networks.autoencoder.encode(networks.normalization.normalize(x, when)),
    )
