"""Hashes of results through the public API, to see whether a change of the code keeps every bit.

    python -m benchmarks bits --keep before.npz            # before a change
    python -m benchmarks bits --against before.npz         # after it: which cases differ, and by how much

Cases: ``tutorial`` an analysis of six days with a report; ``ways`` every guidance, sampler and kind of likelihood;
``ncep`` a month of the real case, with scores; ``systems`` posteriors of Lorenz-63 and Lorenz-96; ``grids`` regridding;
``fit`` a model that is trained for seconds. All of them take three minutes.

Bits depend on the processor and on the versions of libraries: compare runs on one machine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

import xslams
from benchmarks.cases import ncep as case
from benchmarks.cases import shared_data, speedy
from benchmarks.command import Command
from benchmarks.timing import Stopwatch
from xslams.inference import importance_weights, prior_of, resample, sample_posterior

Arrays = dict[str, npt.NDArray[Any]]


def arrays_of(ds: xr.Dataset, prefix: str = "") -> Arrays:
    """Return the values of all variables of a Dataset by name."""
    return {f"{prefix}{name}": np.asarray(variable.values) for name, variable in ds.data_vars.items()}


def sources(truth: xr.Dataset) -> list[xslams.Observation]:
    """Observe the global fields by gauges, a satellite and stations."""
    names = {"pr": "gauges", "olr": "satellite", "t": "stations"}
    return [source.replace(name=names[variable]) for variable, source in speedy.observe(truth).items()]


def tutorial() -> Arrays:
    """Six days of the tutorial, with a report on the observations."""
    truth = xslams.open_tutorial().isel(time=slice(0, 6))
    analysis = truth.slams.assimilate(sources(truth), "speedy-t30", members=4, steps=16, report=True)
    return arrays_of(analysis) | arrays_of(analysis.slams.report(), "report_")


#: Options of the analyses of `ways`.
WAYS: dict[str, dict[str, Any]] = {
    **{f"sampler {name}": {"sampler": name} for name in ("ab2", "ddim", "ddpm", "dpmpp2m", "heun", "unipc")},
    "sda": {"guidance": "sda"},
    "dps": {"guidance": "dps"},
    "corrections": {"corrections": 1},
    "background": {"background_error": 2.0},
    "antithetic": {"antithetic": True, "members": 2},
}
#: Quality control of the stations in the analyses of `ways`.
LIKELIHOODS: dict[str, dict[str, object]] = {
    "huber": {"robust": "huber"},
    "student": {"robust": "student-t"},
    "bias": {"bias_error": 0.5, "bias_per": "station"},
    "bias huber": {"bias_error": 0.5, "bias_per": "station", "robust": "huber"},
    "check": {"background_check": 3.0},
    "superob": {"superob": 1000.0},
    "thin": {"thin": 1000.0},
    "auto": {"representativeness": "auto"},
}


def ways() -> Arrays:
    """Return three days with each guidance, sampler and kind of likelihood; latents; a lazy analysis."""
    truth = xslams.open_tutorial().isel(time=slice(20, 23))
    obs = sources(truth)
    gauges, stations = obs[0], obs[2]
    found: Arrays = {}
    for name, options in WAYS.items():
        settings = {"members": 1, "steps": 5, **options}
        found |= arrays_of(truth.slams.assimilate(obs, "speedy-t30", **settings), f"{name} ")
    for name, qc in LIKELIHOODS.items():
        found |= _reported(truth, [stations.replace(qc=qc)], f"{name} ", members=2)
    # An observation operator that is a function of the fields.
    mean = (truth["t"].mean("sigma")).assign_attrs(units="K").rename("mean_t")
    function = xslams.Observation(mean, error=1.0, operator=lambda fields: fields["t"].mean(dim=2))
    found |= _reported(truth, [gauges, function], "function ", members=1)
    found |= arrays_of(truth.slams.check(obs, "speedy-t30", background_error=2.0), "check_")
    lazy = xslams.open_tutorial().isel(time=slice(0, 41)).chunk()
    found |= arrays_of(lazy.slams.assimilate(sources(lazy.compute()), "speedy-t30", members=1, steps=3), "lazy ")
    latent = truth.slams.encode("speedy-t30")
    return found | {"encoded": latent["latent"].values} | arrays_of(latent.slams.decode(), "decoded ")


def _reported(truth: xr.Dataset, obs: list[xslams.Observation], prefix: str, members: int) -> Arrays:
    analysis = truth.slams.assimilate(obs, "speedy-t30", members=members, steps=5, report=True)
    return arrays_of(analysis, prefix) | arrays_of(analysis.slams.report(), f"{prefix}report_")


def ncep() -> Arrays:
    """Return a month of the real case, from stations and sea-surface temperature, and its scores."""
    data = shared_data()
    fields = case.open_fields(data)
    stations = case.open_stations(data, fields)
    training = fields.sel(time=case.TRAINING)
    obs = case.station_observations(stations, training)
    obs = [*obs, case.sst_observation(training, case.open_sst(data, fields))]
    month = fields.sel(time=slice("2014-06-27", "2014-08-04"))
    analysis = month.slams.assimilate(obs, "ncep-na", members=4, steps=16, antithetic=True)
    return arrays_of(analysis) | arrays_of(analysis.slams.score(month), "score_")


#: Length of trajectories, and frames from one observation time to the next, for `systems`.
SYSTEMS = {"lorenz63": (41, 8), "lorenz63-ode": (31, 5), "lorenz96": (13, 4)}


def systems() -> Arrays:
    """Return trajectories of small systems given some of their frames, their evidence, and what replaces them."""
    found: Arrays = {}
    for name, (length, every) in SYSTEMS.items():
        prior = prior_of(xslams.open_model(name), length=length)
        denoiser: Any = prior.denoiser
        start = torch.zeros(1, 1, *prior.shape[1:])
        truth = denoiser.forecast(start, 200, generator=torch.Generator().manual_seed(1))
        truth = prior.states(truth[:, -length:])

        def observe(z: torch.Tensor, states: Any = prior.states, every: int = every) -> torch.Tensor:
            return states(z)[:, ::every].flatten(1)

        generator = torch.Generator().manual_seed(0)
        y = truth[:, ::every].flatten() + 0.5 * torch.randn(truth[:, ::every].numel(), generator=generator)
        runs: list[dict[str, Any]] = [{}, {"corrections": 1, "steps": 10}, {"guidance": "sda", "steps": 8}]
        for options in runs:
            z = sample_posterior(
                denoiser, y, observe, 0.25, shape=prior.shape, members=16,
                generator=torch.Generator().manual_seed(2), **options,
            )  # fmt: skip
            found[f"{name} {options}"] = prior.states(z).numpy()
        weights = importance_weights(denoiser, z, y, observe, 0.25)
        found[f"{name} weights"] = weights.numpy()
        found[f"{name} resampled"] = resample(z, weights, generator=torch.Generator().manual_seed(3)).numpy()
    return found


def grids() -> Arrays:
    """Return two days on a curvilinear grid, a regular one and at points, by all methods, and back."""
    truth = xslams.open_tutorial().isel(time=slice(0, 2))
    lon2, lat2 = np.meshgrid(np.arange(0, 60, 2.5), np.arange(20, 70, 2.5))
    curved = xr.Dataset(coords={"lat": (("y", "x"), lat2 + 0.05 * lon2), "lon": (("y", "x"), lon2 - 0.1 * lat2)})
    regular = xr.Dataset(coords={"lat": np.linspace(-88, 88, 45), "lon": np.arange(0, 360, 5.0)})
    places = xr.Dataset(coords={"lat": ("station", lat2.ravel()), "lon": ("station", lon2.ravel() - 100)})
    found: Arrays = {}
    for name, target in (("curved", curved), ("regular", regular), ("places", places)):
        for method in ("bilinear", "conservative", "nearest"):
            if name == "places" and method == "conservative":
                continue
            for edges in ("great_circle", "parallel"):
                if edges == "parallel" and name == "curved":
                    continue
                out = truth.slams.regrid(target, method=method, edges=edges)
                found |= arrays_of(out, f"{name} {method} {edges} ")
    back = truth.slams.regrid(curved).slams.regrid(regular, method="conservative")
    return found | arrays_of(back, "back ")


def fit() -> Arrays:
    """Return latents and an analysis of a model that is trained on the tutorial, four times as coarse."""
    truth = xslams.open_tutorial().coarsen(lat=4, lon=4).mean()
    for name, variable in xslams.open_tutorial().data_vars.items():
        truth[name].attrs = variable.attrs
    sizes = {"epochs": 1, "patch": 4, "hidden": 64, "autoencoder_epochs": 2, "modes": 20}
    model = truth.slams.fit(aux=["pr", "olr"], window=3, budget=0, progress=False, **sizes)
    latent = truth.slams.encode(model)
    days = truth.isel(time=slice(0, 4))
    analysis = days.slams.assimilate(xslams.simulate_observations(days["pr"], error=1.0), model, members=1, steps=5)
    return {"encoded": latent["latent"].values} | arrays_of(analysis)


CASES: dict[str, Callable[[], Arrays]] = {
    "tutorial": tutorial,
    "ways": ways,
    "ncep": ncep,
    "systems": systems,
    "grids": grids,
    "fit": fit,
}


def digest(arrays: Arrays) -> str:
    """Return a short hash of numbers and their names; texts do not count."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        if arrays[name].dtype != object:
            found.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()[:16]


