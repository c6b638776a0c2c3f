"""Where a map lies: on the globe, with degrees as labels, or on a plane, with the names of its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr

from xslams.labels.coordinates import coordinate
from xslams.plot.coasts import draw_coasts
from xslams.plot.fields import east, with_units
from xslams.plot.longitudes import in_window, middle_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Globe", "Plane", "Surface", "degrees", "surface_of"]


class Surface(Protocol):
    """What a map has to know of the place of its cells."""

    def coordinates(self, field: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray] | None:
        """Vertical and horizontal coordinate of a field on the map, None where it has no place there."""
        ...

    def on_map(self, field: xr.DataArray) -> xr.DataArray:
        """Return a field with the coordinates that it has on the map, and with its columns in that order."""
        ...

    def aspect(self, vertical: xr.DataArray) -> float:
        """Return the length of a unit along the vertical axis over that along the horizontal one."""
        ...

    def decorate(self, ax: Axes, field: xr.DataArray) -> None:
        """Set limits, ticks and labels of axes for a field."""
        ...


def surface_of(field: xr.DataArray) -> Surface | None:
    """Surface of a field: the globe where it has latitudes and longitudes, a plane where it has axes X and Y."""
    found = _degrees_of(field)
    if found is not None:
        return Globe(middle_of(np.asarray(found[1].values, float)))
    axes = {str(field[d].attrs.get("axis")): str(d) for d in field.dims}
    return Plane(axes["Y"], axes["X"]) if {"X", "Y"} <= axes.keys() else None


def _degrees_of(field: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray] | None:
    lat, lon = (coordinate(field, axis) for axis in ("lat", "lon"))
    return None if lat is None or lon is None else (field[lat], field[lon])


class Globe:
    """Latitudes and longitudes.

    Parameters
    ----------
    middle
        Longitude in the middle of the map, in the convention of its labels.
    """

    def __init__(self, middle: float) -> None:
        self.middle = middle

    def coordinates(self, field: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray] | None:
        """Latitude and longitude by CF conventions."""
        return _degrees_of(field)

    def on_map(self, field: xr.DataArray) -> xr.DataArray:
        """Move longitudes by whole circles to where the map has them."""
        return in_window(field, self.middle)

    def aspect(self, vertical: xr.DataArray) -> float:
        """Degrees of latitude over those of longitude, so that shapes look right in the middle of the map."""
        lat = np.asarray(vertical)
        return 1.0 if np.ptp(lat) > 120 else float(1 / max(np.cos(np.deg2rad(lat.mean())), 0.3))

    def decorate(self, ax: Axes, field: xr.DataArray) -> None:
        """Degrees north and east."""
        found = self.coordinates(field)
        assert found is not None
        lat, lon = (np.asarray(c) for c in found)
        ax.set_aspect(self.aspect(found[0]))
        if np.ptp(lat) > 0 and np.ptp(lon) > 0:
            _limit(ax, lat, lon, -90.0, 90.0)
        ax.xaxis.set_major_locator(degrees(lon))
        ax.yaxis.set_major_locator(degrees(lat))
        ax.xaxis.set_major_formatter(lambda x, _: east(x))
        ax.yaxis.set_major_formatter(lambda y, _: f"{abs(y):g}°{'N' if y > 0 else 'S' if y < 0 else ''}")
        ax.tick_params(labelsize="small")
        if np.ptp(lon) > 0:
            draw_coasts(ax, lon)


class Plane:
    """A plane with axes of its own, such as a doubly periodic square.

    Parameters
    ----------
    vertical, horizontal
        Names of its coordinates.
    """

    def __init__(self, vertical: str, horizontal: str) -> None:
        self.vertical, self.horizontal = vertical, horizontal

    def coordinates(self, field: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray] | None:
        """Coordinates of the names of this plane."""
        names = self.vertical, self.horizontal
        return (field[names[0]], field[names[1]]) if all(n in field.coords for n in names) else None

    def on_map(self, field: xr.DataArray) -> xr.DataArray:
        """Return the field as it is."""
        return field

    def aspect(self, vertical: xr.DataArray) -> float:
        """Return 1: lengths are the same along both axes."""
        return 1.0

    def decorate(self, ax: Axes, field: xr.DataArray) -> None:
        """Name the axes."""
        found = self.coordinates(field)
        assert found is not None
        ax.set_aspect(1.0)
        y, x = (np.asarray(c) for c in found)
        if np.ptp(y) > 0 and np.ptp(x) > 0:
            _limit(ax, y, x, -np.inf, np.inf)
        ax.set_xlabel(with_units(found[1]), fontsize="small")
        ax.set_ylabel(with_units(found[0]), fontsize="small")
        ax.tick_params(labelsize="small")


def _limit(ax: Axes, vertical: np.ndarray[Any, Any], horizontal: np.ndarray[Any, Any], low: float, high: float) -> None:
    """Limits half a cell beyond the outermost centres."""
    half = [np.ptp(v) / max(np.unique(v).size - 1, 1) / 2 for v in (horizontal, vertical)]
    ax.set_xlim(horizontal.min() - half[0], horizontal.max() + half[0])
    ax.set_ylim(max(vertical.min() - half[1], low), min(vertical.max() + half[1], high))


def degrees(values: np.ndarray[Any, Any]) -> Any:
    """Ticks at round degrees for places along an axis; at the place itself where there is one."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, MultipleLocator

    width = float(np.ptp(values))
    if width == 0.0:
        return FixedLocator([float(np.ravel(values)[0])])
    return next((MultipleLocator(s) for s in (90, 60, 30, 20, 10, 5, 2, 1) if width / s >= 3), MaxNLocator(4))
