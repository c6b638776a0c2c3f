"""All observations of a stretch of frames, as guidance takes them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.inference.decoder_errors import completed
from xslams.inference.guidance import Observed
from xslams.inference.latent_background import LatentBackground
from xslams.inference.magnitudes import require_solvable
from xslams.inference.operators import FieldOperator, FunctionOperator
from xslams.inference.robust import BlockErrors, observation_errors
from xslams.inference.stacked import StackedOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from xslams.inference.noise import KeyedNoise
    from xslams.likelihood import SourceLikelihood
    from xslams.model import Model
    from xslams.priors.base import Prior
    from xslams.priors.fields import FieldMap

__all__ = ["ObservedFrames"]

# Numbers of the draws of noise that disturb observations and a background.
_OF_VALUES, _OF_BACKGROUND = 1, 2


@dataclass(frozen=True)
class ObservedFrames:
    """All observations of a stretch of frames, and where they are among those of all sources.

    Attributes
    ----------
    all
        All of them as guidance takes them.
    columns
        Positions of the values among those of all sources in the order in which they were given.
    seen
        What latents ``(B, L, *latent)`` say of all values, for reports: of a background as well whose errors are
        correlated, which guidance sees as latents.
    sources
        Those of the values, without a background that guidance sees as latents.
    length
        Number of frames.
    background
        Whether guidance sees a background as latents.
    """

    all: Observed
    columns: npt.NDArray[np.intp]
    seen: Callable[[Tensor], Tensor]
    sources: Sequence[SourceLikelihood]
    length: int
    background: bool

    @classmethod
    def of(
        cls, prior: Prior, fields: FieldMap, sources: Sequence[SourceLikelihood], model: Model, rest: Tensor
    ) -> ObservedFrames:
        """Put sources together; functions of users come last, since what is linear is one operator.

        At `rest`, a trajectory of latents that are zero, fields are the climatology.
        """
        order = sorted(
            (i for i, s in enumerate(sources) if len(s.values)), key=lambda i: sources[i].function is not None
        )
        present = completed(fields, [sources[i] for i in order], model.spec.variables)
        operator = _operator(fields, present, model)
        with torch.no_grad():
            require_solvable(present, operator(rest)[0].cpu().numpy())
        positions = _columns(sources)
        columns = np.concatenate([positions[i] for i in order])
        others = [s for s in present if s.background is None]
        background = len(others) < len(present)
        if background:
            seen = _with_background(prior, fields, present, model, rest)
        else:
            errors, robust = observation_errors(present, operator.variance)
            seen = Observed(operator.y, operator, errors, robust)
        return cls(seen, columns, operator, others, rest.shape[1], background)

    @cached_property
    def _keys(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint64]]:
        """First frame that each value of the sources sees, and a number that tells those of a frame apart."""
        frames = [source.first_frame(self.length) for source in self.sources]
        names = [source.identity(frame, self.length) for source, frame in zip(self.sources, frames, strict=True)]
        return np.concatenate(frames), np.concatenate(names)

    def noise(self, noise: KeyedNoise) -> Tensor:
        """Return standard normal noise for all values as guidance sees them, shape ``(B, n)``.

        That of a value does not depend on other values, and stretches that overlap agree about it.
        """
        parts = [noise.of_values(*self._keys, _OF_VALUES)] if self.sources else []
        if self.background:
            parts.append(noise(_OF_BACKGROUND).flatten(1))
        return torch.cat(parts, dim=1)


def _with_background(
    prior: Prior, fields: FieldMap, present: Sequence[SourceLikelihood], model: Model, rest: Tensor
) -> Observed:
    """Observations, and a background as an observation of latents."""
    others = [s for s in present if s.background is None]
    with torch.no_grad():
        background = LatentBackground(prior, model.spec, fields, [s for s in present if s.background is not None], rest)
    if not others:
        return Observed(background.y, background, background.errors)
    operator = _operator(fields, others, model)
    errors, robust = observation_errors(others, operator.variance)
    both = StackedOperator([operator.y, background.y], [operator, background], [errors, background.errors])
    reweight = None if robust is None else BlockErrors(both.cov_y, [robust, None])
    return Observed(both.y, both, both.cov_y, reweight)


class _Stacked(StackedOperator):
    """Operators of several sources, with the variances of their independent errors."""

    def __init__(self, operators: Sequence[FieldOperator | FunctionOperator]) -> None:
        super().__init__([o.y for o in operators], list(operators), [o.variance for o in operators])
        self.variance = torch.cat([o.variance for o in operators])


def _operator(
    fields: FieldMap, sources: Sequence[SourceLikelihood], model: Model
) -> FieldOperator | FunctionOperator | _Stacked:
    """All sources as one operator; those with a function come last."""
    linear = [s for s in sources if s.function is None]
    operators: list[FieldOperator | FunctionOperator] = [FieldOperator(fields, linear)] if linear else []
    variables = model.spec.variables
    operators += [FunctionOperator(fields, s, variables) for s in sources if s.function is not None]
    return operators[0] if len(operators) == 1 else _Stacked(operators)


def _columns(sources: Sequence[SourceLikelihood]) -> list[npt.NDArray[np.intp]]:
    """Positions of the values of each source among those of all."""
    ends = np.cumsum([0, *(s.values.size for s in sources)])
    return [np.arange(a, b) for a, b in itertools.pairwise(ends)]
