"""Curves that bring variables closer to a Gaussian, from training data: normal scores, see `xslams.transforms`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from xslams.errors import VariableError
from xslams.training.frames import sample
from xslams.transforms import knots_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.options import TrainingOptions
    from xslams.spec import Spec, VariableSpec
    from xslams.training.frames import Stretch

__all__ = ["can_have_scores", "with_normal_scores"]

# Bytes of frames that tell the distribution of a variable.
_BYTES = 64 * 2**20


def can_have_scores(variable: VariableSpec) -> bool:
    """Whether one curve can be that of a variable: levels have their own distributions."""
    return variable.channels == 1


def with_normal_scores(spec: Spec, runs: Sequence[Stretch], options: TrainingOptions) -> Spec:
    """Return the specification with the curves of those variables that options name.

    Parameters
    ----------
    spec, runs
        As for `xslams.training.fit_arrays`.
    options
        With the names of variables. One that has a curve keeps it, and one whose values are all the same needs none.

    Raises
    ------
    VariableError
        If there is no such variable, or it has levels.
    """
    known = {v.name: v for v in spec.variables}
    wrong = [n for n in options.normal_scores if n not in known or not can_have_scores(known[n])]
    if wrong:
        why = "has levels, each with its own distribution" if wrong[0] in known else f"is none of {list(known)}"
        msg = f"normal_scores names {wrong[0]!r}, which {why}. Name variables without levels."
        raise VariableError(msg)
    wanted = [n for n in options.normal_scores if not known[n].knots]
    if not wanted:
        return spec
    some = [fields for fields, _ in sample(runs, _BYTES)]
    for name in wanted:
        channel = spec.channel_slice(name)
        if knots := knots_of(np.concatenate([fields[:, channel].ravel() for fields in some])):
            known[name] = dataclasses.replace(known[name], transform="scores", knots=knots)
    return dataclasses.replace(spec, variables=tuple(known.values()))
