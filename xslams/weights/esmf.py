"""Weights of ESMF, through xESMF: an optional engine, for those who want ESMF's own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import GridError, SlamsError
from xslams.geometry import Geometry, Grid
from xslams.geometry.sphere import around
from xslams.typing import Edges, FloatArray, Method
from xslams.weights.base import check_method
from xslams.weights.engines import ENGINES

__all__ = ["XESMF"]

_METHODS = {"bilinear": "bilinear", "conservative": "conservative", "nearest": "nearest_s2d"}


class XESMF:
    """ESMF through xESMF."""

    @property
    def version(self) -> str:
        """Version of xESMF."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("xesmf")
        except PackageNotFoundError:
            return "unknown"

    def check(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> None:
        """Raise unless xESMF is installed and has weights of this method.

        Raises
        ------
        SlamsError
            If xESMF is not installed.
        GridError
            If edges are parallels, or the geometries are no places on the sphere.
        """
        check_method(source, target, method, edges)
        if edges != "great_circle":
            msg = f"ESMF joins corners by great circles; got edges={edges!r}. Use engine='embedded'."
            raise GridError(msg)
        if source.flat or method not in _METHODS:
            what = f"method={method!r}" if method not in _METHODS else str(source)
            msg = f"xESMF knows {', '.join(map(repr, _METHODS))} on the sphere; got {what}. Use engine='embedded'."
            raise GridError(msg)
        _require()

    def weights(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> sp.csr_array:
        """Weights of ESMF; rows of targets that it does not map are empty.

        Raises
        ------
        SlamsError
            If xESMF is not installed.
        GridError
            If it has no such weights, or cells leave gaps between them.
        """
        self.check(source, target, method, edges)
        import xesmf

        conservative = method == "conservative"
        regridder = xesmf.Regridder(
            _described(source, cells=conservative),
            _described(target, cells=conservative),
            _METHODS[method],
            # ESMF closes the circle by itself where the cells have edges.
            periodic=source.rectilinear is not None and source.rectilinear.periodic and not conservative,
            locstream_in=not source.bounded,
            locstream_out=not target.bounded,
        )
        return sp.csr_array(regridder.weights.data.to_scipy_sparse())


ENGINES.register("xesmf")(XESMF())


def _require() -> None:
    try:
        # netCDF4 first: where their libraries differ, importing it after ESMF's can crash.
        import netCDF4  # noqa: F401
    except ImportError:
        pass
    try:
        import xesmf  # noqa: F401
    except ImportError as e:
        msg = (
            "engine='xesmf' needs the package xesmf, which needs ESMF (conda install -c conda-forge xesmf). "
            "Or use engine='embedded', whose weights are defined alike."
        )
        raise SlamsError(msg) from e


def _described(geometry: Geometry, *, cells: bool) -> xr.Dataset:
    """Geometry under the names that xESMF looks for."""
    if geometry.rectilinear is not None:
        return _described_grid(geometry.rectilinear, cells=cells)
    lat, lon = geometry.centres()
    if not geometry.bounded:
        if cells:
            raise _no_rows(geometry)
        return xr.Dataset(coords={"lat": ("point", lat), "lon": ("point", lon)})
    shape = geometry.neighbours().shape[:2]
    coords = {"lat": (("y", "x"), lat.reshape(shape)), "lon": (("y", "x"), lon.reshape(shape))}
    if cells:
        nodes = _nodes(geometry, shape)
        coords["lat_b"] = (("y_b", "x_b"), np.rad2deg(np.arcsin(np.clip(nodes[..., 2], -1, 1))))
        coords["lon_b"] = (("y_b", "x_b"), np.rad2deg(np.arctan2(nodes[..., 1], nodes[..., 0])))
    return xr.Dataset(coords=coords)


def _described_grid(grid: Grid, *, cells: bool) -> xr.Dataset:
    ds = xr.Dataset(coords={"lat": ("lat", grid.lat), "lon": ("lon", grid.lon)})
    if not cells:
        return ds
    lat_b, lon_b = _chain(grid.lat_intervals, grid.lat), _chain(grid.lon_intervals, grid.lon)
    return ds.assign_coords(lat_b=("lat_b", lat_b), lon_b=("lon_b", lon_b))


def _chain(pairs: FloatArray, centres: FloatArray) -> FloatArray:
    """Edges of cells that touch, shape (n + 1,), in the order of the centres."""
    descending = len(centres) > 1 and pairs[0, 0] > pairs[1, 0]
    ordered = pairs[:, ::-1] if descending else pairs
    if not np.allclose(ordered[1:, 0], ordered[:-1, 1], atol=1e-6):
        raise _gaps()
    return np.append(ordered[:, 0], ordered[-1, 1])


def _nodes(geometry: Geometry, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Corners between cells in rows and columns, as unit vectors, shape (y + 1, x + 1, 3)."""
    cells = geometry.cells()
    if cells.shape[1] != 4:
        raise _no_rows(geometry)
    corners = cells.reshape(*shape, 4, 3)
    nodes = np.empty((shape[0] + 1, shape[1] + 1, 3))
    nodes[:-1, :-1], nodes[:-1, -1] = corners[:, :, 0], corners[:, -1, 1]
    nodes[-1, :-1], nodes[-1, -1] = corners[-1, :, 3], corners[-1, -1, 2]
    if not np.allclose(around(nodes), corners, atol=1e-8):
        raise _gaps()
    return nodes


def _no_rows(geometry: Geometry) -> GridError:
    return GridError(f"xESMF needs cells of four corners in rows and columns; got {geometry}. Use engine='embedded'.")


def _gaps() -> GridError:
    return GridError("xESMF needs cells that touch; the bounds leave gaps or overlap. Use engine='embedded'.")
