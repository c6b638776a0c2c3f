"""Values that lie so far out of the climatology, and of the background, that they are no measurements.

The limit is generous, `DEVIATIONS` standard deviations, since it is there for values that were never measured: fill
values, other units, broken bits. A value is dropped if it is out of the range of the climatology and, where there is a
background, also too far from the first guess. What a variable with a transform can reach is told in the space of the
transform, by the largest spread of all cells: rain falls in deserts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xslams.errors import Occasion, warn
from xslams.observations.audit import AuditedLikelihood
from xslams.observations.background_check import Expectation
from xslams.spec import VariableSpec
from xslams.transforms import from_scores, from_square_root, scores, square_root, square_root_slope
from xslams.typing import FloatArray

__all__ = ["DEVIATIONS", "GrossErrors", "PlausibleRange", "gross_error_check", "plausible_range"]

#: Standard deviations from the climatology beyond which a value is a gross error.
DEVIATIONS = 20.0


class PlausibleRange(NamedTuple):
    """Lowest and highest values that fields may have, of one shape."""

    low: FloatArray
    high: FloatArray


class GrossErrors:
    """Gross errors of all sources that were dropped, to warn of each source once, whatever its windows.

    Parameters
    ----------
    occasion
        The analysis, where other tasks look at other windows of it; the first that finds some warns for all.

    Examples
    --------
    >>> found = GrossErrors()
    >>> found.add("gauges", np.array([-9999.0]), 40)
    >>> found.add("gauges", np.array([1e20, 1e20]), 40)
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     found.warn()
    >>> [str(w.message).partition(" are more")[0] for w in caught]
    ["Source 'gauges': 3 of 80 values, from -9999 to 1e+20 in units of the model,"]
    """

    def __init__(self, occasion: Occasion | None = None) -> None:
        self.occasion = occasion
        self._dropped: dict[str, list[float]] = {}
        self._checked: dict[str, int] = {}

    def add(self, source: str, dropped: FloatArray, checked: int) -> None:
        """Count the values of a source that were dropped, of as many as were checked."""
        self._checked[source] = self._checked.get(source, 0) + checked
        if dropped.size:
            count, low, high = self._dropped.get(source, [0, np.inf, -np.inf])
            self._dropped[source] = [count + dropped.size, min(low, dropped.min()), max(high, dropped.max())]

    def warn(self) -> None:
        """Warn of every source that had gross errors."""
        for source, (count, low, high) in self._dropped.items():
            reach = f"from {low:g} to {high:g}" if low < high else f"{low:g}"
            text = (
                f"Source {source!r}: {count} of {self._checked[source]} values, {reach} in units of the model, are "
                f"more than {DEVIATIONS:g} standard deviations out of the climatology and are dropped as gross errors. "
                "Check units and missing values; qc={'background_check': None} keeps them."
            )
            if self.occasion is None:
                warn(text)
            else:
                more = " These are those of one analysis window; ds.slams.check(obs, model) counts those of all."
                self.occasion.warn(source, text + more)


def plausible_range(
    mean: FloatArray, std: FloatArray, variables: Sequence[VariableSpec], deviations: float = DEVIATIONS
) -> PlausibleRange:
    """Range of fields, by their climatology.

    Parameters
    ----------
    mean, std
        Climatology and its standard deviation, shape ``(time, channel, lat, lon)``.
    variables
        What the channels are; all of a model, or the first of them.
    deviations
        Standard deviations on either side.

    Examples
    --------
    >>> one = np.ones((1, 1, 1, 1))
    >>> [float(v.item()) for v in plausible_range(280 * one, one, [VariableSpec("t", "K")])]
    [260.0, 300.0]
    >>> rain = VariableSpec("pr", "mm day-1", transform="sqrt", scale=2.0)
    >>> [round(float(v.item())) for v in plausible_range(0 * one, 4 * one, [rain])]
    [-880, 880]
    """
    mean, std = mean.astype(float), std.astype(float)
    low, high = mean - deviations * std, mean + deviations * std
    first = 0
    for variable in variables:
        own = np.s_[:, first : first + variable.channels]
        first += variable.channels
        if variable.transform == "sqrt":
            u = square_root(mean[own], variable.scale)
            reach = deviations * float(np.max(std[own] / square_root_slope(u, variable.scale), initial=0.0))
            for bound, v in ((low, u - reach), (high, u + reach)):
                bound[own] = from_square_root(v, variable.scale)
        if variable.transform == "scores":
            # Scores have a standard deviation of one.
            u = scores(mean[own], variable.knots)
            for bound, v in ((low, u - deviations), (high, u + deviations)):
                bound[own] = from_scores(v, variable.knots)
    return PlausibleRange(low, high)


def gross_error_check(
    part: AuditedLikelihood, fields: PlausibleRange, found: GrossErrors, expected: Expectation | None = None
) -> AuditedLikelihood:
    """Drop gross errors.

    Parameters
    ----------
    part
        Observations; returned as they are where their check is another one or none.
    fields
        Range of what the rows act on.
    found
        Where those that are dropped, and are of this window, are noted.
    expected
        What the first guess expects, where there is a background; values near it are kept.

    Returns
    -------
    AuditedLikelihood
        Those that are left.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from xslams.likelihood import ErrorModel, SourceLikelihood
    >>> from xslams.observations.audit import Audit
    >>> rows, errors = sp.csr_array(np.eye(2)), ErrorModel(np.ones(2))
    >>> source = SourceLikelihood("a", rows, np.array([1.0, 15.0]), errors, background_check="gross")
    >>> part = AuditedLikelihood(source, Audit(2, owned=np.ones(2, bool)))
    >>> gross_error_check(part, PlausibleRange(np.full(2, -9.0), np.full(2, 9.0)), GrossErrors()).likelihood.size
    2
    """
    source = part.likelihood
    if source.background_check != "gross" or not source.size:
        return part
    low, high = (np.nan_to_num(v.ravel().astype(float), nan=0.0) for v in fields)
    unknown = abs(source.matrix) @ np.isnan(fields.low + fields.high).ravel().astype(float) > 0
    up, down = source.matrix.maximum(0), source.matrix.minimum(0)
    variance = source.errors.total.astype(float)
    slack = DEVIATIONS * np.sqrt(variance)
    good = (source.values >= up @ low + down @ high - slack) & (source.values <= up @ high + down @ low + slack)
    good |= unknown
    if expected is not None:
        near = DEVIATIONS * np.sqrt(variance + expected.std.astype(float) ** 2)
        good |= np.abs(source.values - expected.mean) <= near
    own = part.audit.owned
    found.add(source.name, source.values[~good & own], int(own.sum()))
    return part if good.all() else part.keep(good, "background")
