"""``analysis.slams.plot``: a plot by calling it, and every kind of plot by its name."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import xarray as xr

from xslams.plot.base import PLOTS, panels

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xslams.observations.observation import ObservationsLike

__all__ = ["Plotter"]


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

    def __call__(
        self,
        truth: xr.Dataset | xr.DataArray | None = None,
        obs: ObservationsLike | None = None,
        *,
        variable: Hashable | None = None,
        time: Any = None,
        level: float | None = None,
        kind: str = "auto",
        background: xr.Dataset | xr.DataArray | None = None,
        at: tuple[float, float] | None = None,
        row: Hashable | None = None,
        col: Hashable | None = None,
        col_wrap: int | None = None,
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Figure:
        """Draw truth, observations, analysis mean, error and spread: maps of one time, or series of a small system.

        Parameters
        ----------
        truth, obs, variable, time, level, kind, background, at, row, col, col_wrap, ax, figsize
            As in `xslams.plot.panels`.

        Returns
        -------
        Figure
            A matplotlib figure.
        """
        return panels(
            self._analysis, truth, obs, variable=variable, time=time, level=level, kind=kind, background=background,
            at=at, row=row, col=col, col_wrap=col_wrap, ax=ax, figsize=figsize,
        )  # fmt: skip

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        if name not in PLOTS:
            msg = f"There is no plot {name!r}; there are {', '.join(PLOTS.names)}."
            raise AttributeError(msg)

        def draw(truth: Any = None, obs: Any = None, **settings: Any) -> Figure:
            return self(truth, obs, kind=name, **settings)

        draw.__name__ = draw.__qualname__ = name
        draw.__doc__ = f"{PLOTS[name].draw.__doc__}\n\nThe arguments are those of `xslams.plot.panels` but ``kind``."
        return draw

    def __dir__(self) -> list[str]:
        return list(PLOTS.names)

    def __repr__(self) -> str:
        return f"<xslams plots: {', '.join(PLOTS.names)}>"