def differences(arrays: Arrays, kept: Mapping[str, npt.NDArray[Any]]) -> tuple[int, list[str]]:
    """Compare with arrays that were kept.

    Parameters
    ----------
    arrays
        What was computed, by name.
    kept
        What there was before.

    Returns
    -------
    tuple of int and list of str
        Number of arrays whose bits differ, and a line on each array that differs, is new, or has another shape.
    """
    count, lines = 0, []
    for name, value in arrays.items():
        if name not in kept:
            lines.append(f"  new: {name}")
        elif kept[name].shape != value.shape:
            lines.append(f"  shape: {name} {kept[name].shape} -> {value.shape}")
        elif not np.array_equal(kept[name], value, equal_nan=value.dtype.kind == "f"):
            count += 1
            off = np.abs(kept[name].astype(float) - value.astype(float))
            size = f"max {np.nanmax(off):.3g}, rms {np.sqrt(np.nanmean(off**2)):.3g} of std {np.nanstd(kept[name]):.3g}"
            lines.append(f"  differs: {name}: {size}")
    return count, lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a hash of each case, and how it differs from what was kept."""
    command = Command(__name__, __doc__)
    command.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    command.add_argument("--keep", type=Path, help="file to write")
    command.add_argument("--against", type=Path, help="file to compare with")
    command.quick(cases=["grids"])
    options = command.read(arguments)
    kept: Mapping[str, npt.NDArray[Any]] = np.load(options.against) if options.against else {}
    everything: Arrays = {}
    changed = 0
    for name in options.cases:
        watch = Stopwatch()
        arrays = {f"{name}/{key}": value for key, value in CASES[name]().items()}
        everything |= arrays
        print(f"{name:<10} {digest(arrays)}  {len(arrays)} arrays, {watch.read().clock:.0f} s", flush=True)
        if options.against:
            count, lines = differences(arrays, kept)
            changed += count
            lines += [f"  gone: {key}" for key in kept if key.startswith(f"{name}/") and key not in arrays]
            print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    if options.keep:
        np.savez(options.keep, **everything)  # type: ignore[arg-type]
    if options.against:
        print(f"{changed} arrays differ" if changed else "all bits are the same")
