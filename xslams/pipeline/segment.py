"""What one worker does: the analysis of one window, from observations to members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams import observations
from xslams.errors import ObservationError, Occasion, warn
from xslams.labels.calendar import stamp
from xslams.labels.coordinates import listed
from xslams.labels.domain import domain_of
from xslams.options import ComputeOptions, SamplerOptions
from xslams.pipeline import workers
from xslams.pipeline.windows import AnalysisWindow
from xslams.progress import Progress, current
from xslams.typing import FloatArray

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.observations import AuditedLikelihood, BoundBackground, BoundSource

__all__ = ["Run", "analyse", "prepare"]

# Error of the solver, in standard deviations of the analysis, above which something is wrong with it.
_SOLVED = 0.05


@dataclass(frozen=True)
class Run:
    """What a worker has to know about a run besides model and observations.

    Attributes
    ----------
    members
        Numbers of the members to draw.
    sampling, compute
        How they are drawn, and where.
    seed
        Seed of the run.
    occasion
        The call that made the run, for warnings that its tasks give once.
    """

    members: tuple[int, ...]
    sampling: SamplerOptions
    compute: ComputeOptions
    seed: int
    occasion: Occasion = field(default_factory=Occasion, compare=False)

    @property
    def calls(self) -> int:
        """Calls of the network that all members together are expected to take."""
        each = self.sampling.steps + self.sampling.corrections * max(self.sampling.steps - 2, 0)
        return each * len(self.members)


def analyse(
    model: Model,
    sources: Sequence[BoundSource],
    background: BoundBackground | None,
    time: xr.DataArray,
    window: AnalysisWindow,
    run: Run,
    *,
    progress: Progress | None = None,
    strict: bool = False,
    report: bool = False,
    gross: observations.GrossErrors | None = None,
) -> tuple[npt.NDArray[np.float32], FloatArray]:
    """Analyse one window and cut its overlap off, and sum up its observations if asked to.

    Parameters
    ----------
    model
        Trained model, or a handle of it.
    sources, background
        What the window sees of observations and background.
    time
        Times of all frames.
    window
        The window.
    run
        How members are drawn.
    progress
        What shows how far the run is; by default what watches the tasks of this process, if anything does.
    strict
        Whether to raise and warn about observations of which nothing is left.
    report
        Whether to sum up observations and how they fit.
    gross
        Where gross errors are noted; without it, they are warned of here, once in all tasks of the run.

    Returns
    -------
    tuple of ndarray
        State, shape (member, time, channel, lat, lon), and sums over the values of each variable of each source, shape
        (source, statistic).
    """
    from xslams.inference.arrays import assimilate_arrays, climatology_arrays, complete_errors

    model = workers.resident(model)
    spec = model.spec
    frames = time.isel({time.dims[0]: slice(window.start, window.stop)})
    climatology = climatology_arrays(model, domain_of(spec).season(frames))
    found = observations.GrossErrors(run.occasion) if gross is None else gross
    parts, expected = prepare(model, sources, background, frames, climatology, found, strict=strict, report=report)
    if gross is None:
        found.warn()
    # The prior sees no fewer frames than its own window; frames that are added are not observed.
    before, after = divmod(max(spec.window - frames.size, 0), 2)
    before, after = before + after, before
    fraction, labels = domain_of(spec).frames(frames, before, after)
    likelihoods = [part.likelihood.shifted(before, after, frames.size) for part in parts]
    # Likelihood and report read the same errors, with the part that the model alone knows.
    likelihoods = complete_errors(model, likelihoods, fraction, run.compute.device)
    # Without observations there is nothing to report.
    count = sum(each.size for each in likelihoods)
    predicted = np.empty((len(run.members), count)) if report and parts else None
    solver_error = np.zeros(len(run.members))
    watching = current() if progress is None else progress
    values = assimilate_arrays(
        model,
        year_fraction=fraction,
        labels=labels,
        sources=likelihoods,
        members=run.members,
        options=run.sampling,
        compute=run.compute,
        seed=run.seed,
        called=None if watching is None else watching.window(window.last - window.first, run.calls),
        predicted=predicted,
        solver_error=solver_error,
    )
    worst = float(solver_error.max(initial=0.0))
    if worst > _SOLVED:
        warn(
            f"The solver stopped early in the analysis window that starts at {stamp(frames.values[0])}: members are "
            f"off by up to {worst:.1%} of the standard deviation of the analysis. Errors of observations that differ "
            "by many orders of magnitude are the likely cause: raise the smallest error=, or let superob= average "
            "values that lie close together."
        )
    values = values[:, before : values.shape[1] - after]
    _require_plausible(model, values, climatology, frames)
    block = spec.without_masked(spec.bounded(values))[:, window.kept]
    if predicted is None:
        return block, np.zeros((0, len(observations.COLUMNS)))
    ends = np.cumsum([each.size for each in likelihoods])[:-1]
    each = [
        observations.statistics(part._replace(likelihood=likelihood), guess, members, worst)
        for part, likelihood, guess, members in zip(
            parts, likelihoods, expected, np.split(predicted, ends, axis=1), strict=True
        )
    ]
    return block, np.reshape(each, (len(each), len(observations.COLUMNS)))


def _require_plausible(
    model: Model, values: npt.NDArray[np.float32], climatology: tuple[FloatArray, FloatArray], frames: xr.DataArray
) -> None:
    """Raise where an analysis is not finite, and warn where it leaves the climatology by far."""
    state = model.spec.state
    where = f"The analysis of the window that starts at {stamp(frames.values[0])}"
    remedy = (
        "Look at ds.slams.check(obs, model): errors of observations that are far too small and gross errors "
        "(with qc={'background_check': None} they are kept) are the likely causes."
    )
    if not np.isfinite(values).all():
        msg = f"{where} has values that are not finite. {remedy}"
        raise ObservationError(msg)
    mean, std = (a[:, : model.spec.state_channels] for a in climatology)
    low, high = observations.plausible_range(mean, std, state)
    out = np.any((values < low) | (values > high), axis=(0, 1, 3, 4)).tolist()
    channels = [v.name for v in state for _ in range(v.channels)]
    if names := list(dict.fromkeys(name for name, bad in zip(channels, out, strict=True) if bad)):
        warn(
            f"{where} is more than {observations.DEVIATIONS:g} standard deviations out of the climatology of the model "
            f"in {listed(names)}. {remedy}"
        )


def prepare(
    model: Model,
    sources: Sequence[BoundSource],
    background: BoundBackground | None,
    frames: xr.DataArray,
    climatology: tuple[FloatArray, FloatArray],
    gross: observations.GrossErrors,
    *,
    strict: bool,
    report: bool,
) -> tuple[list[AuditedLikelihood], list[observations.Expectation]]:
    """Build likelihoods and apply the quality control that needs the model.

    Parameters
    ----------
    model
        Trained model.
    sources, background
        What a window sees of observations and background.
    frames
        Times of its frames.
    climatology
        Mean and standard deviation of the fields at these times.
    gross
        Where gross errors are noted.
    strict
        Whether to raise and warn about observations of which nothing is left.
    report
        Whether expectations are wanted.

    Returns
    -------
    tuple of list
        Likelihood and audit of every variable of every source, those of the background last; and what is expected of
        them, empty where no one wants to know.
    """
    parts = [part for source in sources for part in source.audited(strict=strict)]
    given = [] if background is None else background.audited(strict=strict)
    parts = _with_variability(model, parts, domain_of(model.spec).season(frames))
    if not report and all(part.likelihood.background_check is None for part in [*parts, *given]):
        return [*map(observations.reduced, parts), *given], []
    from xslams.inference.arrays import observe_arrays

    bounds = observations.plausible_range(*climatology, model.spec.variables)
    given = [observations.gross_error_check(part, bounds, gross) for part in given]
    guess = observations.first_guess(*climatology, [part.likelihood for part in given])
    parts = [_without_gross_errors(model, part, climatology, bounds, gross, guess if given else None) for part in parts]
    if not report and all(part.likelihood.background_check in (None, "gross") for part in parts):
        return [*map(observations.reduced, parts), *given], []
    seen = [
        guess
        if part.likelihood.function is None
        else observe_arrays(model, part.likelihood.function, *guess, part.likelihood.name)
        for part in parts
    ]
    # Averages come after the check: a mean over good and bad values is no better than a bad one.
    checked = [
        observations.reduced(_checked(part, fields, strict=strict)) for part, fields in zip(parts, seen, strict=True)
    ]
    # The background is judged by climatology alone.
    judged = [*zip(checked, seen, strict=True), *((part, climatology) for part in given)]
    return [part for part, _ in judged], [observations.expectation(part.likelihood, *by) for part, by in judged]


def _with_variability(
    model: Model, parts: Sequence[AuditedLikelihood], fraction: FloatArray
) -> list[AuditedLikelihood]:
    """Derive representativeness errors from the variability of the model, where they are to be."""
    if all(part.likelihood.errors.subgrid is None for part in parts):
        return list(parts)
    from xslams.inference.arrays import variogram_arrays

    variogram = variogram_arrays(model, fraction)
    return [part._replace(likelihood=observations.with_variability(part.likelihood, variogram)) for part in parts]


def _without_gross_errors(
    model: Model,
    part: AuditedLikelihood,
    climatology: tuple[FloatArray, FloatArray],
    bounds: observations.PlausibleRange,
    gross: observations.GrossErrors,
    guess: tuple[FloatArray, FloatArray] | None,
) -> AuditedLikelihood:
    """Drop gross errors, where that is the check."""
    function = part.likelihood.function
    if part.likelihood.background_check != "gross" or not part.likelihood.size:
        return part
    if function is not None:
        from xslams.inference.arrays import observed_range_arrays

        reach = observed_range_arrays(model, function, *climatology, observations.DEVIATIONS, part.likelihood.name)
        return observations.gross_error_check(part, observations.PlausibleRange(*reach), gross)
    expected = None if guess is None else observations.expectation(part.likelihood, *guess)
    return observations.gross_error_check(part, bounds, gross, expected)


def _checked(part: AuditedLikelihood, fields: tuple[FloatArray, FloatArray], *, strict: bool) -> AuditedLikelihood:
    """Reject values that are too far from the first guess."""
    source = part.likelihood
    left = observations.background_check(part, observations.expectation(source, *fields))
    if strict and source.size and not left.likelihood.size:
        warn(
            f"Source {source.name!r}: all {source.size} values are further than {source.background_check} standard "
            "deviations from the first guess and are rejected. Check units and levels, or raise background_check=."
        )
    return left
