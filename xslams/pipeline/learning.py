"""Learn the observation operator of a source with a model that is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from xslams.errors import ObservationOptionError
from xslams.labels.calendar import on_time_axis, without_zones
from xslams.labels.coordinates import listed
from xslams.labels.valid_values import with_valid_values
from xslams.learned import LearnedOperator
from xslams.observations import Observation, learn_sources, learned_variables
from xslams.pipeline.held_out import held_out_factors
from xslams.zoo.pretrained import open_model

if TYPE_CHECKING:
    import os

    from xslams.model import Model

__all__ = ["learn_operator"]


def learn_operator(
    obs: Observation | xr.DataArray | xr.Dataset, state: xr.Dataset, model: Model | str | os.PathLike[str]
) -> LearnedOperator:
    """Learn what an instrument reports, given the state near it.

    For each place a linear function of the state around it is learned, of the frame of the value and its neighbours
    where these help, with bias and coefficients that depend on the season; a transform (for rain: whether, and how
    much) and the penalty on coefficients are chosen by blocks of 30 days that are left out in turn. What is left of
    these blocks gives the errors: their size by season, their correlation between places and from frame to frame. The
    operator is learned once more without some stretches of time, which are analysed: errors get the factor for which
    that analysis is best, as coefficients learned from few samples make it too sure (``record["inflation"]``).

    Parameters
    ----------
    obs
        A past of the source, of one variable, at places that stay: stations, cells of any grid. Gaps are NaN.
    state
        The state variables of the model in the same period, on its grid: a year at least, better several.
    model
        Model, name or path.

    Returns
    -------
    LearnedOperator
        For ``Observation(data, operator=...)``. Places of the data that it has not seen are left out with a warning.

    Raises
    ------
    CoverageError
        If source and state have no period in common, or no place has enough values.
    ObservationError, UnitError, DimensionError
        If the data cannot be understood.

    Examples
    --------
    >>> import numpy as np, xslams
    >>> ds = xslams.open_tutorial().isel(sigma=slice(0, 1))
    >>> gauges = ds["olr"].isel(lat=[20, 21], lon=[5, 6]).stack(site=("lat", "lon")).reset_index("site")
    >>> xslams.learn_operator(gauges, ds, "speedy-t30")  # doctest: +SKIP
    """
    source = obs if isinstance(obs, Observation) else Observation(obs)
    if source.error is not None or source.operator is not None:
        msg = f"Source {source.name!r}: error= and operator= are what is learned here; leave them out."
        raise ObservationOptionError(msg)
    names = learned_variables(source)
    if len(names) != 1:
        msg = f"Source {source.name!r} has {listed(names)}; an operator is learned for one. Choose: variable='name'."
        raise ObservationOptionError(msg)
    ds = on_time_axis(without_zones(with_valid_values(state)))
    model = open_model(model)
    _, (operator,) = held_out_factors([source], learn_sources([source], ds, model.spec), model, widen=False)
    return operator
