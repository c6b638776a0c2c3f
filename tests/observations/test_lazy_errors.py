"""What is wrong with errors that are lazy is told with the name of the source when they are read."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

import xslams
from tests.pipeline.test_assimilate import waves
from xslams.errors import ObservationError, ObservationOptionError

WHERE = ["error", "mapping", "dataset", "representativeness", "bias_error", "background_error", "background mapping"]


@pytest.mark.parametrize("bad", [-1.0, 0.0, 1e30])
@pytest.mark.parametrize("where", WHERE)
def test_values_out_of_range_are_found_when_they_are_computed(tiny_model, where, bad):
    if bad == 0.0 and not where.startswith("background"):
        pytest.skip("an error of zero is that of an exact observation")
    state = waves(2).chunk(time=1)
    values = np.where(np.arange(16) == 3, bad, 1.0)
    given = xr.DataArray(values, {"lon": state.lon}, ("lon",), attrs={"units": "K"}).chunk(lon=8)
    obs = xslams.Observation(state["t"] + 0.0, variable="t", error=1.0, name="soundings")
    changes = {
        "error": {"error": given},
        "mapping": {"error": {"t": given}},
        "dataset": {"error": given.to_dataset(name="t")},
        "representativeness": {"qc": {"representativeness": given}},
        "bias_error": {"qc": {"bias_error": given}},
    }
    obs = obs.replace(data=state["t"].assign_attrs(units="K"), **changes.get(where, {}))
    background = {"background_error": given, "background mapping": {"t": given}}.get(where)
    with dask.config.set(scheduler="sync"):
        named = r"background_error=|'background': " if background is not None else r"'soundings': "
        with pytest.raises(ObservationError, match=named) as caught:
            # Those of observations are spread over the data at the call, to tell whether they fit.
            state.slams.assimilate(obs, tiny_model, members=1, steps=2, background_error=background).compute()
    assert isinstance(caught.value, ObservationOptionError)
