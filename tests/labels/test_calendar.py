"""Times as numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from xslams.labels.calendar import time_labels, year_fraction


def test_year_fraction_and_labels_agree_between_kinds_of_time():
    numpy_time = xr.Dataset(coords={"time": pd.date_range("1999-12-30", periods=400, freq="36h")}).time
    cf_time = xr.Dataset(coords={"time": numpy_time}).convert_calendar("standard", use_cftime=True).time
    assert (time_labels(numpy_time) == time_labels(cf_time)).all()
    assert np.allclose(year_fraction(numpy_time), year_fraction(cf_time))
    fraction = year_fraction(numpy_time)
    assert ((fraction >= 0) & (fraction < 1)).all()


def test_times_before_the_epoch_and_beyond_nanoseconds():
    time = xr.DataArray(np.array(["0850-01-01T06", "1969-12-31T23"], "M8[s]"), dims="time")
    assert time_labels(time)[1] == -1
    assert time_labels(time)[0] % 24 == 6
