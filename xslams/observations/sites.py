"""Where the values of a source at fixed places lie, and on which frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.labels.coordinates import coordinate
from xslams.likelihood import SourceLikelihood
from xslams.observations.audit import AuditedLikelihood
from xslams.observations.bound_variable import BoundVariable
from xslams.observations.place_values import place_keys
from xslams.observations.superob import combined
from xslams.typing import FloatArray

__all__ = ["Sites", "one_of_each_frame", "sites_of"]

# Places are the same within a thousandth of a degree, as in `xslams.observations.place_values`.
_DECIMALS = 3


@dataclass(frozen=True, eq=False)
class Sites:
    """Place and first frame of each value, shape (n,).

    Attributes
    ----------
    lat, lon
        In degrees, the same numbers for the same place.
    frame
        First frame that the value sees.
    """

    lat: FloatArray
    lon: FloatArray
    frame: npt.NDArray[np.intp]

    @property
    def key(self) -> npt.NDArray[np.int64]:
        """Whole number of the place of each value, see `xslams.observations.place_values.place_keys`."""
        return place_keys(self.lat, self.lon)

    def keep(self, chosen: npt.NDArray[np.bool_]) -> Sites:
        """Sites of some of the values."""
        return Sites(self.lat[chosen], self.lon[chosen], self.frame[chosen])


def sites_of(variable: BoundVariable, part: AuditedLikelihood, most: int) -> Sites | None:
    """Sites of the values of a variable; None where these are averaged, or places have several levels or are many.

    Parameters
    ----------
    variable
        Variable of a source.
    part
        Its values.
    most
        Number of places up to which they are asked for.
    """
    values, elements = variable.values, part.audit.elements
    lat, lon, level = (coordinate(values, kind) for kind in ("lat", "lon", "level"))
    if elements is None or lat is None or lon is None or (level is not None and values[level].size > 1):
        return None
    stamps = variable.stamps
    if set(values.dims) - {*values[lat].dims, *values[lon].dims, *stamps.dims}:
        return None
    fixed = {*values[lat].dims, *values[lon].dims} - set(stamps.dims)
    if not elements.size or prod(values.sizes[d] for d in fixed) > most:
        return None
    at = dict(zip(values.dims, np.unravel_index(elements, values.shape), strict=True))
    where = [np.asarray(values[c].values, float)[tuple(at[d] for d in values[c].dims)] for c in (lat, lon)]
    number = np.ravel_multi_index(tuple(at[d] for d in stamps.dims), stamps.shape) if stamps.dims else 0 * elements
    north, east = np.round(where[0], _DECIMALS) + 0.0, np.round(where[1] % 360.0, _DECIMALS) % 360.0
    sites = Sites(north, east, variable.match.first[number])
    return sites if np.unique(sites.key).size <= most else None


def one_of_each_frame(part: SourceLikelihood, sites: Sites) -> tuple[SourceLikelihood, Sites]:
    """Means of the values of one place that see the same first frame.

    Their errors are those of single values: what is left is to find the errors that means have.

    Parameters
    ----------
    part
        Values.
    sites
        Where they lie.

    Examples
    --------
    >>> from xslams.likelihood import ErrorModel
    >>> three = SourceLikelihood("a", sp.csr_array(np.eye(3)), np.arange(3.0), ErrorModel(np.ones(3)))
    >>> sites = Sites(np.zeros(3), np.zeros(3), np.array([0, 0, 1]))
    >>> one_of_each_frame(three, sites)[0].values
    array([0.5, 2. ])
    """
    member = combined(sites.key, sites.frame)
    _, first, count = np.unique(member, return_index=True, return_counts=True)
    if count.size == member.size:
        return part, sites
    mean = sp.csr_array((1.0 / count[member], (member, np.arange(member.size))))
    chosen = np.zeros(member.size, bool)
    chosen[first] = True
    order = member[chosen]  # means are numbered by place, values are in the order of the data
    kept = part.keep(chosen)
    rows = sp.csr_array(mean @ part.matrix)[order]
    return replace(kept, matrix=rows, values=(mean @ part.values)[order]), sites.keep(chosen)
