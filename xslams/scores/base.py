"""The registry of scores: a decorated function joins those that ``analysis.slams.score(truth)`` computes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import xarray as xr

from xslams.registries import Registry
from xslams.scores.dimensions import MEMBER, space

__all__ = ["SCORES", "Score", "ScoreFunction", "register_score"]

_Function = TypeVar("_Function", bound="ScoreFunction")


class ScoreFunction(Protocol):
    """A score of one variable."""

    def __call__(
        self, analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None, /
    ) -> xr.DataArray:
        """Return the score of an analysis, averaged over `dims`, or by default over time and space."""
        ...


@dataclass(frozen=True)
class Score:
    """A score, and the analyses that have it.

    Attributes
    ----------
    function
        What computes it.
    ensemble
        Whether it needs two members or more.
    space
        Whether it needs space, and averages over all of it.
    """

    function: ScoreFunction
    ensemble: bool = False
    space: bool = False

    def suits(self, analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None) -> bool:
        """Whether an analysis has this score."""
        if self.ensemble and analysis.sizes.get(MEMBER, 0) < 2:
            return False
        horizontal = space(truth)
        return not self.space or bool(horizontal and (dims is None or set(horizontal) <= set(dims)))


SCORES: Registry[Score] = Registry("score")


def register_score(name: str, *, ensemble: bool = False, space: bool = False) -> Callable[[_Function], _Function]:
    """Return a decorator that makes a function one of the scores of ``analysis.slams.score(truth)``.

    Parameters
    ----------
    name
        Variable of the result.
    ensemble
        Whether the score needs two members or more; it is left out of the results of others.
    space
        Whether the score needs space, and averages over all of it.

    Examples
    --------
    >>> import xarray as xr
    >>> from xslams.scores import SCORES, register_score, score
    >>> @register_score("worst")
    ... def worst(analysis, truth, dims=None):
    ...     return abs(analysis - truth).max(dims)
    >>> x = xr.DataArray([0.0, 1.0], dims="time", name="x")
    >>> float(score(x + 0.5, x)["worst"])
    0.5
    >>> SCORES.unregister("worst")
    """

    def decorate(function: _Function) -> _Function:
        SCORES.register(name)(Score(function, ensemble, space))
        return function

    return decorate
