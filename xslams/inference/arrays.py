"""Assimilation on arrays: the one place where numpy becomes torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.inference.batches import fitting, in_batches, one_thread
from xslams.inference.decoder_errors import completed
from xslams.inference.exact import draw_exactly, exact_prior
from xslams.inference.guidance import GUIDANCE, GuidanceState, GuidedDenoiser, Observed
from xslams.inference.noise import KeyedNoise
from xslams.inference.observed import ObservedFrames
from xslams.inference.operator_checks import check_function
from xslams.inference.operators import channel_responses
from xslams.inference.posterior import draw, initial_noise
from xslams.inference.user_function import UserFunction
from xslams.networks.acceleration import device_of
from xslams.options import ComputeOptions, SamplerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from azula.denoise import Denoiser

    from xslams.likelihood import SourceLikelihood
    from xslams.model import Model
    from xslams.priors.base import Prior
    from xslams.priors.fields import FieldMap
    from xslams.priors.posteriors import GaussianPrior
    from xslams.typing import FieldFunction, FloatArray

__all__ = [
    "assimilate_arrays",
    "check_device",
    "check_operator",
    "climatology_arrays",
    "complete_errors",
    "decode_arrays",
    "encode_arrays",
    "observe_arrays",
    "observed_range_arrays",
    "variogram_arrays",
]

# Draws below this number belong to the sampler; this one is the noise that the decoder leaves out.
_RESIDUAL_DRAW = 2**31


def check_device(device: str | None) -> None:
    """Raise `OptionError` unless torch can compute on a device."""
    device_of(device)


def _prepare(model: Model, year_fraction: FloatArray, device: str | None) -> tuple[Prior, Tensor]:
    """Prior and season on the device."""
    where = device_of(device)
    season = torch.as_tensor(np.asarray(year_fraction, dtype=np.float32), device=where)
    return model.prior().to(where), season


def assimilate_arrays(
    model: Model,
    *,
    year_fraction: FloatArray,
    labels: npt.NDArray[np.int64],
    sources: Sequence[SourceLikelihood],
    members: Sequence[int],
    options: SamplerOptions | None = None,
    compute: ComputeOptions | None = None,
    seed: int = 0,
    called: Callable[[int], None] | None = None,
    predicted: FloatArray | None = None,
    solver_error: FloatArray | None = None,
) -> npt.NDArray[np.float32]:
    """Draw members of the analysis over one stretch of frames.

    Parameters
    ----------
    model
        Trained model.
    year_fraction
        Fraction of the year of each frame, shape ``(T,)``.
    labels
        Whole numbers that name the frames, such as hours since 1970, shape ``(T,)``; they key the noise.
    sources
        Observations. Without any, members are drawn from the prior. Errors that lack the part that comes from the model
        get it, see `complete_errors`.
    members
        Numbers of the members; they key the noise.
    options, compute
        How members are drawn, and where; the defaults if None.
    seed
        Seed of the run.
    called
        Called with the number of members after every call of the network, from several threads.
    predicted
        Array of shape ``(member, n)`` that is filled with what the members predict of all `n` observations, source by
        source; without what the decoder leaves out, which counts as error of the observations.
    solver_error
        Array of shape ``(member,)`` that is filled with the largest error of the solver, in standard deviations of the
        analysis; see `xslams.inference.guidance.Increment`.

    Returns
    -------
    ndarray
        State channels in physical units, shape ``(member, T, channel, lat, lon)``, float32.
    """
    options, compute = options or SamplerOptions(), compute or ComputeOptions()
    with one_thread() as threads:
        prior, season = _prepare(model, year_fraction, compute.device)
        prior = prior.accelerated(compute.precision, compiled=compute.compile)
        fields = prior.fields(season)
        rest = torch.zeros(1, len(season), *prior.shape, device=season.device)
        seen = any(len(s.values) for s in sources)
        problem = ObservedFrames.of(prior, fields, sources, model, rest) if seen else None
        denoiser = prior.denoiser(len(season), season)
        exact = exact_prior(denoiser, None if problem is None else problem.all, options)
        first = None
        if problem is not None and exact is None:
            first = _first_guess(denoiser, prior.shape, season, problem.all, options)
        report = _Report(predicted, solver_error)
        drawing = _Draw(
            model, prior, fields, denoiser, season, labels, members, problem, first, exact, options, seed, called,
            report,
        )  # fmt: skip
        size, automatic = _batch(model, prior, len(season), len(members), compute, season.device)
        in_batches(drawing, members, season.device, size=size, shrink=automatic, threads=threads)
    return drawing.out


def _first_guess(
    denoiser: Denoiser, shape: Sequence[int], season: Tensor, observed: Observed, options: SamplerOptions
) -> GuidanceState:
    """State of guidance that all members start from, whichever of them are drawn here."""
    guided = GuidedDenoiser(denoiser, observed, GUIDANCE.instance(options.guidance))
    with torch.no_grad():
        return guided.first_guess(torch.zeros(1, len(season), *shape, device=season.device))


def _batch(
    model: Model, prior: Prior, length: int, members: int, compute: ComputeOptions, device: torch.device
) -> tuple[int, bool]:
    """Return the number of members at a time, and whether it may shrink."""
    if compute.batch_size != "auto":
        return compute.batch_size, False
    latent, fields = math.prod(prior.shape), math.prod(model.spec.frame_shape)
    return fitting(members, length * latent, length * fields, device), True


@dataclass(frozen=True)
class _Report:
    """Arrays to fill besides the analysis, see `assimilate_arrays`."""

    predicted: FloatArray | None
    solver_error: FloatArray | None


@dataclass(frozen=True)
class _Draw:
    """Draws a batch of members; called by `in_batches`, from several threads at once on a CPU."""

    model: Model
    prior: Prior
    fields: FieldMap
    denoiser: Denoiser
    season: Tensor
    labels: npt.NDArray[np.int64]
    members: Sequence[int]
    observed: ObservedFrames | None
    first: GuidanceState | None
    exact: GaussianPrior | None
    options: SamplerOptions
    seed: int
    called: Callable[[int], None] | None
    report: _Report
    out: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        spec = self.model.spec
        shape = (len(self.members), len(self.season), spec.state_channels, len(spec.lat), len(spec.lon))
        object.__setattr__(self, "out", np.empty(shape, np.float32))

    def _noise(self, batch: Sequence[int], frame_shape: tuple[int, ...]) -> KeyedNoise:
        labels = [int(label) for label in self.labels]
        device, antithetic = self.season.device, self.options.antithetic
        return KeyedNoise(self.seed, batch, labels, frame_shape, device, antithetic=antithetic)

    def __call__(self, first: int, batch: Sequence[int]) -> None:
        """Draw the members of a batch, of which the first has the position `first` among all."""
        denoiser, report = self.denoiser, self.report
        noise = self._noise(batch, self.prior.shape)
        observed = None if self.observed is None else self.observed.all
        # Rows of no other batch, so that batches may be drawn side by side.
        rows = slice(first, first + len(batch))

        def monitor(error: Tensor) -> None:
            if report.solver_error is not None:
                report.solver_error[rows] = np.maximum(report.solver_error[rows], error.cpu().numpy())

        if self.exact is not None:
            disturbance = None if self.observed is None else self.observed.noise(noise)
            z = draw_exactly(self.exact, noise(0), observed, disturbance, monitor)
        else:
            start = initial_noise(denoiser.schedule) * noise(0)
            z = draw(
                denoiser, start, noise, observed, self.options, first=self.first, monitor=monitor, called=self.called
            )
        with torch.no_grad():
            if report.predicted is not None and self.observed is not None:
                report.predicted[rows, self.observed.columns] = self.observed.seen(z).cpu().numpy()
            residual = self._noise(batch, self.model.spec.frame_shape)(_RESIDUAL_DRAW)
            x = self.fields.disturbed(z, residual)
            self.out[rows] = x[:, :, : self.model.spec.state_channels].cpu().numpy()


def encode_arrays(
    model: Model, fields: FloatArray, year_fraction: FloatArray, device: str | None = None
) -> npt.NDArray[np.float32]:
    """Encode physical fields ``(T, channel, lat, lon)``, NaN where absent, to latents ``(T, *latent)``."""
    prior, season = _prepare(model, year_fraction, device)
    with torch.no_grad():
        x = torch.as_tensor(model.spec.filled(np.asarray(fields, dtype=np.float32)), device=season.device)
        z: npt.NDArray[np.float32] = prior.encode(x, season).cpu().numpy()
    return z


def decode_arrays(
    model: Model, z: FloatArray, year_fraction: FloatArray, device: str | None = None
) -> npt.NDArray[np.float32]:
    """Decode latents ``(T, *latent)`` to physical fields ``(T, channel, lat, lon)``."""
    prior, season = _prepare(model, year_fraction, device)
    with torch.no_grad():
        latents = torch.as_tensor(np.asarray(z, dtype=np.float32), device=season.device)
        x: npt.NDArray[np.float32] = prior.decode(latents, season).cpu().numpy()
    return x


def climatology_arrays(
    model: Model, year_fraction: FloatArray
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Climatological mean and standard deviation of all channels in physical units, each ``(T, channel, lat, lon)``.

    For a transformed variable the standard deviation is that of the linearised transform at the mean.
    """
    prior, season = _prepare(model, year_fraction, "cpu")
    with one_thread(), torch.no_grad():
        mean, spread = prior.climatology(season)
        return mean.numpy(), spread.numpy()


