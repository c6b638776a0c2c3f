"""Kolmogorov flow: order of accuracy, conserved quantities, exact solutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xslams.errors import OptionError
from xslams.systems import KolmogorovFlow


def points(size):
    """Coordinates (x, y) of the grid, shapes (size, size)."""
    return np.meshgrid(*2 * (np.arange(size) * 2 * np.pi / size,))


def test_order_is_four() -> None:
    flow = KolmogorovFlow(size=32, dt=0.5, reynolds=100.0)
    start = flow.draw(seed=2)
    exact = replace(flow, substeps=320).step(start)
    errors = [np.sqrt(np.mean((replace(flow, substeps=n).step(start) - exact) ** 2)) for n in (10, 20, 40)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4, atol=0.03)


@pytest.mark.parametrize("drag", [0.0, 0.1])
def test_taylor_green_decay(drag: float) -> None:
    # Every vorticity of one squared wavenumber, here 25, is advected along its own contours and only decays. The waves
    # cross, so that the products do not vanish one by one.
    flow = KolmogorovFlow(size=32, reynolds=100.0, forcing=0.0, drag=drag)
    x, y = points(32)
    start = np.cos(3 * x + 4 * y) + np.sin(5 * x) - 2 * np.cos(5 * y) + np.sin(4 * x - 3 * y)
    ds = flow.simulate(10, start=start)
    exact = start * np.exp(-(25 / 100 + drag) * ds["time"].values)[:, None, None]
    assert abs(ds["vorticity"] - exact).max() < 1e-13 * abs(start).max()
    assert exact[-1].max() < 0.62 * start.max()


def test_classic_taylor_green_vortex() -> None:
    # Velocities from the textbook: u = cos x sin y, v = -sin x cos y, decaying at twice the viscosity.
    flow = KolmogorovFlow(size=16, reynolds=20.0, forcing=0.0, drag=0.0, wavenumber=1)
    x, y = points(16)
    ds = flow.simulate(5, start=-2 * np.cos(x) * np.cos(y))
    decay = np.exp(-2 * ds["time"].values / 20)[:, None, None]
    np.testing.assert_allclose(ds["u"], np.cos(x) * np.sin(y) * decay, atol=1e-14)
    np.testing.assert_allclose(ds["v"], -np.sin(x) * np.cos(y) * decay, atol=1e-14)


def test_laminar_flow_is_steady() -> None:
    # The force against viscosity and drag: u = F sin(n y) / (n^2 / Re + drag).
    flow = KolmogorovFlow(size=32, reynolds=40.0)
    _, y = points(32)
    rate = 16 / 40 + 0.1
    laminar = -4 * np.cos(4 * y) / rate
    np.testing.assert_allclose(flow.tendency(laminar), 0, atol=1e-13)
    u, v = flow.velocity(laminar)
    np.testing.assert_allclose(u, np.sin(4 * y) / rate, atol=1e-14)
    np.testing.assert_allclose(v, 0, atol=1e-14)
    # From rest it is approached exponentially.
    ds = flow.simulate(5, start=np.zeros(flow.shape))
    exact = laminar * (1 - np.exp(-rate * ds["time"].values))[:, None, None]
    assert abs(ds["vorticity"] - exact).max() < 1e-9


def test_advection_of_two_waves() -> None:
    # psi = cos x + cos 2y has the vorticity cos x + 4 cos 2y and the advection -6 sin x sin 2y.
    flow = KolmogorovFlow(size=16, reynolds=np.inf, forcing=0.0, drag=0.0)
    x, y = points(16)
    tendency = flow.tendency(np.cos(x) + 4 * np.cos(2 * y))
    np.testing.assert_allclose(tendency, 6 * np.sin(x) * np.sin(2 * y), atol=1e-13)


def test_inviscid_flow_conserves_energy_and_enstrophy() -> None:
    flow = KolmogorovFlow(size=32, reynolds=np.inf, forcing=0.0, drag=0.0, dt=3.0)
    start = flow.draw(seed=2)
    slope = flow.tendency(start)
    u, v = flow.velocity(start)
    du, dv = flow.velocity(slope)
    # The equations conserve both to rounding,
    assert abs((u * du + v * dv).mean()) < 1e-15 * np.sqrt((u**2 + v**2).mean() * (du**2 + dv**2).mean())
    assert abs((start * slope).mean()) < 1e-15 * np.sqrt((start**2).mean() * (slope**2).mean())
    # and the steps lose them at fifth order, while the vorticity changes by more than its own size.
    ends = [replace(flow, substeps=n).step(start) for n in (240, 480)]
    assert abs(ends[1] - start).max() > abs(start).max()
    for invariant, limit in ((flow.energy, 8e-9), (flow.enstrophy, 4e-8)):
        drift = [abs(invariant(end) / invariant(start) - 1) for end in ends]
        assert drift[1] < limit
        assert np.log2(drift[0] / drift[1]) == pytest.approx(5, abs=0.1)


def test_velocity_has_no_divergence_and_the_right_curl() -> None:
    flow = KolmogorovFlow()
    ds = flow.simulate(3, seed=1, spinup=0)
    k = np.fft.fftfreq(64, 1 / 64)
    u, v = np.fft.fft2(ds["u"].values), np.fft.fft2(ds["v"].values)
    divergence = np.fft.ifft2(1j * (k * u + k[:, None] * v)).real
    curl = np.fft.ifft2(1j * (k * v - k[:, None] * u)).real
    size = abs(ds["vorticity"]).max()
    assert abs(divergence).max() < 1e-14 * size
    np.testing.assert_allclose(curl, ds["vorticity"], atol=1e-13 * size)


def test_energy_budget() -> None:
    # dE/dt = <F sin(n y) u> - 2 drag E - 2 Z / Re.
    flow = KolmogorovFlow(size=32, reynolds=100.0)
    start = flow.simulate(0, spinup=10)["vorticity"].values[0]
    u, v = flow.velocity(start)
    du, dv = flow.velocity(flow.tendency(start))
    _, y = points(32)
    budget = (np.sin(4 * y) * u).mean() - 0.2 * flow.energy(start) - 0.02 * flow.enstrophy(start)
    assert (u * du + v * dv).mean() == pytest.approx(budget, abs=1e-14)


def test_starts_have_unit_speed_and_do_not_depend_on_the_grid() -> None:
    coarse, fine = KolmogorovFlow(size=32), KolmogorovFlow(size=64)
    x, finer = coarse.draw(3, seed=9), fine.draw(3, seed=9)
    np.testing.assert_allclose(x, finer[:, ::2, ::2], atol=1e-13)
    np.testing.assert_allclose(fine.energy(finer), 0.5, rtol=1e-13)
    # Isotropic: as much along x as along y, on average.
    u, v = fine.velocity(fine.draw(40))
    assert (u**2).mean() == pytest.approx((v**2).mean(), rel=0.1)


def test_steps_follow_the_courant_number() -> None:
    flow = KolmogorovFlow()
    courant = [5.0 * (0.2 / n) * 64 / (2 * np.pi) for n in (flow.steps_per_frame, flow.steps_per_frame - 1)]
    assert courant[0] <= 0.5 < courant[1]
    assert KolmogorovFlow(size=128).steps_per_frame in (2 * flow.steps_per_frame, 2 * flow.steps_per_frame - 1)
    assert KolmogorovFlow(substeps=7).steps_per_frame == 7


def test_coarse_fields_are_means_over_boxes() -> None:
    fine = KolmogorovFlow(size=32).simulate(1, trajectories=2, spinup=0)
    flow = KolmogorovFlow(size=32, coarsen=4)
    ds = flow.simulate(1, trajectories=2, spinup=0)
    means = fine.coarsen(x=4, y=4).mean()
    for name in ("u", "v", "vorticity", "x", "y"):
        np.testing.assert_allclose(ds[name], means[name], atol=1e-14)
    with pytest.raises(OptionError, match=r"coarsen=4.*Keep coarsen=1"):
        flow.simulate(1, start=ds.isel(time=-1))
