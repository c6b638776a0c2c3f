"""Weights of ESMF, through xESMF: an optional engine, for those who want ESMF's own."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
import xarray as xr

from xslams.errors import GridError, SlamsError
from xslams.geometry import Curvilinear, Geometry, Points, around, lat_intervals, lon_intervals
from xslams.labels.coordinates import Grid
from xslams.typing import Edges, FloatArray, Method
from xslams.weights.curvilinear import corner_nodes

__all__ = ["Engine", "esmf_weights", "require_xesmf", "version"]

Engine = Literal["embedded", "xesmf"]
_METHODS = {"bilinear": "bilinear", "conservative": "conservative", "nearest": "nearest_s2d"}


def require_xesmf() -> None:
    """Raise unless xESMF is installed.

    Raises
    ------
    SlamsError
        If it is not.
    """
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


def version(engine: Engine) -> str:
    """Version of the library behind an engine."""
    if engine == "embedded":
        return ""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("xesmf")
    except PackageNotFoundError:
        return "unknown"


def esmf_weights(source: Geometry, target: Geometry, method: Method, edges: Edges = "great_circle") -> sp.csr_array:
    """Weights of ESMF.

    Parameters
    ----------
    source, target, method, edges
        As in `xslams.weights.grid_weights`; `edges` are great circles.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (size of target, size of source). Rows of targets that ESMF does not map are empty.

    Raises
    ------
    SlamsError
        If xESMF is not installed.
    GridError
        If edges are parallels, or cells leave gaps between them.
    """
    if edges != "great_circle":
        msg = f"ESMF joins corners by great circles; got edges={edges!r}. Use engine='embedded'."
        raise GridError(msg)
    require_xesmf()
    import xesmf

    conservative = method == "conservative"
    regridder = xesmf.Regridder(
        _described(source, cells=conservative),
        _described(target, cells=conservative),
        _METHODS[method],
        # ESMF closes the circle by itself where the cells have edges.
        periodic=isinstance(source, Grid) and source.periodic and not conservative,
        locstream_in=isinstance(source, Points),
        locstream_out=isinstance(target, Points),
    )
    return sp.csr_array(regridder.weights.data.to_scipy_sparse())


def _described(geometry: Geometry, *, cells: bool) -> xr.Dataset:
    """Geometry under the names that xESMF looks for."""
    if isinstance(geometry, Points):
        return xr.Dataset(coords={"lat": ("point", geometry.lat.ravel()), "lon": ("point", geometry.lon.ravel())})
    if isinstance(geometry, Grid):
        ds = xr.Dataset(coords={"lat": ("lat", geometry.lat), "lon": ("lon", geometry.lon)})
        if cells:
            lat_b, lon_b = (
                _chain(pairs, axis)
                for pairs, axis in ((lat_intervals(geometry), geometry.lat), (lon_intervals(geometry), geometry.lon))
            )
            ds = ds.assign_coords(lat_b=("lat_b", lat_b), lon_b=("lon_b", lon_b))
        return ds
    ds = xr.Dataset(coords={"lat": (("y", "x"), geometry.lat), "lon": (("y", "x"), geometry.lon)})
    if cells:
        lat_b, lon_b = _nodes(geometry)
        ds = ds.assign_coords(lat_b=(("y_b", "x_b"), lat_b), lon_b=(("y_b", "x_b"), lon_b))
    return ds


def _chain(pairs: FloatArray, centres: FloatArray) -> FloatArray:
    """Edges of cells that touch, shape (n + 1,), in the order of the centres."""
    descending = len(centres) > 1 and pairs[0, 0] > pairs[1, 0]
    ordered = pairs[:, ::-1] if descending else pairs
    if not np.allclose(ordered[1:, 0], ordered[:-1, 1], atol=1e-6):
        raise _gaps()
    return np.append(ordered[:, 0], ordered[-1, 1])


def _nodes(geometry: Curvilinear) -> tuple[FloatArray, FloatArray]:
    """Corners between curvilinear cells, shape (y + 1, x + 1) each."""
    if geometry.corners is None:
        nodes = corner_nodes(geometry)
        return np.rad2deg(np.arcsin(np.clip(nodes[..., 2], -1, 1))), np.rad2deg(
            np.arctan2(nodes[..., 1], nodes[..., 0])
        )
    out = []
    for c in geometry.corners:
        nodes = np.empty((c.shape[0] + 1, c.shape[1] + 1))
        nodes[:-1, :-1], nodes[:-1, -1], nodes[-1, :-1], nodes[-1, -1] = (
            c[..., 0],
            c[:, -1, 1],
            c[-1, :, 3],
            c[-1, -1, 2],
        )
        if not np.allclose(around(nodes), c, atol=1e-6):
            raise _gaps()
        out.append(nodes)
    return out[0], out[1]


def _gaps() -> GridError:
    return GridError("xESMF needs cells that touch; the bounds leave gaps or overlap. Use engine='embedded'.")