def complete_errors(
    model: Model, likelihoods: Sequence[SourceLikelihood], year_fraction: FloatArray, device: str | None = None
) -> list[SourceLikelihood]:
    """Ask a model for its part of the errors of observations.

    Parameters
    ----------
    model
        Trained model.
    likelihoods
        All sources of a stretch of frames.
    year_fraction
        Fraction of the year of each frame, shape ``(T,)``.
    device
        Torch device; by default the GPU where there is one.

    Returns
    -------
    list of SourceLikelihood
        The same with errors that know what the decoder leaves out and how variances are inflated, see
        `xslams.inference.decoder_errors`.
    """
    with one_thread():
        prior, season = _prepare(model, year_fraction, device)
        return completed(prior.fields(season), likelihoods, model.spec.variables)


def check_operator(model: Model, function: FieldFunction, year_fraction: FloatArray, name: str) -> None:
    """Check a user's observation operator on the climatology of a model, and on a disturbed one.

    Raises
    ------
    ObservationError
        As `xslams.inference.operator_checks.check_function`.
    """
    mean, std = (torch.as_tensor(a) for a in climatology_arrays(model, year_fraction))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    check_function(UserFunction(function, model.spec.variables, name), torch.stack([mean, mean + 0.5 * std * noise]))


def observe_arrays(
    model: Model, function: FieldFunction, mean: FloatArray, std: FloatArray, name: str = "given"
) -> tuple[FloatArray, FloatArray]:
    """Return what a user's observation operator makes of fields, and the standard deviation of that.

    Parameters
    ----------
    model
        Trained model.
    function
        The operator.
    mean, std
        Physical fields and their standard deviation, shape ``(T, channel, lat, lon)``.
    name
        Name of the source, for messages.

    Returns
    -------
    tuple of ndarray
        Field and standard deviation, each of shape ``(T, lat, lon)``. Fields are taken to be correlated perfectly in
        space and between channels, so that the deviation of a mean is that of what is averaged.
    """
    x, observe = torch.as_tensor(mean, dtype=torch.float32)[None], UserFunction(function, model.spec.variables, name)
    spread = torch.zeros_like(x[:, :, 0])
    with one_thread():
        for response in channel_responses(observe, x, torch.as_tensor(std, dtype=torch.float32)):
            spread = spread + response.abs()
    with one_thread(), torch.no_grad():
        return observe(x)[0].numpy(), spread[0].numpy()


