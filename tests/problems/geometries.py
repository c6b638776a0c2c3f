"""Geometries from outside of the package, and how they are recognised: hexagons, and bands of latitude."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xslams.geometry import GEOMETRIES, BaseGeometry, Grid, unit_vectors
from xslams.labels.grid import READERS


@dataclass(frozen=True, eq=False)
class Hexagons(BaseGeometry):
    """Cells of six corners about their centres, in a plane of latitude and longitude."""

    kind = "hexagons"
    dims = ("cell",)

    lat: np.ndarray
    lon: np.ndarray
    radius: float

    @property
    def shape(self):
        return self.lat.shape

    def centres(self):
        return np.stack([self.lat, self.lon])

    def check_cells(self):
        pass

    def cells(self):
        turn = np.deg2rad(60 * np.arange(6))
        lat = self.lat[:, None] + self.radius * np.cos(turn)
        return unit_vectors(lat, self.lon[:, None] + self.radius * np.sin(turn))

    def arrays(self):
        return self.lat, self.lon

    def settings(self):
        return (self.radius,)

    @classmethod
    def unpack(cls, arrays, settings):
        return cls(*arrays, *settings)


def read_hexagons(obj, holder):
    if "lat" not in obj.coords or "hexagon_radius" not in obj.lat.attrs:
        return None
    return Hexagons(obj.lat.values, obj.lon.values, float(obj.lat.attrs["hexagon_radius"]))


@dataclass(frozen=True, eq=False)
class Bands(BaseGeometry):
    """Bands of latitude round the globe: a grid of one column, that is, with a dimension less."""

    kind = "bands"
    bounded = True
    dims = ("band",)

    edges: np.ndarray

    @property
    def shape(self):
        return (len(self.edges) - 1,)

    @property
    def rectilinear(self):
        pairs = np.stack([self.edges[:-1], self.edges[1:]], axis=1)
        return Grid(
            pairs.mean(axis=1), np.array([180.0]), lat_bounds=pairs, lon_bounds=np.array([[0.0, 360.0]])
        )  # fmt: skip

    def centres(self):
        return self.rectilinear.centres()

    def check_cells(self):
        pass

    def arrays(self):
        return (self.edges,)

    @classmethod
    def unpack(cls, arrays, settings):
        return cls(*arrays)


def read_bands(obj, holder):
    return Bands(holder["band_edges"].values) if "band" in obj.dims and "band_edges" in holder.variables else None


TOYS = {"hexagons": (Hexagons, read_hexagons), "bands": (Bands, read_bands)}


@contextmanager
def registered() -> Iterator[None]:
    """Have both kinds registered for a while."""
    for name, (kind, reader) in TOYS.items():
        GEOMETRIES.register(name)(kind)
        READERS.register(name)(reader)
    try:
        yield
    finally:
        for name in TOYS:
            GEOMETRIES.unregister(name)
            READERS.unregister(name)


def honeycomb(rows: int = 6, columns: int = 7, radius: float = 5.0, lat: float = 0.0, lon: float = 150.0) -> Hexagons:
    """Hexagons that touch, over the date line."""
    row, column = np.mgrid[:rows, :columns]
    lats = lat + 1.5 * radius * (row - rows / 2)
    lons = lon + np.sqrt(3) * radius * (column + 0.5 * (row % 2))
    return Hexagons(lats.ravel(), lons.ravel(), radius)


def on_hexagons(values: object, cells: Hexagons, **coords: object) -> xr.DataArray:
    """Data on hexagons, the last dimension being the cells."""
    values = np.asarray(values)
    return xr.DataArray(
        values,
        dims=(*coords, "cell"),
        coords={
            **coords,
            "lat": ("cell", cells.lat, {"hexagon_radius": cells.radius}),
            "lon": ("cell", cells.lon),
        },
        name="t",
        attrs={"units": "K"},
    )
