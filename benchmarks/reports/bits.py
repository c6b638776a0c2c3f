"""Hashes of results through the public API, to see whether a change of the code keeps every bit.

    python -m benchmarks bits --keep before.npz            # before a change
    python -m benchmarks bits --against before.npz         # after it: which cases differ, and by how much

Bits depend on the processor and on the versions of libraries: compare runs on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import xarray as xr

import xslams
from benchmarks.cases import ncep as case
from xslams.inference import importance_weights, prior_of, resample, sample_posterior

Arrays = dict[str, np.ndarray]


def flat(ds: xr.Dataset) -> Arrays:
    return {str(k): np.asarray(v.values) for k, v in ds.data_vars.items()}


def sources(truth: xr.Dataset) -> list[xslams.Observation]:
    gauges = xslams.simulate_observations(truth["pr"], mask=0.5, error=1.0, seed=1)
    satellite = xslams.simulate_observations(truth["olr"], coarsen={"lat": 2, "lon": 2}, error=5.0, seed=2)
    stations = xslams.simulate_observations(truth["t"].isel(sigma=slice(0, 2)), stations=200, error=1.0, seed=3)
    names = ("gauges", "satellite", "stations")
    return [o.replace(name=n) for o, n in zip((gauges, satellite, stations), names, strict=True)]


def tutorial() -> Arrays:
    truth = xslams.open_tutorial().isel(time=slice(0, 6))
    analysis = truth.slams.assimilate(sources(truth), "speedy-t30", members=4, steps=16, report=True)
    report = analysis.slams.report()
    return flat(analysis) | {f"report_{k}": v for k, v in flat(report).items()}


def ways() -> Arrays:
    """Each guidance and sampler, and every kind of likelihood, on three days."""
    truth = xslams.open_tutorial().isel(time=slice(20, 23))
    obs = sources(truth)
    found: Arrays = {}
    runs: dict[str, dict] = {
        **{f"sampler {s}": {"sampler": s} for s in ("ab2", "ddim", "ddpm", "dpmpp2m", "heun", "unipc")},
        "sda": {"guidance": "sda"},
        "dps": {"guidance": "dps"},
        "corrections": {"corrections": 1},
        "background": {"background_error": 2.0},
        "antithetic": {"antithetic": True, "members": 2},
    }
    for name, options in runs.items():
        options = {"members": 1, "steps": 5, **options}
        found |= {f"{name} {k}": v for k, v in flat(truth.slams.assimilate(obs, "speedy-t30", **options)).items()}
    stations = obs[2]
    likelihoods = {
        "huber": {"robust": "huber"},
        "student": {"robust": "student-t"},
        "bias": {"bias_error": 0.5, "bias_per": "station"},
        "bias huber": {"bias_error": 0.5, "bias_per": "station", "robust": "huber"},
        "check": {"background_check": 3.0},
        "superob": {"superob": 1000.0},
        "thin": {"thin": 1000.0},
        "auto": {"representativeness": "auto"},
    }
    for name, qc in likelihoods.items():
        analysis = truth.slams.assimilate([stations.replace(qc=qc)], "speedy-t30", members=2, steps=5, report=True)
        found |= {f"{name} {k}": v for k, v in flat(analysis).items()}
        found |= {f"{name} report_{k}": v for k, v in flat(analysis.slams.report()).items()}
    thickness = (truth["t"].mean("sigma")).assign_attrs(units="K").rename("mean_t")
    function = xslams.Observation(thickness, error=1.0, operator=lambda fields: fields["t"].mean(dim=2))
    analysis = truth.slams.assimilate([obs[0], function], "speedy-t30", members=1, steps=5, report=True)
    found |= {f"function {k}": v for k, v in flat(analysis).items()}
    found |= {f"function report_{k}": v for k, v in flat(analysis.slams.report()).items()}
    check = truth.slams.check(obs, "speedy-t30", background_error=2.0)
    found |= {f"check_{k}": v for k, v in flat(check).items()}
    lazy = xslams.open_tutorial().isel(time=slice(0, 41)).chunk()
    found |= {
        f"lazy {k}": v
        for k, v in flat(lazy.slams.assimilate(sources(lazy.compute()), "speedy-t30", members=1, steps=3)).items()
    }
    latent = truth.slams.encode("speedy-t30")
    found |= {"encoded": (latent["latent"] if "latent" in latent else latent["z"]).values}
    found |= {f"decoded {k}": v for k, v in flat(latent.slams.decode()).items()}
    return found


def ncep() -> Arrays:
    data = case.shared_data()
    fields = case.open_fields(data)
    stations = case.open_stations(data, fields)
    training = fields.sel(time=case.TRAINING)
    obs = case.station_observations(stations, case.calibrate_stations(training, stations))
    obs = [*obs, case.sst_observation(training, case.open_sst(data, fields))]
    month = fields.sel(time=slice("2014-06-27", "2014-08-04"))
    analysis = month.slams.assimilate(obs, "ncep-na", members=4, steps=16, antithetic=True)
    scores = analysis.slams.score(month)
    return flat(analysis) | {f"score_{k}": v for k, v in flat(scores).items()}


def systems() -> Arrays:
    found: Arrays = {}
    for name, length, every in (("lorenz63", 41, 8), ("lorenz63-ode", 31, 5), ("lorenz96", 13, 4)):
        prior = prior_of(xslams.open_model(name), length=length)
        truth = prior.denoiser.forecast(
            torch.zeros(1, 1, *prior.shape[1:]), 200, generator=torch.Generator().manual_seed(1)
        )
        truth = prior.states(truth[:, -length:])

        def observe(z: torch.Tensor) -> torch.Tensor:
            return prior.states(z)[:, ::every].flatten(1)

        generator = torch.Generator().manual_seed(0)
        y = truth[:, ::every].flatten() + 0.5 * torch.randn(truth[:, ::every].numel(), generator=generator)
        for options in ({}, {"corrections": 1, "steps": 10}, {"guidance": "sda", "steps": 8}):
            z = sample_posterior(
                prior.denoiser,
                y,
                observe,
                0.25,
                shape=prior.shape,
                members=16,
                generator=torch.Generator().manual_seed(2),
                **options,
            )
            found[f"{name} {options}"] = prior.states(z).numpy()
        weights = importance_weights(prior.denoiser, z, y, observe, 0.25)
        found[f"{name} weights"] = weights.numpy()
        found[f"{name} resampled"] = resample(z, weights, generator=torch.Generator().manual_seed(3)).numpy()
    return found


def grids() -> Arrays:
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
                found |= {f"{name} {method} {edges} {k}": v for k, v in flat(out).items()}
    back = truth.slams.regrid(curved).slams.regrid(regular, method="conservative")
    return found | {f"back {k}": v for k, v in flat(back).items()}


def fit() -> Arrays:
    truth = xslams.open_tutorial().coarsen(lat=4, lon=4).mean()
    for k, v in xslams.open_tutorial().data_vars.items():
        truth[k].attrs = v.attrs
    model = truth.slams.fit(aux=["pr", "olr"], window=3, epochs=1, autoencoder_epochs=2, modes=20, progress=False)
    z = truth.slams.encode(model)
    analysis = truth.isel(time=slice(0, 4)).slams.assimilate(
        xslams.simulate_observations(truth["pr"].isel(time=slice(0, 4)), error=1.0), model, members=1, steps=5
    )
    return {"encoded": (z["latent"] if "latent" in z else z["z"]).values} | flat(analysis)


CASES: dict[str, Callable[[], Arrays]] = {
    "tutorial": tutorial,
    "ways": ways,
    "ncep": ncep,
    "systems": systems,
    "grids": grids,
    "fit": fit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    kept = np.load(options.against) if options.against else {}
    everything: Arrays = {}
    worst = 0
    for name in options.cases:
        start = time.perf_counter()
        arrays = {f"{name}/{k}": v for k, v in CASES[name]().items()}
        everything |= arrays
        digest = hashlib.sha256()
        for key in sorted(arrays):
            digest.update(
                key.encode() + np.ascontiguousarray(arrays[key]).tobytes() if arrays[key].dtype != object else b""
            )
        print(
            f"{name:<10} {digest.hexdigest()[:16]}  {len(arrays)} arrays, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        if not options.against:
            continue
        for key, value in arrays.items():
            if key not in kept:
                print(f"  new: {key}")
            elif kept[key].shape != value.shape:
                print(f"  shape: {key} {kept[key].shape} -> {value.shape}")
            elif not np.array_equal(kept[key], value, equal_nan=value.dtype.kind == "f"):
                worst += 1
                off = np.abs(kept[key].astype(float) - value.astype(float))
                print(
                    f"  differs: {key}: max {np.nanmax(off):.3g}, rms {np.sqrt(np.nanmean(off**2)):.3g} of std {np.nanstd(kept[key]):.3g}"
                )
        for key in [k for k in getattr(kept, "files", []) if k.startswith(f"{name}/") and k not in arrays]:
            print(f"  gone: {key}")
    if options.keep:
        np.savez(options.keep, **everything)
    if options.against:
        print("all bits are the same" if not worst else f"{worst} arrays differ")


if __name__ == "__main__":
    main()