def observed_range_arrays(
    model: Model, function: FieldFunction, mean: FloatArray, std: FloatArray, deviations: float, name: str = "given"
) -> tuple[FloatArray, FloatArray]:
    """Range of what a user's observation operator can make of fields.

    A derivative may vanish at the mean (of a square, say): the operator is tried on fields that are disturbed by up to
    three standard deviations, and what it changes by most counts as one standard deviation.

    Parameters
    ----------
    model
        Trained model.
    function
        The operator.
    mean, std
        Physical fields and their standard deviation, shape ``(T, channel, lat, lon)``.
    deviations
        Standard deviations on either side.
    name
        Name of the source, for messages.

    Returns
    -------
    tuple of ndarray
        Lowest and highest values, each of shape ``(T, lat, lon)``; NaN where the operator is not defined at the mean.
    """
    centre, spread = (torch.as_tensor(a, dtype=torch.float32) for a in (mean, std))
    noise = torch.randn(centre.shape, generator=torch.Generator().manual_seed(0))
    observe = UserFunction(function, model.spec.variables, name).where_defined
    with one_thread(), torch.no_grad():
        seen = observe(centre[None])[0]
        reach = torch.zeros_like(seen)
        for change in (-3 * spread, -spread, spread, 3 * spread, 2 * spread * noise):
            reach = torch.fmax(reach, (observe((centre + change)[None])[0] - seen).abs())
    low, high = seen.double() - deviations * reach.double(), seen.double() + deviations * reach.double()
    return low.numpy(), high.numpy()


def variogram_arrays(model: Model, year_fraction: FloatArray, samples: int = 64) -> npt.NDArray[np.float32]:
    """Half of the mean squared difference between neighbouring cells, see `xslams.priors.base.Prior.variogram`.

    Parameters
    ----------
    model
        Trained model.
    year_fraction
        Fraction of the year of each frame, shape ``(T,)``.
    samples
        Number of frames that are drawn.

    Returns
    -------
    ndarray
        In physical units squared, shape ``(T, channel, lat, lon)``.
    """
    prior, season = _prepare(model, year_fraction, "cpu")
    with one_thread(), torch.no_grad():
        values: npt.NDArray[np.float32] = prior.variogram(season, samples).numpy()
    return values
