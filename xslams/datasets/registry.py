"""The registry of data sets: functions register with a decorator, in this package or from outside.

Such a function takes the years and options, and returns a lazy Dataset that ``obs=`` accepts: every variable has a
``standard_name``, ``cell_methods`` and units that can be converted; missing values are NaN and coordinates are ordered.
`xslams.datasets.cache` fetches and keeps the files. A new module of this package that registers a function needs no
other change: the function becomes ``xslams.datasets.NAME``.
"""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from xslams.registries import Registry

__all__ = ["SOURCES"]

#: Functions that return data sets, by name.
SOURCES: Registry[Callable[..., xr.Dataset]] = Registry("data set")
