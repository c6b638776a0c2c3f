"""Function forms of the accessor's methods: ``assimilate(ds, obs, ...)`` is ``ds.slams.assimilate(obs, ...)``.

Type checkers take ``ds.slams`` for Any, as xarray types accessors, but check every argument of these. Each is made from
the method, whose signature is the only one there is.

Examples
--------
>>> import xslams
>>> truth = xslams.open_tutorial().isel(time=slice(0, 2))
>>> xslams.score(truth["t"] + 1.0, truth["t"]).rmse.values.round(3).tolist()
[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import xarray as xr

from xslams.accessor import SlamsAccessor
from xslams.arguments import require

__all__ = ["assimilate", "check", "decode", "diagnose", "encode", "fit", "impact", "report", "score", "to_zarr"]

_Rest = ParamSpec("_Rest")
_Result = TypeVar("_Result")

_FIRST = """
ds : Dataset or DataArray
    What the method form is called on: ``{name}(ds, ...)`` is ``ds.slams.{name}(...)``.
"""


def _function(
    method: Callable[Concatenate[SlamsAccessor, _Rest], _Result],
) -> Callable[Concatenate[xr.Dataset | xr.DataArray, _Rest], _Result]:
    """Make the function form of a method: it takes the data first, and has the method's signature and documentation."""
    name = method.__name__

    @functools.wraps(method)
    def function(ds: xr.Dataset | xr.DataArray, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Result:
        require(isinstance(ds, xr.Dataset | xr.DataArray), "ds", ds, "a Dataset or a DataArray")
        return method(SlamsAccessor(ds), *args, **kwargs)

    signature = inspect.signature(method)
    first = inspect.Parameter("ds", inspect.Parameter.POSITIONAL_ONLY, annotation="xr.Dataset | xr.DataArray")
    rest = list(signature.parameters.values())[1:]
    function.__signature__ = signature.replace(parameters=[first, *rest])  # type: ignore[attr-defined]
    function.__module__, function.__qualname__ = __name__, name
    function.__doc__ = _documented(method.__doc__ or "", name)
    return function


def _documented(text: str, name: str) -> str:
    """Documentation of a method with the data as the first parameter; its examples, of the method form, stay there."""
    text = inspect.cleandoc(text).partition("\nExamples\n---")[0].rstrip()
    heading = "Parameters\n----------"
    first = heading + _FIRST.format(name=name)
    if heading in text:
        return text.replace(heading + "\n", first, 1)
    summary, _, rest = text.partition("\n\n")
    return f"{summary}\n\n{first}\n{rest}"


assimilate = _function(SlamsAccessor.assimilate)
check = _function(SlamsAccessor.check)
decode = _function(SlamsAccessor.decode)
diagnose = _function(SlamsAccessor.diagnose)
encode = _function(SlamsAccessor.encode)
fit = _function(SlamsAccessor.fit)
impact = _function(SlamsAccessor.impact)
report = _function(SlamsAccessor.report)
score = _function(SlamsAccessor.score)
to_zarr = _function(SlamsAccessor.to_zarr)
