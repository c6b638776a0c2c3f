"""Simulate many years of SPEEDY at once, to train ``speedy-t30`` on.

    python examples/simulate_speedy.py FOLDER [--runs 128] [--days 450] [--minutes 5]

Daily means of temperature, precipitation and outgoing longwave radiation by JCM (`pip install "jcm>=3.0"`), with SPEEDY
physics at T30 on 8 levels and a climatological sea surface. All runs start from rest and are integrated side by side,
as a GPU computes many in little more time than one. Their dates follow each other, two days apart, from 1971 on, so
that all of them together see every season. Each run becomes `FOLDER/run_000/part_00000.nc`, without the year of its
spin-up: its stratosphere cools for most of it, and the mean of all levels by 2.7 K after the first 90 days.

On an H200, 128 runs take half a second a day: 7 minutes for 57,600 days and the spin-up.
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

START = np.datetime64("1971-01-01", "ns")
DAY = np.timedelta64(1, "D")
#: Days that are integrated by one call.
CHUNK = 10
#: Of g m-2 s-1 in mm day-1.
MM_PER_DAY = 86.4
ATTRIBUTES = {
    "t": {
        "standard_name": "air_temperature", "units": "K", "cell_methods": "time: mean",
        "long_name": "daily-mean air temperature on terrain-following sigma levels",
    },
    "pr": {
        "standard_name": "lwe_precipitation_rate", "units": "mm day-1", "cell_methods": "time: mean",
        "long_name": "daily-mean precipitation (large-scale + convective)",
    },
    "olr": {
        "standard_name": "toa_outgoing_longwave_flux", "units": "W m-2", "cell_methods": "time: mean",
        "long_name": "daily-mean outgoing longwave radiation at top of atmosphere",
    },
    "sigma": {"standard_name": "atmosphere_sigma_coordinate", "positive": "down", "units": "1", "axis": "Z"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}  # fmt: skip


def integrated(starts: Sequence[np.datetime64], days: int, minutes: float) -> tuple[list[np.ndarray], Any]:
    """Return daily means ``(run, day, level or variable, lon, lat)`` in parts of `CHUNK` days, and the coordinates.

    It ends after `days`, or after the part during which `minutes` are over.
    """
    runs = len(starts)
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
    firsts = [to_datetime(str(first)[:10], name="start") for first in starts]
    carry = jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x), (runs, *jnp.shape(x))), (state, physics))
    carry = (*carry, jax.tree.map(lambda *x: jnp.stack([jnp.asarray(v) for v in x]), *firsts), jnp.zeros(runs, "int32"))
    parts: list[np.ndarray] = []
    began = time.monotonic()
    while len(parts) * CHUNK < days and time.monotonic() - began < 60 * minutes:
        carry, fields = every(*carry)
        parts.append(np.asarray(fields))
        if len(parts) == 1:
            # The first part was compiled.
            began = time.monotonic()
        done, seconds, mean = len(parts) * CHUNK, time.monotonic() - began, parts[-1][:, :, :8].mean()
        print(f"{done} days, {seconds:.0f} s, mean of all levels {mean:.2f} K", flush=True)
    return parts, coords


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and write a file for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=128)
    parser.add_argument("--days", type=int, default=450, help="of each run, after the spin-up")
    parser.add_argument("--spin-up", type=int, default=365, help="days that are left out")
    parser.add_argument("--minutes", type=float, default=np.inf, help="after which no more is integrated")
    options = parser.parse_args(arguments)
    firsts = [START + run * (options.days + 2) * DAY for run in range(options.runs)]
    begun = [first - options.spin_up * DAY for first in firsts]
    parts, coords = integrated(begun, options.spin_up + options.days, options.minutes)
    lon, lat = (np.degrees(x) for x in (coords.horizontal.longitudes, coords.horizontal.latitudes))
    # Levels of SPEEDY have three digits.
    sigma = np.round(np.asarray(coords.vertical.centers[::-1], float), 4).astype("float32")
    for run, first in enumerate(firsts):
        days = np.concatenate([part[run] for part in parts])[options.spin_up :][: options.days].swapaxes(-1, -2)
        when = first + np.arange(len(days)) * DAY
        fields = {
            "t": (("time", "sigma", "lat", "lon"), days[:, :8]),
            "pr": (("time", "lat", "lon"), days[:, 8]),
            "olr": (("time", "lat", "lon"), days[:, 9]),
        }
        ds = xr.Dataset(fields, {"time": when, "sigma": sigma, "lat": lat, "lon": lon})
        for name, attributes in ATTRIBUTES.items():
            ds[name].attrs.update(attributes)
        out = options.folder / f"run_{run:03d}"
        out.mkdir(parents=True, exist_ok=True)
        ds.to_netcdf(out / "part_00000.nc", engine="scipy")
    print(f"{options.runs} runs of {len(days)} days in {options.folder}")


if __name__ == "__main__":
    main()
