"""Errors of sources for which none are given: those of largest likelihood of their innovations under the prior.

A bounded sample is looked at, see `xslams.pipeline.innovation_samples`. Each source has one error, or, where its places
differ beyond chance, each place has an error and a bias of its own, see `xslams.likelihood.place_errors`. Numbers are
rounded to three digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xslams import observations
from xslams.errors import ObservationError, warn
from xslams.likelihood.innovations import error_variances
from xslams.likelihood.place_errors import PlaceErrors, place_errors
from xslams.observations import PlaceValues
from xslams.pipeline.innovation_samples import Network, read_samples

if TYPE_CHECKING:
    from xslams.labels.frames import Frames
    from xslams.model import Model
    from xslams.observations import Observation

__all__ = ["Estimated", "with_errors"]


@dataclass(frozen=True)
class Estimated:
    """An error that was estimated.

    Attributes
    ----------
    source, variable
        Name of the source, and of its variable.
    error
        Standard deviation; of places that differ, one for each, and for other places.
    bias
        Bias of each place; None where places do not differ, or may have none.
    units
        Its units.
    """

    source: str
    variable: str
    error: float | PlaceValues
    bias: PlaceValues | None
    units: str

    def __str__(self) -> str:
        if not isinstance(self.error, PlaceValues):
            return f"{self.source}: {self.variable} {self.error:g} {self.units}"
        low, high = np.min(self.error.values), np.max(self.error.values)
        text = f"{self.source}: {self.variable} {low:g} to {high:g} {self.units} at {self.error.values.size} places"
        if self.bias is None:
            return text
        return f"{text}, without biases of {np.min(self.bias.values):g} to {np.max(self.bias.values):g} {self.units}"


def with_errors(
    given: Sequence[Observation], model: Model, frames: Frames, time: xr.DataArray
) -> tuple[list[Observation], list[Estimated]]:
    """Give errors to sources that have none.

    Parameters
    ----------
    given
        Sources as the user gave them.
    model
        The model.
    frames
        Frames of the analysis.
    time
        Their times as dates, shape (time,).

    Returns
    -------
    tuple of list
        Sources with errors, and what was estimated; the sources as they are where the prior has no covariance.

    Raises
    ------
    ObservationError
        If there are too few values, an operator makes them, or ``error="auto"`` is asked of such a prior.

    Warns
    -----
    SlamsWarning
        Of the errors that were taken where a user gave none.
    """
    bare = [s for s in given if observations.lacks_errors(s)]
    if not bare:
        return list(given), []
    from xslams.inference.innovations import knows_covariance

    if not knows_covariance(model):
        if asked := [s.name for s in bare if s.error == "auto"]:
            msg = (
                f"Source {asked[0]!r}: error='auto' needs the covariance of a Gaussian prior, which the model "
                f"{model.spec.name!r} does not have. Give the standard deviation: error=..."
            )
            raise ObservationError(msg)
        return list(given), []
    bound = [(s.replace(error=1.0) if s in bare else s).bind(model.spec, frames) for s in given]
    unknown = [(i, v.name) for i, s in enumerate(given) if s in bare for v in bound[i].variables]
    samples = read_samples(model, bound, unknown, time)
    variances = error_variances(samples.pooled, len(unknown))
    biased = np.array([given[i].qc.bias is None and given[i].qc.bias_error is None for i, _ in unknown])
    told = None
    if samples.network is not None:
        network = samples.network
        told = place_errors(network.samples(variances), network.source, network.at, variances, biased)
    estimates = []
    for n, (i, name) in enumerate(unknown):
        units = next(str(v.values.attrs.get("units", "")) for v in bound[i].variables if v.name == name)
        # The mean of values of one place and frame counts as one value, and that of independent errors is smaller.
        inflation = float(np.sqrt(samples.repeats[n]))
        error: float | PlaceValues = _rounded(inflation * np.sqrt(variances[n]))
        bias = None
        if samples.network is not None and told is not None and told.told[n]:
            error, bias = _of_places(samples.network, told, n, inflation, units)
        estimates.append(Estimated(given[i].name, name, error, bias, units))
    if unasked := [e for e, (i, _) in zip(estimates, unknown, strict=True) if given[i].error is None]:
        warn(
            f"No error= is given; taken from the innovations under the model's climatology: "
            f"{'; '.join(map(str, unasked))}. Give error=, or calibrate the source where the truth is known: "
            "xslams.Observation(data).calibrated(truth)."
        )
    out = list(given)
    for n in {i for i, _ in unknown}:
        mine = [e for e, (i, _) in zip(estimates, unknown, strict=True) if i == n]
        biases = {e.variable: e.bias for e in mine if e.bias is not None}
        qc = replace(given[n].qc, bias=biases) if biases else given[n].qc
        out[n] = given[n].replace(error={e.variable: e.error for e in mine}, qc=qc)
    return out, estimates


def _of_places(
    network: Network, told: PlaceErrors, n: int, inflation: float, units: str
) -> tuple[PlaceValues, PlaceValues | None]:
    """Errors of the places of one source, and their biases if there are any."""
    mine = network.source == n
    lat, lon = network.lat[mine], network.lon[mine]
    error = np.array([_rounded(v) for v in inflation * np.sqrt(told.variance[mine])])
    elsewhere = _rounded(inflation * np.sqrt(told.elsewhere[n]))
    # Digits beyond a hundredth of the error say nothing.
    digits = 2 - int(np.floor(np.log10(elsewhere)))
    bias = np.round(told.bias[mine], digits) + 0.0
    errors = PlaceValues(None, lat, lon, error[None], np.array([elsewhere]), units)
    return errors, PlaceValues(None, lat, lon, bias[None], np.zeros(1), units) if bias.any() else None


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
