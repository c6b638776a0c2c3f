"""``analysis.slams.plot``: a plot by calling it, and every kind of plot by its name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import xarray as xr

from xslams.plot.base import PLOTS, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plotter"]

_Rest = ParamSpec("_Rest")


def _of_an_analysis(
    function: Callable[Concatenate[xr.Dataset, _Rest], Figure],
) -> Callable[Concatenate[Plotter, _Rest], Figure]:
    """Make the method form of a plot: it has the function's arguments, and their types, but the analysis."""

    @functools.wraps(function)
    def call(self: Plotter, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Figure:
        return function(self._analysis, *args, **kwargs)

    call.__name__, call.__qualname__, call.__module__ = "__call__", "Plotter.__call__", __name__
    call.__doc__ = _documented(function, "analysis")
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    call.__signature__ = _signature(own, but=("analysis",))  # type: ignore[attr-defined]
    return call


def _signature(*first: inspect.Parameter, but: Sequence[str]) -> inspect.Signature:
    """Return the signature of `panels` without some arguments, and with others before them."""
    signature = inspect.signature(panels)
    return signature.replace(parameters=[*first, *(p for n, p in signature.parameters.items() if n not in but)])


def _documented(function: Callable[..., Figure], *but: str) -> str:
    said = inspect.cleandoc(function.__doc__ or "").partition("\n\nParameters\n")[0]
    without = " and ".join(f"``{name}``" for name in but)
    return f"{said}\n\nThe arguments are those of `xslams.plot.panels` but {without}."


class Plotter:
    """Plots of an analysis: ``plot(truth, obs)`` takes what suits it, ``plot.increment(background=...)`` one kind.

    Every kind is a method that takes the same arguments but ``kind``; ``dir(analysis.slams.plot)`` lists them.

    Parameters
    ----------
    analysis
        What is drawn.

    Examples
    --------
    >>> import xslams
    >>> [name for name in dir(xslams.open_tutorial().slams.plot) if name.startswith("s")]
    ['series', 'spectra', 'spread', 'spread_skill']
    """

    def __init__(self, analysis: xr.Dataset) -> None:
        self._analysis = analysis

    __call__ = _of_an_analysis(panels)

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        if name not in PLOTS:
            msg = f"There is no plot {name!r}; there are {', '.join(PLOTS.names)}."
            raise AttributeError(msg)

        def draw(truth: Any = None, obs: Any = None, **settings: Any) -> Figure:
            return self(truth, obs, kind=name, **settings)

        draw.__name__ = draw.__qualname__ = name
        draw.__doc__ = _documented(PLOTS[name].draw, "analysis", "kind")
        draw.__signature__ = _signature(but=("analysis", "kind"))  # type: ignore[attr-defined]
        return draw

    def __dir__(self) -> list[str]:
        return list(PLOTS.names)

    def __repr__(self) -> str:
        return f"<xslams plots: {', '.join(PLOTS.names)}>"
