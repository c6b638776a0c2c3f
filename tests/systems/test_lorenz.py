"""Lorenz-63 and Lorenz-96: order of accuracy, invariants, known solutions, and the density of the noisy chain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats as st

from xslams.errors import OptionError
from xslams.systems import Lorenz63, Lorenz96


def observed_order(system, state, counts, reference):
    """Orders of accuracy between numbers of steps that double."""
    exact = replace(system, substeps=reference).step(state)
    errors = [np.sqrt(np.mean((replace(system, substeps=n).step(state) - exact) ** 2)) for n in counts]
    assert errors[-1] > 1e-12  # still above rounding
    return np.log2(np.divide(errors[:-1], errors[1:]))


def test_lorenz63_is_of_fourth_order() -> None:
    orders = observed_order(Lorenz63(dt=0.4), np.array([1.0, 2.0, 20.0]), (40, 80, 160), 2560)
    np.testing.assert_allclose(orders, 4, atol=0.04)


def test_lorenz63_fixed_points() -> None:
    system = Lorenz63()
    c = np.sqrt(system.beta * (system.rho - 1))
    points = np.array([[0, 0, 0], [c, c, system.rho - 1], [-c, -c, system.rho - 1]])
    np.testing.assert_allclose(system.tendency(points), 0, atol=1e-13)
    np.testing.assert_allclose(system.step(points), points, atol=1e-13)
    # Eigenvalues at the origin, where x and y separate from z.
    eps = 1e-6
    jacobian = np.stack([system.tendency(eps * e) / eps for e in np.eye(3)], axis=1)
    root = np.sqrt((system.sigma - 1) ** 2 + 4 * system.sigma * system.rho)
    expected = [-(system.sigma + 1 + root) / 2, -system.beta, (root - system.sigma - 1) / 2]
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(jacobian).real), expected, rtol=1e-6)


def test_lorenz63_decays_along_the_vertical_axis() -> None:
    ds = Lorenz63(substeps=4).simulate(40, start=[0.0, 0.0, 30.0])
    np.testing.assert_allclose(ds["z"], 30 * np.exp(-8 / 3 * ds["time"]), rtol=1e-8)
    assert not ds["x"].any()
    assert not ds["y"].any()


def test_lorenz63_volumes_contract_at_the_known_rate() -> None:
    # Liouville: the determinant of the flow's Jacobian is exp of the divergence, the same everywhere, times time.
    system = Lorenz63(substeps=20)
    starts = system.simulate(8, seed=5, spinup=200)
    x, eps = system.state(starts), 1e-4
    columns = [(system.step(x + eps * e) - system.step(x - eps * e)) / (2 * eps) for e in np.eye(3)]
    rate = np.log(np.linalg.det(np.stack(columns, axis=-1))) / system.dt
    np.testing.assert_allclose(rate, -(10 + 1 + 8 / 3), rtol=2e-7)


def test_lorenz63_symmetry() -> None:
    system, flip = Lorenz63(), np.array([-1.0, -1.0, 1.0])
    x = system.draw(5)
    np.testing.assert_array_equal(system.step(flip * x), flip * system.step(x))


def test_lorenz63_attractor_has_the_stated_moments() -> None:
    system = Lorenz63()
    x = system.standardize(system.state(system.simulate(400, trajectories=64, spinup=400)))
    np.testing.assert_allclose(system.unstandardize(x)[0, 0], system.state(system.simulate(0, spinup=400))[0])
    # They are round numbers: 23.5 and 25, and half a unit of the scale.
    np.testing.assert_allclose(x.mean((0, 1)), 0, atol=0.2)
    np.testing.assert_allclose(x.std((0, 1)), 1, atol=0.05)


def test_lorenz63_starts_are_the_stated_normal() -> None:
    system = Lorenz63()
    np.testing.assert_array_equal(system.mean, [0, 0, 25])
    np.testing.assert_array_equal(system.covariance, [[64, 50, 0], [50, 81, 0], [0, 0, 75]])
    x = system.draw(4000, seed=1)
    # Five standard errors.
    np.testing.assert_allclose(x.mean(0), system.mean, atol=5 * 9 / np.sqrt(4000))
    np.testing.assert_allclose(np.cov(x.T), system.covariance, atol=5 * 81 * np.sqrt(2 / 4000))
    expected = st.multivariate_normal(system.mean, system.covariance).logpdf(x[:100])
    np.testing.assert_allclose(system.log_start(x[:100]), expected, rtol=1e-12)


@pytest.mark.parametrize("noise", [1.0, 0.3])
def test_lorenz63_transition_density_is_that_of_scipy(noise: float) -> None:
    system = Lorenz63(noise=noise)
    before = system.draw(10)
    after = system.transition(before, np.random.default_rng(0))
    expected = [
        st.multivariate_normal(mean, noise**2 * system.dt * np.eye(3)).logpdf(x)
        for mean, x in zip(system.step(before), after, strict=True)
    ]
    np.testing.assert_allclose(system.log_transition(before, after), expected, rtol=1e-12)
    np.testing.assert_allclose(system.log_transition(before[0], after), [
        st.multivariate_normal(system.step(before[0]), noise**2 * system.dt * np.eye(3)).logpdf(x) for x in after
    ], rtol=1e-12)  # fmt: skip


def test_lorenz63_trajectory_density_is_the_sum() -> None:
    system = Lorenz63(noise=1.0)
    x = system.state(system.simulate(20, trajectories=3, spinup=0))
    steps = sum(system.log_transition(x[:, k], x[:, k + 1]) for k in range(20))
    np.testing.assert_allclose(system.log_density(x, start=False), steps)
    np.testing.assert_allclose(system.log_density(x), steps + system.log_start(x[:, 0]))
    assert system.log_density(x[0, :1]) == system.log_start(x[0, 0])
    # A trajectory of the deterministic system has less noise than is likely, and so the largest density of all.
    quiet = Lorenz63().simulate(20, start=x[0, 0])
    peak = system.log_density(system.state(quiet), start=False)
    assert peak == pytest.approx(-20 * 1.5 * np.log(2 * np.pi * 0.025), rel=1e-12)
    assert (peak > system.log_density(x, start=False)).all()


def test_lorenz63_simulated_noise_has_the_stated_law() -> None:
    system = Lorenz63(noise=1.0)
    x = system.state(system.simulate(1200, trajectories=8, seed=3, spinup=0))
    noise = (x[:, 1:] - system.step(x[:, :-1])) / np.sqrt(system.dt)
    count = noise.size
    assert st.kstest(noise.ravel(), "norm").pvalue > 0.01
    assert noise.mean() == pytest.approx(0, abs=4 / np.sqrt(count))
    assert noise.var() == pytest.approx(1, abs=4 * np.sqrt(2 / count))
    # White in time, across components and across trajectories.
    flat = noise.transpose(0, 2, 1).reshape(24, -1)
    correlation = np.corrcoef(np.concatenate([flat[:, 1:], flat[:, :-1]]))
    assert abs(correlation - np.eye(48)).max() < 4.5 / np.sqrt(1200)


def test_lorenz63_noise_is_keyed_by_trajectory_over_long_runs() -> None:
    # Noise is drawn in blocks of steps, which must not mix the streams of trajectories.
    system = Lorenz63(noise=1.0)
    x = system.state(system.simulate(1100, trajectories=3, seed=1, spinup=0))
    np.testing.assert_array_equal(system.state(system.simulate(1100, trajectories=2, seed=1, spinup=0)), x[:2])
    np.testing.assert_array_equal(system.state(system.simulate(100, seed=1, spinup=1000)), x[0, 1000:])
    # Nor is the start made of the same numbers as the first noise.
    start = np.linalg.solve(np.linalg.cholesky(system.covariance), x[0, 0] - system.mean)
    first = (x[0, 1] - system.step(x[0, 0])) / np.sqrt(system.dt)
    assert abs(start - first).min() > 1e-3


def test_lorenz63_without_noise_has_no_density() -> None:
    with pytest.raises(OptionError, match=r"noise=0.*Use Lorenz63\(noise=1.0\)"):
        Lorenz63().log_transition(np.zeros(3), np.zeros(3))


def test_lorenz96_is_of_fourth_order() -> None:
    start = Lorenz96().simulate(0, seed=1)["x"].values[0]
    np.testing.assert_allclose(observed_order(Lorenz96(dt=0.4), start, (16, 32, 64), 1024), 4, atol=0.04)


def test_lorenz96_advection_conserves_energy() -> None:
    system = Lorenz96(forcing=0.0, damping=0.0, dt=1.0)
    x = 3 * np.random.default_rng(0).standard_normal((4, 40))
    slope = (x * system.tendency(x)).sum(-1)
    np.testing.assert_allclose(slope, 0, atol=1e-14 * (abs(x) * abs(system.tendency(x))).sum(-1).max())
    drifts = [abs(system.energy(replace(system, substeps=n).step(x)) / system.energy(x) - 1).max() for n in (40, 80)]
    # The loss of the Runge-Kutta method is of fifth order.
    assert drifts[1] < 4e-5
    assert np.log2(drifts[0] / drifts[1]) == pytest.approx(5, abs=0.5)


def test_lorenz96_energy_balance() -> None:
    system = Lorenz96()
    x = system.draw(3)
    slope = (x * system.tendency(x)).sum(-1)
    np.testing.assert_allclose(slope, -2 * system.energy(x) + 8 * x.sum(-1), rtol=1e-12)


def test_lorenz96_uniform_state() -> None:
    system = Lorenz96()
    x = np.full(40, 8.0)
    np.testing.assert_array_equal(system.tendency(x), 0)
    np.testing.assert_array_equal(system.step(x), x)
    # Small waves on it grow as Lorenz (1996) has it.
    waves = np.exp(2j * np.pi * np.outer(np.arange(20), np.arange(40)) / 40)
    k = 2 * np.pi * np.arange(20) / 40
    rate = 8 * (np.exp(1j * k) - np.exp(-2j * k)) - 1
    eps = 1e-7
    slope = (system.tendency(x + eps * waves.real) + 1j * system.tendency(x + eps * waves.imag)) / eps
    np.testing.assert_allclose(slope, rate[:, None] * waves, atol=1e-4)


def test_lorenz96_is_the_same_at_every_site() -> None:
    system = Lorenz96()
    x = system.draw()
    np.testing.assert_array_equal(system.step(np.roll(x, 7)), np.roll(system.step(x), 7))


def test_lorenz96_attractor() -> None:
    # Mean 2.34 and standard deviation 3.64 for F = 8 are in the literature (Lorenz and Emanuel 1998: 2.3 and 3.6).
    x = Lorenz96().simulate(200, trajectories=20)["x"].values
    assert x.mean() == pytest.approx(2.34, abs=0.06)
    assert x.std() == pytest.approx(3.64, abs=0.05)


def test_lorenz96_sites_are_longitudes() -> None:
    ds = Lorenz96(sites=36).simulate(1)
    np.testing.assert_allclose(ds["lon"], np.arange(0, 360, 10))
    assert ds["lon"].attrs["units"] == "degrees_east"
