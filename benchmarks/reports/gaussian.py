"""Members of models without a network: by one solve each, and by the reverse process of as many members.

Stations over North America with `ncep-na`, and the three sources of the global simulation with the Gaussian prior of
`speedy-t30` alone, whose precipitation goes through a transform. Members are antithetic, so that means have no sampling
error; both kinds have the same noise for the prior, and differ in that of the observations.

Columns: RMSE of the mean and CRPS against the truth, spread over error; the root mean square difference of the means
from those of the reverse process, in units of the spread; products with the covariance of the prior, and processor
seconds, for one member.

    python -m benchmarks gaussian
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.ncep import TRAINING, open_fields, open_stations, station_observations
from benchmarks.cases.speedy import observe
from benchmarks.command import Command
from benchmarks.counting import products
from benchmarks.tables import head, row
from benchmarks.timing import least
from xslams.model import Model

#: Days of the training period of `ncep-na` that are analysed.
_DAYS = 30


def compare(truth: xr.Dataset, obs: list[xslams.Observation], model: Model, members: int, steps: Sequence[int]) -> None:
    """Print the rows of a case."""
    first: xr.DataArray | None = None
    name = str(next(iter(truth.data_vars)))
    ways: list[tuple[str, dict[str, Any]]] = [
        (f"reverse process, {n} calls", {"sampler": "unipc", "steps": n}) for n in sorted(steps, reverse=True)
    ]
    for label, options in [*ways, ("one solve each", {})]:

        def analyse(options: dict[str, Any] = options) -> xr.Dataset:
            found: xr.Dataset = truth.slams.assimilate(
                obs, model=model, members=members, antithetic=True, background_error=None, device="cpu", **options
            )
            return found

        with products() as count:
            analysis = analyse()
        seconds = least(analyse, 1).cpu / members
        scores = analysis.slams.score(truth).compute()
        first = analysis[name] if first is None else first
        off = (analysis[name].mean("member") - first.mean("member")) / first.std("member")
        rmse, crps, ratio = (float(scores[k].mean()) for k in ("rmse", "crps", "spread_skill"))
        distance = f"{float(np.sqrt((off**2).mean())):.1%}"
        judged = [f"{rmse:.3f}", f"{crps:.3f}", f"{ratio:.2f}", distance]
        row([label, *judged, f"{count.calls / members:.0f}", f"{seconds:.2f}"])


def america(folder: Path, days: int) -> tuple[xr.Dataset, list[xslams.Observation]]:
    """Days of the spring of 2014 over North America, and stations."""
    fields = open_fields(folder)
    stations = open_stations(folder, fields)
    truth = fields.sel(time="2014-04").isel(time=slice(days))
    return truth, station_observations(stations, fields.sel(time=TRAINING))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--members", type=int, default=8)
    command.add_argument("--steps", nargs="+", type=int, default=[16, 32])
    command.add_argument("--days", type=int, default=_DAYS, help="days of North America; a third of them of the globe")
    command.quick(members=2, steps=[1], days=3)
    command.shared()
    args = command.read(arguments)
    torch.set_num_threads(1)
    columns = ["members by", "RMSE, K", "CRPS, K", "spread/error", "mean, of spread", "products", "processor, s"]
    head(columns, "Stations over North America, `ncep-na`")
    compare(*america(shared_data(args.shared), args.days), xslams.open_model("ncep-na"), args.members, args.steps)
    globe = xslams.open_model("speedy-t30")
    globe.prior().score = None
    truth = xslams.open_tutorial().isel(time=slice(max(args.days // 3, 1)))
    head(columns, "Three sources of the simulation, the Gaussian of `speedy-t30`")
    compare(truth, list(observe(truth).values()), globe, args.members, args.steps)


if __name__ == "__main__":
    main()
