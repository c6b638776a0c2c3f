"""Roughness in time of the analysis increment at the seams between analysis windows, and elsewhere.

The time axis is cut into segments that are sampled separately, each with an overlap that is thrown away. If the overlap
were too short, the increment (analysis less the climatological mean of the prior) would jump where two segments meet.
Its roughness is the mean square of the difference of neighbouring frames, over all cells, levels and members; the table
shows that of seams over that of all other pairs of frames, for the mean and for single members. Noise is keyed by time,
so that both sides of a seam have drawn the same.

    python -m benchmarks seams --days 120 --core 6 --members 2 --steps 8
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import numpy as np
import pandas as pd
import xarray as xr

import xslams
from benchmarks.cases.speedy import observe
from benchmarks.command import Command
from benchmarks.tables import table
from xslams.inference.arrays import climatology_arrays
from xslams.labels.calendar import year_fraction
from xslams.pipeline import windows


def ratio(values: np.ndarray, seams: list[int]) -> float:
    """Roughness at seams over that elsewhere; time leads."""
    rough = np.square(np.diff(values, axis=0)).reshape(len(values) - 1, -1).mean(1)
    at = np.isin(np.arange(1, len(values)), seams)
    return float(rough[at].mean() / rough[~at].mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--days", type=int, default=48)
    command.add_argument("--core", type=int, default=6, help="frames that a segment keeps; users have 30")
    command.add_argument("--members", type=int, default=1)
    command.add_argument("--steps", type=int, default=6)
    command.add_argument("--overlap", nargs="+", default=["0", "2", "auto"])
    command.quick(days=4, core=2, steps=1, overlap=["0"])
    args = command.read(arguments)
    model = xslams.open_model("speedy-t30")
    truth = xslams.open_tutorial().isel(time=slice(args.days))
    sources = [source for name, source in observe(truth).items() if name != "pr"]
    mean, std = climatology_arrays(model, year_fraction(truth["time"]))
    channels = model.spec.state_channels
    # Short segments, so that a few weeks have enough seams to measure.
    with mock.patch.object(windows, "_REST", 0):
        seams = [w.first for w in windows.analysis_windows(args.days, 0, args.core)[1:]]
    rows = []
    for overlap in ("one piece", *args.overlap):
        core = args.days if overlap == "one piece" else args.core
        frames = model.spec.window - 1 if overlap in ("auto", "one piece") else int(overlap)
        with mock.patch.multiple(windows, CORE=core, _REST=0):
            analysis: xr.Dataset = truth.slams.assimilate(
                sources, model, members=args.members, steps=args.steps, overlap=frames, device="cpu"
            )
        fields = analysis["t"].transpose("time", "member", ...).values
        rows.append((overlap, frames, ratio((fields - mean[:, None, :channels]) / std[:, None, :channels], seams)))
        print(rows[-1], flush=True)
    first, last = (str(pd.Timestamp(truth["time"].values[i]))[:10] for i in (0, -1))
    what = f"{args.members} members, {args.steps} steps, segments of {args.core} frames, {len(seams)} seams"
    table(
        f"{first} to {last}, {what}",
        ["frames", "roughness at seams over elsewhere", "over that in one piece"],
        {name: [str(frames), f"{found:.3f}", f"{found / rows[0][2]:.3f}"] for name, frames, found in rows},
    )
