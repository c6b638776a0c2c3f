"""Coastlines: finer ones through cartopy where its files are at hand, else the outline that is shipped.

The outline is the land of Natural Earth (version 4.1, 1:110 million), which is in the public domain, as lines in
hundredths of a degree. Nothing is ever downloaded to draw a map.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from xslams.typing import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["coastlines", "draw_coasts"]

_END = 32767  # stands between two lines
# Maps that are narrower than this, in degrees, show more than the shipped outline has.
_NARROW = 60.0


def coastlines(width: float = 360.0) -> list[FloatArray]:
    """Lines of the coasts of the world.

    Parameters
    ----------
    width
        Width of the map in degrees; narrow ones get finer lines, where cartopy has them on this machine.

    Returns
    -------
    list of ndarray
        Longitudes, from -180 to 180, and latitudes of each line, shape (n, 2); no line jumps across a map.

    Examples
    --------
    >>> lines = coastlines()
    >>> bool(len(lines) > 100 and max(abs(np.diff(line[:, 0])).max() for line in lines) < 30.0)
    True
    """
    return list((_from_cartopy() if width < _NARROW else ()) or _shipped())


@lru_cache(maxsize=1)
def _shipped() -> tuple[FloatArray, ...]:
    with (
        files("xslams").joinpath("data/coastline.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as data,
    ):
        points = data["hundredths"]
    ends = np.flatnonzero(points[:, 0] == _END)
    return tuple(part[part[:, 0] != _END] / 100.0 for part in np.split(points, ends) if len(part) > 2)


@lru_cache(maxsize=1)
def _from_cartopy() -> tuple[FloatArray, ...]:
    """Coasts at 1:50 million; nothing without cartopy, or where its files would have to be downloaded first."""
    try:
        from cartopy import config
        from cartopy.io import Downloader, shapereader
    except ImportError:
        return ()
    named = {"config": config, "resolution": "50m", "category": "physical", "name": "coastline"}
    known = Downloader.from_config(("shapefiles", "natural_earth", "50m", "physical", "coastline"))
    places = known.pre_downloaded_path(named), known.target_path(named)
    path = next((p for p in places if p is not None and p.exists()), None)
    shapes = () if path is None else shapereader.Reader(str(path)).geometries()
    lines = [part for shape in shapes for part in getattr(shape, "geoms", [shape])]
    return tuple(np.asarray(line.coords, float)[:, :2] for line in lines)


def draw_coasts(ax: Axes, lon: FloatArray) -> None:
    """Draw the coasts on axes of degrees, whose limits stay as they are.

    Parameters
    ----------
    ax
        Axes of longitude and latitude.
    lon
        Longitudes of what is drawn, which say where the map lies and how wide it is.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import Normal, Stroke

    low, high = ax.get_xlim()
    turns = range(int((low - 180.0) // 360.0), int((high + 180.0) // 360.0) + 1)
    lines = [line + np.array([360.0 * turn, 0.0]) for turn in turns for line in coastlines(float(np.ptp(lon)))]
    seen = [line for line in lines if line[:, 0].max() >= low and line[:, 0].min() <= high]
    # Dark on light, so that they are seen on every colour.
    coasts = LineCollection(seen, colors="black", linewidths=0.5, zorder=3, label="coast")
    coasts.set_path_effects([Stroke(linewidth=1.3, foreground="white", alpha=0.45), Normal()])
    ax.add_collection(coasts, autolim=False)
