"""Cut the tutorial data set that xslams embeds out of the four-year SPEEDY simulation.

Sixty days of the validation year, which no shipped model was trained on: ``python examples/make_tutorial.py SOURCE``.
"""

import argparse
from pathlib import Path

import xarray as xr

TARGET = Path(__file__).resolve().parents[1] / "xslams" / "data" / "tutorial_speedy.nc"
START, DAYS = "2003-12-15", 60
# Rounding errors far below the errors of any observation: half of these steps, in K, mm/day and W/m2.
STEPS = {"t": 0.1, "pr": 0.1, "olr": 0.25}
OFFSETS = {"t": 250.0, "pr": 0.0, "olr": 200.0}


def make_tutorial(source: Path, target: Path = TARGET) -> Path:
    """Write the subset, packed into 16 bits and compressed.

    Parameters
    ----------
    source
        The four-year simulation, ``speedy_t30_daily_4yr.nc``.
    target
        File to write.

    Returns
    -------
    Path
        The file written.
    """
    with xr.open_dataset(source) as ds:
        first = ds.indexes["time"].get_loc(START)
        ds = ds[list(STEPS)].isel(time=slice(first, first + DAYS)).load()
    ds.attrs["title"] = f"{DAYS} daily means of a global simulation with JCM 3.0.0 (SPEEDY physics, T30L8)"
    ds.attrs["license"] = "Apache-2.0"
    ds.attrs["history"] = (
        f"{ds.attrs.get('history', '')}\n{START} and the {DAYS - 1} days after it cut out of {source.name} and rounded "
        "to " + ", ".join(f"{step:g} {ds[name].attrs['units']} ({name})" for name, step in STEPS.items())
    ).strip()
    encoding = {}
    for name, step in STEPS.items():
        ds[name].encoding = {}
        encoding[name] = {
            "dtype": "int16", "scale_factor": step, "add_offset": OFFSETS[name], "_FillValue": -32768,
            "zlib": True, "complevel": 9, "shuffle": True,
            "chunksizes": (DAYS, *(1 if d == "sigma" else n for d, n in ds[name].sizes.items() if d != "time")),
        }  # fmt: skip
    target.parent.mkdir(exist_ok=True)
    ds.to_netcdf(target, encoding=encoding)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="speedy_t30_daily_4yr.nc")
    parser.add_argument("--target", type=Path, default=TARGET)
    arguments = parser.parse_args()
    written = make_tutorial(arguments.source, arguments.target)
    print(f"{written}: {written.stat().st_size / 1e6:.2f} MB")
