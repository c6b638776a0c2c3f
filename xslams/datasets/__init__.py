"""Public data sets, ready for ``obs=``: fetched once, checked, opened lazily, with clean metadata.

Every function takes the years and returns a Dataset. Its variables have a ``standard_name``, units that can be
converted, missing values as NaN, and the period that each value represents. Files are kept in the cache of the package,
whose location the environment variable ``XSLAMS_CACHE`` sets. The page on data sets lists addresses, licences and
mirrors.

Every module of this package registers its functions in `SOURCES`; those that are registered from outside are attributes
of this package as well.
"""

from collections.abc import Callable as _Callable
from importlib import import_module as _import_module
from pkgutil import iter_modules as _iter_modules
from typing import TYPE_CHECKING as _TYPE_CHECKING

from xslams.datasets.registry import SOURCES

if _TYPE_CHECKING:
    import xarray as _xr

    from xslams.datasets.chaosbench import era5_chaosbench
    from xslams.datasets.psl import cpc, ncep, noaa_olr
    from xslams.datasets.stations import uscrn

__all__ = ["SOURCES", "cpc", "era5_chaosbench", "ncep", "noaa_olr", "uscrn"]

# All modules, so that a new one is found without a change here.
for _module in _iter_modules(__path__):
    _import_module(f"{__name__}.{_module.name}")


def __getattr__(name: str) -> "_Callable[..., _xr.Dataset]":
    if name in SOURCES:
        return SOURCES[name]
    msg = f"module {__name__!r} has no attribute {name!r}; the data sets are {', '.join(SOURCES)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *SOURCES})
