"""Simulate many years of SPEEDY at once, to train ``speedy-t30`` on.

    python examples/simulate_speedy.py FOLDER [--runs 48] [--days 1095] [--minutes 5]

Daily means of temperature, precipitation and outgoing longwave radiation by JCM (`pip install "jcm>=3.0"`), with SPEEDY
physics at T30 on 8 levels and a climatological sea surface. All runs start from rest and are integrated side by side,
which a GPU does in about the time of one; their first days are spread over a year, so that all of them together see
every season. Each run becomes `FOLDER/run_000/part_00000.nc`. The first 90 days (`--spin-up`) are not written.
"""

import argparse
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jcm.date import to_datetime
from jcm.forcing import ForcingData
from jcm.model import Model
from jcm.physics.speedy.speedy_coords import get_speedy_coords
from jcm.terrain import TerrainData

START = np.datetime64("2010-01-01", "ns")
DAY = np.timedelta64(1, "D")
#: Days that are integrated by one call.
CHUNK = 10
#: Of g m-2 s-1 in mm day-1.
MM_PER_DAY = 86.4
ATTRIBUTES = {
    "t": {"standard_name": "air_temperature", "units": "K"},
    "pr": {"standard_name": "lwe_precipitation_rate", "units": "mm day-1"},
    "olr": {"standard_name": "toa_outgoing_longwave_flux", "units": "W m-2"},
    "sigma": {"standard_name": "atmosphere_sigma_coordinate", "positive": "down", "units": "1", "axis": "Z"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}  # fmt: skip


def integrated(runs: int, days: int, minutes: float) -> tuple[list[np.ndarray], Any]:
    """Return daily means ``(run, day, level or variable, lon, lat)`` in parts of `CHUNK` days, and the coordinates.

    It ends after `days`, or after the part during which `minutes` are over.
    """
    boundary = Path(str(resources.files("jcm.data.bc"))) / "t30" / "clim"
    coords = get_speedy_coords()
    terrain = TerrainData.from_file(str(boundary / "terrain.nc"), coords=coords)
    forcing = ForcingData.from_file(str(boundary / "forcing.nc"), coords=coords, align_mode="wrap_year")
    model = Model(coords=coords, terrain=terrain, time_step=30.0, start_time=str(START)[:10])
    state, physics = model.bootstrap_state()

    def one(state: Any, physics: Any, when: Any, step: Any) -> tuple[Any, Any]:
        end, found = model.run_from_state_with_carry(
            state, forcing, save_interval=1.0, total_time=float(CHUNK), output_averages=True,
            initial_physics_state=physics, initial_time=when, initial_step=step,
        )  # fmt: skip
        rain = found.physics["_condensation"].precls + found.physics["_convection"].precnv
        both = jnp.stack([MM_PER_DAY * rain, found.physics["_longwave_rad"].ftop], axis=1)
        # The model counts levels from the top, and files from the ground.
        fields = jnp.concatenate([found.dynamics.temperature[:, ::-1], both], axis=1)
        return (end.dynamics, end.physics, end.time, end.step), fields

    every = jax.jit(jax.vmap(one))
    firsts = [to_datetime(str(first)[:10], name="start") for first in starts(runs)]
    carry = jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x), (runs, *jnp.shape(x))), (state, physics))
    carry = (*carry, jax.tree.map(lambda *x: jnp.stack([jnp.asarray(v) for v in x]), *firsts), jnp.zeros(runs, "int32"))
    parts: list[np.ndarray] = []
    began = time.monotonic()
    while len(parts) * CHUNK < days and time.monotonic() - began < 60 * minutes:
        carry, fields = every(*carry)
        parts.append(np.asarray(fields))
        print(f"{len(parts) * CHUNK} days, {time.monotonic() - began:.0f} s, {parts[-1][:, :, :8].mean():.2f} K", flush=True)
    return parts, coords


def starts(runs: int) -> list[np.datetime64]:
    """First days of the runs."""
    return [START + round(365 * run / runs) * DAY for run in range(runs)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and write a file for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=48)
    parser.add_argument("--days", type=int, default=1095, help="of each run, after the spin-up")
    parser.add_argument("--spin-up", type=int, default=90, help="days that are left out")
    parser.add_argument("--minutes", type=float, default=np.inf, help="after which no more is integrated")
    options = parser.parse_args(arguments)
    parts, coords = integrated(options.runs, options.spin_up + options.days, options.minutes)
    lon, lat = (np.degrees(x) for x in (coords.horizontal.longitudes, coords.horizontal.latitudes))
    for run, first in enumerate(starts(options.runs)):
        days = np.concatenate([part[run] for part in parts])[options.spin_up :].swapaxes(-1, -2)
        when = first + (options.spin_up + np.arange(len(days))) * DAY
        fields = {
            "t": (("time", "sigma", "lat", "lon"), days[:, :8]),
            "pr": (("time", "lat", "lon"), days[:, 8]),
            "olr": (("time", "lat", "lon"), days[:, 9]),
        }
        ds = xr.Dataset(fields, {"time": when, "sigma": coords.vertical.centers[::-1], "lat": lat, "lon": lon})
        for name, attributes in ATTRIBUTES.items():
            ds[name].attrs.update(attributes)
        out = options.folder / f"run_{run:03d}"
        out.mkdir(parents=True, exist_ok=True)
        ds.to_netcdf(out / "part_00000.nc", engine="h5netcdf")
    print(f"{options.runs} runs of {len(days)} days in {options.folder}")


if __name__ == "__main__":
    main()
