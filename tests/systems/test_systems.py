"""What all systems have in common: labels, seeds, starts and errors."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import xslams
from xslams.errors import DimensionError, OptionError, SlamsError, VariableError
from xslams.systems import KolmogorovFlow, Lorenz63, Lorenz96, ShallowWater, System
from xslams.systems.common import rk4

# Small and slow to diverge, so that every law can be tried on all.
SYSTEMS = {
    "lorenz63": Lorenz63(),
    "lorenz63-noise": Lorenz63(noise=1.0),
    "lorenz96": Lorenz96(sites=8),
    "kolmogorov": KolmogorovFlow(size=16, wavenumber=2, reynolds=50.0),
    "shallow-water": ShallowWater(truncation=12, dt=3600.0),
}
each = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS.keys())


def quiet(system: System) -> System:
    """The same system without noise."""
    return replace(system, noise=0.0) if isinstance(system, Lorenz63) else system


def difference(system: System, actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of states over the largest value, variable by variable since units differ."""
    if len(system.variables) > 1:
        axis = -1 - len(system.dims)
        actual, expected = np.moveaxis(actual, axis, 0), np.moveaxis(expected, axis, 0)
    else:
        actual, expected = actual[None], expected[None]
    axes = tuple(range(1, actual.ndim))
    return (abs(actual - expected).max(axes) / abs(expected).max(axes)).max()


@each
def test_dataset_follows_cf(system: System) -> None:
    ds = system.simulate(2, trajectories=2, seed=3, spinup=1)
    assert ds.attrs["Conventions"] == "CF-1.11"
    assert f"{system!r}.simulate(steps=2, trajectories=2, seed=3, spinup=1)" in ds.attrs["history"]
    assert (ds.attrs["system"], ds.attrs["seed"], ds.attrs["dt"]) == (type(system).__name__, 3, system.dt)
    assert set(system.variables) <= set(ds.data_vars)
    for field in ds.data_vars.values():
        assert field.dims == ("trajectory", "time", *system.dims)
        assert field.dtype == float
        assert np.isfinite(field).all()
        assert field.attrs["units"]
        assert field.attrs["long_name"]
    assert set(ds.coords) == {"trajectory", "time", *system.dims}
    for name, coordinate in ds.coords.items():
        # Units of dates are those of their encoding.
        assert name == "time" or coordinate.attrs["units"]
        assert coordinate.attrs["long_name"]
    assert ds["trajectory"].attrs["standard_name"] == "realization"
    assert ds["time"].attrs["axis"] == "T"


@each
def test_dataset_goes_through_a_file(system: System, tmp_path) -> None:
    ds = system.simulate(1)
    ds.to_netcdf(tmp_path / "truth.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "truth.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back, ds)
        assert back.attrs["history"] == ds.attrs["history"]


@each
def test_state_undoes_the_labels(system: System) -> None:
    ds = system.simulate(2, trajectories=3, spinup=0)
    state = system.state(ds)
    assert state.shape == (3, 3, *system.shape)
    # Spectral systems come back from their transforms.
    np.testing.assert_allclose(state[:, 0], system.draw(3), rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(system.state(ds.transpose(..., "trajectory", "time")), state)


@each
def test_same_seed_same_trajectories_however_many(system: System) -> None:
    ds = system.simulate(3, trajectories=3, seed=7, spinup=2)
    xr.testing.assert_equal(system.simulate(3, trajectories=3, seed=7, spinup=2), ds)
    xr.testing.assert_equal(system.simulate(3, trajectories=1, seed=7, spinup=2), ds.isel(trajectory=[0]))
    xr.testing.assert_equal(system.simulate(3, trajectories=2, seed=7, spinup=2), ds.isel(trajectory=[0, 1]))
    xr.testing.assert_equal(system.simulate(3, seed=7, spinup=2), ds.isel(trajectory=0, drop=True))
    other = system.simulate(3, trajectories=3, seed=8, spinup=2)
    first, second, third = system.state(ds)
    assert abs(first - second).max() > 0
    assert abs(second - third).max() > 0
    assert all(abs(a - b).max() > 0 for a, b in zip(system.state(other), (first, second, third), strict=True))


@each
def test_spinup_is_what_comes_before(system: System) -> None:
    whole = system.simulate(5, seed=1, spinup=0)
    late = system.simulate(2, seed=1, spinup=3)
    np.testing.assert_array_equal(system.state(late), system.state(whole)[3:])
    assert late["time"][0] == whole["time"][0]


@each
def test_simulate_repeats_step(system: System) -> None:
    system = quiet(system)
    x = system.state(system.simulate(3, trajectories=2, seed=1, spinup=0))
    assert difference(system, system.step(x[:, :-1]), x[:, 1:]) < 1e-9


@each
def test_start_continues_a_simulation(system: System) -> None:
    system = quiet(system)
    ds = system.simulate(4, trajectories=2, seed=2, spinup=1)
    middle, x = ds.isel(time=2), system.state(ds)
    for start in (middle, system.state(middle)):
        again = system.simulate(2, trajectories=2, start=start)
        assert difference(system, system.state(again), x[:, 2:]) < 1e-9
    alone = system.simulate(2, start=middle.isel(trajectory=1))
    assert difference(system, system.state(alone), x[1, 2:]) < 1e-9
    # One state for all of them.
    same = system.state(system.simulate(1, trajectories=3, start=x[0, 0]))
    np.testing.assert_array_equal(same[0], same[2])


@each
def test_tendency_is_the_slope_of_step(system: System) -> None:
    x = system.state(quiet(system).simulate(0, trajectories=2, seed=4, spinup=2))[:, 0]
    errors = []
    for part in (500, 1000):
        short = replace(system, dt=system.dt / part, substeps=1)
        middle = short.step(x)
        slope = (short.step(middle) - x) / (2 * short.dt)
        errors.append(difference(system, slope, system.tendency(middle)))
    assert errors[1] < 2e-6
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.3)  # central differences are of second order
    assert difference(system, system.tendency(x)[1], system.tendency(x[1])) < 1e-9


