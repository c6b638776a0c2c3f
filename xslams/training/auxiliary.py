"""Whether auxiliary variables help: what their observations make of the state in frames that were held out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xslams.errors import warn
from xslams.training.frames import SomeChannels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xslams.spec import Spec
    from xslams.training.evidence import Scores
    from xslams.training.frames import Stretch

__all__ = ["Benefit", "harmful", "without"]

# Standard errors beyond which a variable is not kept: less often than once in forty times by chance.
_CLEARLY = 2.0


@dataclass(frozen=True)
class Benefit:
    """By how much observations of a variable lower the CRPS of the state on held-out cases.

    Attributes
    ----------
    gain, error
        Relative to the CRPS of the climatology, and its standard error.

    Examples
    --------
    >>> Benefit(-0.02, 0.005).harmful
    True
    """

    gain: float
    error: float

    @classmethod
    def of(cls, with_it: Scores, without: Scores) -> Benefit:
        """Compare the same cases with and without observations of the variable."""
        gain = ((without.crps - with_it.crps).mean(1) / with_it.climatology.mean()).double()
        return cls(float(gain.mean()), float(gain.std() / len(gain) ** 0.5) if len(gain) > 1 else math.inf)

    @property
    def harmful(self) -> bool:
        """Whether the observations raise the CRPS by more than chance would."""
        return self.gain < -_CLEARLY * self.error

    def to_record(self) -> dict[str, float]:
        """Return what the header of a model file holds."""
        return {"gain": round(self.gain, 5), "error": round(self.error, 5)}


def harmful(benefits: Mapping[str, Benefit]) -> list[str]:
    """Names of the auxiliary variables whose observations raise the error of the state, with a warning.

    Parameters
    ----------
    benefits
        Of auxiliary variables by name.
    """
    names = [name for name, benefit in benefits.items() if benefit.harmful]
    if names:
        warn(
            f"Auxiliary variables are left out of the model: {', '.join(names)}. Their observations raise the error of "
            "the state in frames that were held out; see model.spec.scores['auxiliary']. Look at their quality, units "
            "and times, or train with budget=0 to keep them."
        )
    return names


def without(spec: Spec, runs: Sequence[Stretch], names: Sequence[str]) -> tuple[Spec, Sequence[Stretch]]:
    """Leave variables out.

    Parameters
    ----------
    spec, runs
        As for `xslams.training.fit_arrays`.
    names
        Variables to leave out.
    """
    if not names:
        return spec, runs
    left = [v for v in spec.variables if v.name not in names]
    kept = np.concatenate([np.arange(spec.channels)[spec.channel_slice(v.name)] for v in left])
    return dataclasses.replace(spec, variables=tuple(left)), [(SomeChannels(f, kept), season) for f, season in runs]
