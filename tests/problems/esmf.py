"""Grids whose regridding by xESMF is kept in ``esmf.nc``, and the script that makes that file.

    python tests/regrid/reference_esmf.py      # needs xesmf, from conda-forge; made with xESMF 0.9.2 on ESMF 8.9.0

The field is that of `reference`. Cells reach half way to their neighbours, those of Gaussian grids too. Of each result
every fourth row and column is kept, with the values at the hundred points that the file holds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from tests.problems.cdo import even, field, gaussian, pairs

FILE = Path(__file__).with_name("esmf.nc")
METHODS = {"bilinear": "bilinear", "conservative": "conservative", "nearest": "nearest_s2d"}
EVERY = 4


def gaussian_lat(n):
    return gaussian(n)[0]


#: Source and target: latitudes and longitudes.
CASES = {
    "0p5_to_2p5_descending": (
        (even(360)[0][::-1], even(720, 0, 360)[0]),
        (even(72)[0], even(144, -180, 180)[0]),
    ),
    "2_to_gauss24": ((even(90)[0], even(180, 0, 360)[0]), (gaussian_lat(24), np.arange(48) * 7.5)),
    "2p5_to_1p5": ((even(72)[0], even(144, 0, 360)[0]), (even(120)[0], even(240, 0, 360)[0])),
    "gauss48_to_2": ((gaussian_lat(48), np.arange(96) * 3.75), (even(90)[0], even(180, 0, 360)[0])),
}


def half_way(centres, *, latitude):
    """Edges half way between centres."""
    middle = 0.5 * (centres[1:] + centres[:-1])
    edges = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
    return np.clip(edges, -90, 90) if latitude else edges


def bounds(lat, lon):
    """Bounds of both axes."""
    return pairs(half_way(lat, latitude=True)), pairs(half_way(lon, latitude=False))


def main() -> None:
    import xesmf

    with xr.open_dataset(FILE) as opened:
        places = opened.load()
    out = {}
    for name, (source, target) in CASES.items():
        grids = [
            xr.Dataset(
                coords={
                    "lat": lat,
                    "lon": lon,
                    "lat_b": half_way(lat, latitude=True),
                    "lon_b": half_way(lon, latitude=False),
                }
            )
            for lat, lon in (source, target)
        ]
        lat, lon = (places[f"{name}_point_{c}"].values for c in ("lat", "lon"))
        points = xr.Dataset(coords={"lat": ("point", lat), "lon": ("point", lon)})
        out[f"{name}_point_lat"], out[f"{name}_point_lon"] = ("point", lat), ("point", lon)
        values = field(source[0][:, None], source[1][None, :])
        for method, called in METHODS.items():
            options = {"periodic": method != "conservative", "unmapped_to_nan": True}
            result = xesmf.Regridder(*grids, called, **options)(values)
            out[f"{name}_{method}"] = ((f"{name}_y", f"{name}_x"), result[::EVERY, ::EVERY])
            if method != "conservative":
                at = xesmf.Regridder(grids[0], points, called, locstream_out=True, **options)(values)
                out[f"{name}_points_{method}"] = ("point", at)
    save(out)


def save(out) -> None:
    """Write the file."""
    attrs = {
        "title": "Regridding by xESMF of the field in reference.py",
        "source": "xESMF 0.9.2 on ESMF 8.9.0; periodic but for conservative; poles as by default; NaN where unmapped",
    }
    encoding = {n: {"zlib": True, "complevel": 9, "shuffle": True} for n in out}
    xr.Dataset(out, attrs=attrs).to_netcdf(FILE, encoding=encoding)


if __name__ == "__main__":
    main()