def test_rk4_has_an_exact_integrating_factor() -> None:
    # x' = -3 x + t, with t as a second component that is not damped.
    exact = 10 / 9 * np.exp(-3) + 1 / 3 - 1 / 9
    errors = []
    for steps in (20, 40):
        half = np.exp(-0.5 * np.array([3.0, 0.0]) / steps)
        x = np.array([1.0, 0.0])
        for _ in range(steps):
            x = rk4(lambda s: np.array([s[1], 1.0]), x, 1 / steps, half)
        assert x[1] == pytest.approx(1.0, abs=1e-14)
        errors.append(abs(x[0] - exact))
    assert errors[1] < 1e-8
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.05)
    # Damping alone has no error, however long the step.
    assert rk4(lambda s: 0 * s, np.array(1.0), 0.1, np.exp(-1.0)) == pytest.approx(np.exp(-2.0), rel=1e-15)


@each
def test_a_wrong_start_is_named(system: System) -> None:
    wrong = np.zeros((*system.shape[:-1], system.shape[-1] + 1))
    for call in (system.step, system.tendency, lambda x: system.simulate(1, start=x)):
        with pytest.raises(DimensionError, match=r"shape .* expected .* as its last axes"):
            call(wrong)
    good = system.draw(3)
    with pytest.raises(DimensionError, match="3 states; expected one, or one for each of trajectories=2"):
        system.simulate(1, trajectories=2, start=good)
    with pytest.raises(OptionError, match="missing or infinite"):
        system.simulate(1, start=np.full(system.shape, np.nan))
    ds = system.simulate(1)
    with pytest.raises(DimensionError, match=r"2 frames; expected one.*isel\(time=-1\)"):
        system.simulate(1, start=ds)
    with pytest.raises(VariableError, match=f"needs {', '.join(system.variables)}"):
        system.simulate(1, start=ds.isel(time=0).drop_vars(system.variables[-1]))
    if system.dims:
        with pytest.raises(DimensionError, match=f"the data lack {system.dims[-1]}"):
            system.state(ds.isel({system.dims[-1]: 0}))


@each
@pytest.mark.parametrize(
    "options",
    [{"steps": -1}, {"steps": 1.5}, {"trajectories": 0}, {"trajectories": True}, {"seed": -1}, {"spinup": -2}],
    ids=str,
)
def test_a_wrong_number_is_named(system: System, options: dict) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"{name}=.*; expected a whole number, at least"):
        system.simulate(**{"steps": 1, **options})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Lorenz63, {"sigma": np.nan}),
        (Lorenz63, {"dt": 0.0}),
        (Lorenz63, {"noise": -1.0}),
        (Lorenz63, {"substeps": 0}),
        (Lorenz96, {"sites": 3}),
        (Lorenz96, {"forcing": np.inf}),
        (Lorenz96, {"dt": "0.05"}),
        (KolmogorovFlow, {"size": 65}),
        (KolmogorovFlow, {"size": 4}),
        (KolmogorovFlow, {"reynolds": -1.0}),
        (KolmogorovFlow, {"wavenumber": 22}),
        (KolmogorovFlow, {"coarsen": 3}),
        (KolmogorovFlow, {"max_speed": 0.0}),
        (ShallowWater, {"truncation": 11}),
        (ShallowWater, {"initial": "calm"}),
        (ShallowWater, {"perturbation": -1.0}),
        (ShallowWater, {"depth": 0.0}),
        (ShallowWater, {"diffusion_time": -1.0}),
        (ShallowWater, {"diffusion_order": 3}),
        (ShallowWater, {"epoch": "tomorrow"}),
        (ShallowWater, {"epoch": "NaT"}),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_named(kind: type[System], options: dict) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"{name}=.*; expected ") as caught:
        kind(**options)
    assert isinstance(caught.value, SlamsError)


@pytest.mark.parametrize(
    "system",
    [
        Lorenz63(dt=1.0),
        Lorenz96(dt=1.0),
        KolmogorovFlow(size=16, wavenumber=2, dt=20.0, substeps=1),
        ShallowWater(truncation=12, substeps=1),
    ],
    ids=lambda s: type(s).__name__,
)
def test_divergence_is_an_error_and_no_warning(system: System) -> None:
    with pytest.raises(OptionError, match=r"diverged within \d+ steps of the start. Use a smaller step"):
        system.simulate(100)


def test_systems_load_when_they_are_asked_for() -> None:
    code = "import sys, xslams; assert 'xslams.systems' not in sys.modules; xslams.systems.Lorenz63().simulate(1); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert xslams.systems.Lorenz63 is Lorenz63
