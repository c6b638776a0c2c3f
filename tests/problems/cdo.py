"""Grids and a field whose regridding by CDO is kept in ``cdo.nc``, and the script that makes that file.

    python tests/regrid/reference.py        # needs cdo; made with cdo 2.1.1

CDO bounds cells of grids with 1-D latitudes and longitudes by parallels, and those of curvilinear grids by great
circles.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

FILE = Path(__file__).with_name("cdo.nc")
OPERATORS = {"bilinear": "remapbil", "conservative": "remapcon", "nearest": "remapnn"}


def field(lat, lon):
    a, b = np.deg2rad(lat), np.deg2rad(lon)
    return 2 + np.cos(a) ** 2 * np.cos(2 * b) + 0.3 * np.sin(3 * a) * np.sin(5 * b + 0.4)


def pairs(edges):
    return np.stack([edges[:-1], edges[1:]], axis=1)


def even(n, start=-90.0, stop=90.0):
    """Centres and bounds of n cells of one width."""
    edges = np.linspace(start, stop, n + 1)
    return 0.5 * (edges[1:] + edges[:-1]), pairs(edges)


def gaussian(n):
    x, w = np.polynomial.legendre.leggauss(n)
    edges = np.append(np.cumsum(np.append(-1.0, w))[:-1], 1.0)
    return np.rad2deg(np.arcsin(x)), pairs(np.rad2deg(np.arcsin(edges)))


def turned(axis):
    return tuple(a[::-1] for a in axis)


def rotated(nlat, nlon, size, tilt, around):
    """A curvilinear grid: a box about the equator, tilted and turned. Centres (2, y, x) and corners (2, y, x, 4)."""

    def place(lat, lon):
        a, b, c = np.deg2rad(lat), np.deg2rad(lon), np.deg2rad(tilt)
        x, y, z = np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)
        x, z = x * np.cos(c) - z * np.sin(c), x * np.sin(c) + z * np.cos(c)
        return np.stack([np.rad2deg(np.arcsin(z)), (np.rad2deg(np.arctan2(y, x)) + around) % 360])

    lat, lon = even(nlat, -size, size), even(nlon, -size, size)
    centres = place(*np.meshgrid(lat[0], lon[0], indexing="ij"))
    corners = [
        place(*np.meshgrid(lat[1][:, i], lon[1][:, j], indexing="ij")) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))
    ]
    return centres, np.stack(corners, axis=-1)


#: Source and target: (lat, lon), each centres and bounds; or centres and corners of a curvilinear grid.
RECTILINEAR = {
    "even": ((even(36), even(72, 0, 360)), (turned(even(20)), even(40, -175, 185))),
    "finer": ((turned(even(18)), even(36, -180, 180)), (even(30), even(60, 1, 361))),
    "from_gaussian": ((gaussian(32), even(64, -2.8125, 357.1875)), (even(24), even(48, 2.5, 362.5))),
    "to_gaussian": ((even(36), even(72, 0, 360)), (turned(gaussian(16)), even(32, -4.3, 355.7))),
    "region": ((even(20, 20, 60), even(30, -30, 45)), (even(10, 25, 55), even(12, -20, 40))),
}
CURVILINEAR = {
    "poleward": (rotated(24, 30, 25.0, 70.0, 40.0), rotated(9, 8, 15.0, 65.0, 50.0)),
    "date_line": (rotated(20, 20, 20.0, 30.0, 180.0), rotated(7, 9, 10.0, 35.0, 175.0)),
}


def dataset(grid):
    """The field on a grid, with bounds."""
    if isinstance(grid[0], tuple):
        (lat, lat_bounds), (lon, lon_bounds) = grid
        dims, values = ("lat", "lon"), field(lat[:, None], lon[None, :])
        coords = {"lat": ("lat", lat), "lon": ("lon", lon)}
        bounds = {"lat_bnds": (("lat", "bnds"), lat_bounds), "lon_bnds": (("lon", "bnds"), lon_bounds)}
    else:
        (lat, lon), corners = grid
        dims, values = ("y", "x"), field(lat, lon)
        coords = {"lat": (dims, lat), "lon": (dims, lon)}
        bounds = {n: ((*dims, "corner"), c) for n, c in zip(("lat_bnds", "lon_bnds"), corners, strict=True)}
    ds = xr.Dataset({"value": (dims, values), **bounds}, coords)
    for name, standard, units in (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east")):
        ds[name].attrs.update(standard_name=standard, units=units, bounds=f"{name}_bnds")
    return ds


def main() -> None:
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target, result = (str(Path(folder) / f"{n}.nc") for n in ("source", "target", "result"))
        for cases, methods in ((RECTILINEAR, OPERATORS), (CURVILINEAR, ("conservative", "nearest"))):
            for name, (a, b) in cases.items():
                for path, grid in ((source, a), (target, b)):
                    ds = dataset(grid)
                    if "y" in ds.dims:
                        # CDO wants the centres alone named here, and xarray would name the bounds too.
                        ds = ds.reset_coords()
                        ds["value"].attrs["coordinates"] = "lat lon"
                    ds.to_netcdf(path)
                for method in methods:
                    subprocess.run(
                        ["cdo", "-s", "-P", "1", "-b", "F64", f"{OPERATORS[method]},{target}", source, result],
                        check=True,
                    )
                    with xr.open_dataset(result) as opened:
                        out[f"{name}_{method}"] = ((f"{name}_y", f"{name}_x"), opened["value"].values)
    version = subprocess.run(["cdo", "--version"], capture_output=True, text=True, check=True)
    first = (version.stdout + version.stderr).splitlines()[0]
    ds = xr.Dataset(out, attrs={"title": "Regridding by CDO of the field in reference.py", "source": first})
    ds.to_netcdf(FILE, encoding={n: {"zlib": True, "complevel": 9, "shuffle": True} for n in out})


if __name__ == "__main__":
    main()
