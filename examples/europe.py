"""Europe from stations and gauges at their own places: train, analyse, score and draw, by the defaults of each call.

    python -m examples.europe [--out europe] [--days 20] [--quick]

Reads the reanalysis and the stations of the folder of shared data (`XSLAMS_SHARED`, or ``shared`` beside the
repository). The model and the operators of every station are learned from 2000 to 2006, and the first days of July
2007 are analysed from the stations alone, without a background. Takes some minutes, and with ``--quick`` some seconds,
of which temperature at the stations of a year is the whole. `python -m benchmarks europe` judges a whole year.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd
import xarray as xr

from benchmarks.cases.europe import TESTING, TRAINING, during, open_sources, open_state

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("XSLAMS_SHARED", ROOT.parent / "shared")) / "data"


def run(data: Path, out: Path, days: int = 20, *, quick: bool = False) -> pd.DataFrame:
    """Train, analyse and draw.

    Parameters
    ----------
    data
        Folder of the shared data.
    out
        Folder for the model and the pictures.
    days
        Days that are analysed.
    quick
        A year of temperature, a model without trials, and few members.

    Returns
    -------
    DataFrame
        Scores of each variable.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = open_state(data)
    past = state.sel(time=TRAINING).isel(time=slice(-365 if quick else None, None))
    truth = state.sel(time=TESTING).isel(time=slice(days))
    stations = open_sources(data, ["tas"] if quick else ["tas", "pr"])

    model = past.slams.fit([during(s, past) for s in stations], budget=0 if quick else "2min", progress=not quick)
    model.save(out / "europe.safetensors")
    for operator in model.operators:
        print(operator)

    obs = [during(s, truth) for s in stations]
    settings = {"members": 4, "steps": 4} if quick else {"members": 16}
    analysis = truth.slams.assimilate(obs, model, **settings).compute()
    scores = table(analysis, truth)
    print(scores.round(2))
    draw(analysis, truth, out)
    return scores


def table(analysis: xr.Dataset, truth: xr.Dataset) -> pd.DataFrame:
    """Score each variable, in its units.

    Parameters
    ----------
    analysis, truth
        Ensemble, and what is known afterwards.

    Returns
    -------
    DataFrame
        A row for each variable.
    """
    rows = {}
    for name in truth.data_vars:
        found = analysis[[name]].slams.score(truth[[name]])
        rows[f"{name} [{truth[name].units}]"] = {m: float(found[m].mean()) for m in ("rmse", "crps", "spread_skill")}
    return pd.DataFrame(rows).T


def draw(analysis: xr.Dataset, truth: xr.Dataset, out: Path) -> None:
    """Draw mean and spread of the last day, and the rank histogram.

    Parameters
    ----------
    analysis, truth
        Ensemble, and what is known afterwards.
    out
        Folder for the pictures.
    """
    import matplotlib as mpl

    mpl.use("agg")
    last = {"time": slice(-1, None)}
    for kind in ("mean", "spread"):
        figure = getattr(analysis.isel(last).slams.plot, kind)(variable="t").figure
        figure.savefig(out / f"{kind}.png", dpi=120)
    analysis.slams.plot.rank_histogram(truth=truth).figure.savefig(out / "rank_histogram.png", dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("europe"))
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    run(SHARED, options.out, 2 if options.quick else options.days, quick=options.quick)


if __name__ == "__main__":
    main()
