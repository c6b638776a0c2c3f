"""Errors of learned operators and spread of the prior, by analyses of frames of which operators have learned nothing.

Some stretches of the past are hidden, the operators learned again from the rest, and the hidden frames analysed from
the sources, exactly, under the Gaussian prior of the model; then others are hidden. See `xslams.likelihood.held_out`
for why and how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.labels.domain import domain_of
from xslams.likelihood import ErrorModel, SourceLikelihood
from xslams.likelihood.held_out import HeldOut, inflations, widened
from xslams.observations import with_learned
from xslams.pipeline.windows import AnalysisWindow, contiguous

if TYPE_CHECKING:
    from xslams.learned import LearnedOperator
    from xslams.model import Model
    from xslams.observations import BoundSource, Lessons, Observation

__all__ = ["held_out_factors"]

# Stretches that are hidden together, frames of each, and frames beside them that are hidden, too; of these stretches as
# many as hide no more than a share of the past.
_STRETCHES, _LENGTH, _BESIDE, _SHARE = 24, 5, 3, 0.2
# Where in equal parts of the past those of each turn lie: the errors of stretches differ by a third, and with those of
# a single turn chance decides.
_TURNS = (0.5, 0.17, 0.83)
# Without so many stretches there is no evidence.
_FEWEST = 3
# Values of a stretch, and cells of the state at its middle frames. Where frames have more numbers than the last, a
# stretch has fewer values, and there is one turn: each value takes a product with the covariance of the prior.
_VALUES, _CELLS, _FEW, _LARGE = 1200, 150, 400, 10_000


def held_out_factors(
    sources: Sequence[Observation], lessons: Lessons, model: Model, *, widen: bool
) -> tuple[float, tuple[LearnedOperator, ...]]:
    """Return the factor of the spread of the prior, and operators, with which analyses of held-out frames are best.

    Parameters
    ----------
    sources
        What was learned from.
    lessons
        What was learned.
    model
        The model. Operators of one whose prior has no covariance stay as they are, as do those of a short past.
    widen
        Whether the prior may be widened, too; else the factor is 1.
    """
    operators = lessons.operators
    groups = {key: n for n, key in enumerate(dict.fromkeys(map(_group, operators)))}
    samples = _samples(sources, lessons, model, groups)
    if len(samples) < _FEWEST:
        return 1.0, operators
    factor, factors = widened(samples, len(groups)) if widen else (1.0, inflations(samples, len(groups)))
    return factor, tuple(one.with_inflation(float(factors[groups[_group(one)]])) for one in operators)


def _samples(sources: Sequence[Observation], lessons: Lessons, model: Model, groups: dict[str, int]) -> list[HeldOut]:
    """Values and state of stretches that were hidden in turn; none where there is no evidence."""
    from xslams.inference.innovations import knows_covariance

    samples: list[HeldOut] = []
    turns = _TURNS[:1] if _is_large(lessons) else _TURNS
    for turn in turns if knows_covariance(model) else ():
        stretches = _stretches(lessons.states.number, turn)
        if len(stretches) < _FEWEST:
            return []
        hidden = np.zeros(len(lessons.states.season), bool)
        for stretch in stretches:
            hidden[max(stretch.start - _BESIDE, 0) : stretch.stop + _BESIDE] = True
        known = with_learned(sources, lessons.without(hidden))
        bound = [source.bind(model.spec, lessons.frames) for source in known]
        found = [_sample(model, bound, lessons, stretch, groups) for stretch in stretches]
        samples += [sample for sample in found if sample is not None]
    return samples


def _is_large(lessons: Lessons) -> bool:
    return int(np.prod(lessons.states.frame_shape)) > _LARGE


def _group(operator: LearnedOperator) -> str:
    """Name what has one inflation: sources whose errors are correlated, else a source of its own."""
    return operator.errors.link or operator.name


def _stretches(number: npt.NDArray[np.floating], turn: float) -> list[AnalysisWindow]:
    """Stretches of frames to analyse, spread evenly over the past, others each turn."""
    whole = _LENGTH + 2 * _BESIDE
    count = min(_STRETCHES, int(_SHARE * number.size / whole))
    places = [start + _BESIDE for run in contiguous(number) for start in range(run.start, run.stop - whole + 1, whole)]
    chosen = [places[int((i + turn) * len(places) / count)] for i in range(count)] if len(places) >= count else []
    return [AnalysisWindow(start, start + _LENGTH, start, start + _LENGTH) for start in chosen]


def _sample(
    model: Model, bound: Sequence[BoundSource], lessons: Lessons, stretch: AnalysisWindow, groups: dict[str, int]
) -> HeldOut | None:
    """Values and state of a stretch; None where there is no value."""
    from xslams.inference.innovations import innovation_arrays

    parts: list[SourceLikelihood] = []
    which: list[int] = []
    for source in bound:
        seen = source.within(stretch)
        for variable, part in zip(seen.variables, seen.audited(strict=False), strict=True):
            likelihood = part.likelihood
            if likelihood.size and variable.learned is not None:
                parts.append(likelihood)
                which.append(groups[_group(variable.learned)])
    total = sum(part.size for part in parts)
    if not total:
        return None
    most = _FEW if _is_large(lessons) else _VALUES
    if total > most:
        every = -(-total // most)
        parts = [part.keep(np.arange(part.size) % every == 0) for part in parts]
    target = _target(model, lessons, stretch)
    season = domain_of(model.spec).season(lessons.frames.time[stretch.start : stretch.stop])
    innovation, covariance, decoder = innovation_arrays(model, [*parts, target], season)
    n = len(innovation) - target.size
    group = np.repeat(np.array(which, np.intp), [part.size for part in parts])
    error = np.diag(decoder[:n])
    for number in np.unique(group):
        own = ErrorModel.joined([p.errors for p, g in zip(parts, which, strict=True) if g == number])
        where, std = np.flatnonzero(group == number), np.sqrt(own.instrument)
        matrix = np.eye(len(std)) if own.correlation is None else own.correlation.matrix()
        error[np.ix_(where, where)] += std[:, None] * matrix * std
    return HeldOut(
        innovation[:n], covariance[:n, :n], error, group, innovation[n:], np.diag(covariance)[n:] + decoder[n:],
        covariance[n:, :n],
    )  # fmt: skip


def _target(model: Model, lessons: Lessons, stretch: AnalysisWindow) -> SourceLikelihood:
    """Take the state at some cells of the middle frames of a stretch, as if it were observed without error."""
    shape = stretch.stop - stretch.start, *lessons.states.frame_shape
    fields = lessons.states.fields[stretch.start : stretch.stop]
    within = np.zeros(shape, bool)
    third = shape[0] // 3
    within[third : shape[0] - third, : fields.shape[1]] = True
    columns = np.flatnonzero(within)
    # A stride that shares no factor with the rows of the grid would see other cells in each frame; a sample does, too.
    columns = np.random.default_rng(0).permutation(columns)[:_CELLS]
    values = np.zeros(shape)
    values[:, : fields.shape[1]] = fields
    rows = sp.csr_array((np.ones(columns.size), (np.arange(columns.size), columns)), (columns.size, values.size))
    return SourceLikelihood("state", rows, values.ravel()[columns], ErrorModel(np.zeros(columns.size)))
