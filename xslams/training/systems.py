"""Train a model of trajectories of a small system: filters, step, and the noise levels at which each serves."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from xslams.errors import DimensionError, OptionError
from xslams.model import Model
from xslams.networks.architecture import MarkovArchitecture
from xslams.options import SystemTrainingOptions
from xslams.priors.markov import MarkovPrior
from xslams.priors.stored import UNTRAINED, check_finite
from xslams.progress import wanted
from xslams.training.levels import measure_levels
from xslams.training.trajectories import fit_trajectories
from xslams.training.transition import fit_transition

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = ["fit_system"]


def fit_system(
    spec: Spec,
    states: FloatArray,
    unseen: FloatArray,
    options: SystemTrainingOptions | None = None,
    *,
    mean: ArrayLike,
    std: ArrayLike,
    seed: int = 0,
    progress: bool | None = None,
) -> Model:
    """Train a model of a small system on trajectories.

    Parameters
    ----------
    spec
        Variables and coordinates; kind and architecture are filled in.
    states
        Trajectories, shape ``(trajectory, time, channel, lat, lon)``, in the units of the variables.
    unseen
        Trajectories of any number and length, which are kept from training, to find out at which noise levels the
        filters and the step serve best.
    options
        Sizes of the networks and settings of their training; the defaults where None.
    mean, std
        Mean and standard deviation of the states, one number or one for each channel.
    seed
        Seed of initial weights, noise and order.
    progress
        Whether to show progress bars; by default where a person waits.

    Returns
    -------
    Model
        The trained model, in memory.

    Raises
    ------
    DimensionError
        If frames have another shape than the spec says, or trajectories are shorter than a training sample.
    OptionError
        If blocks are asked for and there are several sites.
    ModelError
        If training ends with weights that are not finite.
    """
    options, visible = options or SystemTrainingOptions(), wanted(progress)
    _require_fit(spec, states, unseen, options)
    spec = dataclasses.replace(spec, kind="markov", architecture=_architecture(options).to_header())
    # The caller's random state is not ours to change.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = MarkovPrior(spec)
        networks.mean.copy_(torch.as_tensor(mean).reshape(-1, 1, 1))
        networks.std.copy_(torch.as_tensor(std).reshape(-1, 1, 1))
        z = _standardized(networks, states)
        fit_trajectories(networks.filters, z, options, progress=visible)
        fit_transition(networks.transition, z, options, progress=visible)
        measure_levels(networks, _standardized(networks, unseen))
    check_finite(networks.state_dict(), *UNTRAINED)
    return Model(spec, prior=networks.eval().requires_grad_(requires_grad=False))


def _standardized(networks: MarkovPrior, states: FloatArray) -> Tensor:
    """Trajectories of unit variance, shape ``(trajectory, time, channel, site)``."""
    return networks.standardize(torch.as_tensor(states, dtype=torch.float32)).flatten(3)


def _require_fit(spec: Spec, states: FloatArray, unseen: FloatArray, options: SystemTrainingOptions) -> None:
    for name, array in (("states", states), ("unseen", unseen)):
        if array.shape[2:] != spec.frame_shape or array.ndim != 5:
            msg = (
                f"{name} has the shape {array.shape}; expected (trajectory, time, *{spec.frame_shape}), where the spec "
                "gives channels and coordinates."
            )
            raise DimensionError(msg)
    if states.shape[1] < options.length:
        msg = (
            f"Trajectories have {states.shape[1]} frames; expected at least length={options.length}, the frames of a "
            "training sample. Simulate longer ones, or shorten the samples."
        )
        raise DimensionError(msg)
    sites = len(spec.lat) * len(spec.lon)
    if options.blocks and sites > 1:
        msg = f"blocks=True; expected False for a system of {sites} sites: only a single site has blocks."
        raise OptionError(msg)


def _architecture(options: SystemTrainingOptions) -> MarkovArchitecture:
    return MarkovArchitecture(
        memory=options.memory,
        hidden=options.hidden,
        reach=options.reach,
        blocks=options.blocks,
        products=options.products,
        step_reach=options.step_reach,
        substeps=options.substeps,
    )
