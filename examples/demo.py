"""Assimilate simulated observations for ten days: the scores as a table, the ensemble as a zarr store, one day as maps.

What ``make demo`` runs: ``python examples/demo.py``. It needs neither a network nor a GPU, and takes a minute or two.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import xslams
from xslams.inference.arrays import climatology_arrays
from xslams.labels.calendar import year_fraction
from xslams.labels.channels import from_channels

ROOT = Path(__file__).resolve().parents[1]
DAYS, MEMBERS = 10, 8


def observe(truth: xr.Dataset) -> list[xslams.Observation]:
    """Simulate three instruments, each with its own grid and error.

    Parameters
    ----------
    truth
        The simulation, of which the analysis sees nothing else.

    Returns
    -------
    list of Observation
        Rain gauges, a satellite and stations.
    """
    gauges = xslams.simulate_observations(truth["pr"], mask=0.5, error=1.0, seed=1)
    satellite = xslams.simulate_observations(truth["olr"], coarsen={"lat": 2, "lon": 2}, error=5.0, seed=2)
    stations = xslams.simulate_observations(truth["t"].isel(sigma=slice(0, 2)), stations=200, error=1.0, seed=3)
    names = ("gauges", "satellite", "stations")
    return [o.replace(name=n) for o, n in zip((gauges, satellite, stations), names, strict=True)]


def climatology(model: xslams.Model, like: xr.Dataset, seed: int = 0) -> xr.Dataset:
    """Draw from the model's seasonal climatology, cell by cell: what is known without any observation.

    Parameters
    ----------
    model
        Model that learned mean and spread of every cell and day of the year.
    like
        Grid and times.
    seed
        Of the random members.

    Returns
    -------
    Dataset
        An ensemble of the state.
    """
    mean, std = climatology_arrays(model, year_fraction(like["time"]))
    mean, std = (a[:, : model.spec.state_channels] for a in (mean, std))
    noise = np.random.default_rng(seed).standard_normal((MEMBERS, *mean.shape))
    return from_channels((mean + std * noise).astype(np.float32), model.spec, like, member=np.arange(MEMBERS))


def table(background: xr.Dataset, analysis: xr.Dataset, truth: xr.Dataset) -> pd.DataFrame:
    """Scores of temperature by level, and of all levels together.

    Parameters
    ----------
    background, analysis, truth
        Fields to score, and what they are scored against.

    Returns
    -------
    DataFrame
        One row for each level, and one for their mean.
    """
    columns = {}
    for label, fields in (("background", background), ("analysis", analysis)):
        scores = fields.slams.score(truth).compute()
        for name, title in (("rmse", "RMSE [K]"), ("crps", "CRPS [K]"), ("spread_skill", "spread/error")):
            columns[label, title] = scores[name].to_series()
    frame = pd.DataFrame(columns)
    frame.loc["mean"] = frame.mean()
    return frame.rename_axis("sigma")


def save(analysis: xr.Dataset, path: Path) -> None:
    """Write a zarr store that is there complete or not at all.

    Parameters
    ----------
    analysis
        What to write.
    path
        Where; what was there is replaced.
    """
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        analysis.to_zarr(temporary, mode="w", consolidated=False)
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def main(model_name: str, out: Path, steps: int) -> None:
    """Run the demonstration.

    Parameters
    ----------
    model_name
        Name or path of a model.
    out
        Folder to write to.
    steps
        Steps from noise to state.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    model = xslams.open_model(model_name)
    truth = xslams.open_tutorial("speedy").isel(time=slice(20, 20 + DAYS))
    obs = observe(truth)
    print(model, *obs, sep="\n")

    analysis = truth.slams.assimilate(obs, model, members=MEMBERS, steps=steps, device="cpu", progress=True)

    background = climatology(model, truth)
    print(
        "\nTemperature against the truth, weighted by area. The background is the model's climatology, "
        "which has seen no observation.\n"
    )
    print(table(background, analysis, truth).to_string(float_format="{:.2f}".format))
    save(analysis, out / "demo.zarr")
    figure = analysis.slams.plot(truth, obs)
    figure.savefig(out / "demo.png", dpi=110)
    print(f"\nWrote {out / 'demo.zarr'} and {out / 'demo.png'} in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="speedy-t30", help="name or path of a model (%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="folder to write to (%(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="steps from noise to state (%(default)s)")
    arguments = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "agg")
    main(arguments.model, arguments.out, arguments.steps)
