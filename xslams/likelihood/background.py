"""How the errors of a background are correlated, as the torch side takes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from xslams.typing import FloatArray

__all__ = ["BackgroundCorrelation"]


@dataclass(frozen=True)
class BackgroundCorrelation:
    """Correlation of the errors of a background in the latent space of a model.

    Attributes
    ----------
    length
        Length of the correlation in space in km; None for the correlation of the model's prior.
    time
        Hours after which the correlation in time is 1 / e; None for the correlation of the model's prior.
    independent
        Share of the variance that is independent from latent to latent.
    localization
        For an ensemble, length in km over which its sample covariance is localised; None for one by its size.
    static
        For an ensemble, weight of the static covariance; None for one by its size.
    vertical
        Length of the correlation between levels; None for the correlation of the model.
    column
        The correlation between channels that follows from it, shape ``(channel, channel)``.
    increments
        Whether errors are like differences between two states of the prior, and depend on the truth as those do.
    distributed
        Whether what is stated for many values is their mean, and errors are larger where the climate varies more.
    """

    length: float | None = None
    time: float | None = None
    independent: float = 0.1
    localization: float | None = None
    static: float | None = None
    vertical: float | None = None
    column: FloatArray | None = field(default=None, compare=False)
    increments: bool = False
    distributed: bool = False
