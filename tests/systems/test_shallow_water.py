"""Shallow water on the sphere: transforms, order of accuracy, conserved quantities, exact and standard solutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.special import sph_harm_y

import xslams
from xslams.errors import DimensionError, OptionError
from xslams.labels.grid import grid_of
from xslams.labels.recognise import inspect
from xslams.systems import ShallowWater
from xslams.systems.harmonics import SphericalHarmonics, spherical_harmonics


def random_coefficients(truncation, *leading):
    """Coefficients of random real fields."""
    real, imag = np.random.default_rng(truncation).standard_normal((2, *leading, truncation + 1, truncation + 1))
    coefficients = np.triu(real + 1j * imag)
    coefficients[..., 0, :] = coefficients[..., 0, :].real
    return coefficients


def rms(field, harmonics):
    """Root mean square over the sphere, last axes (lat, lon)."""
    return np.sqrt((field**2).mean(-1) @ harmonics.weights)


@pytest.mark.parametrize("truncation", [12, 21, 42])
def test_transforms_are_inverse(truncation: int) -> None:
    harmonics = SphericalHarmonics(truncation)
    c = random_coefficients(truncation, 2, 3)
    field = harmonics.synthesize(c)
    assert field.shape == (2, 3, *harmonics.shape)
    np.testing.assert_allclose(harmonics.analyse(field), c, atol=2e-12)
    # Parseval, with each wave m > 0 also at -m.
    power = (abs(c[..., 0, :]) ** 2).sum(-1) + 2 * (abs(c[..., 1:, :]) ** 2).sum((-1, -2))
    np.testing.assert_allclose(rms(field, harmonics) ** 2, power, rtol=1e-12)


def test_harmonics_are_those_of_scipy() -> None:
    harmonics = spherical_harmonics(42)
    colat = np.pi / 2 - np.deg2rad(harmonics.lat)
    for n, m in ((0, 0), (1, 1), (5, 3), (20, 0), (42, 17), (42, 42)):
        c = np.zeros((43, 43), complex)
        c[m, n] = 1
        # Theirs have unit integral instead of unit mean, and the sign of Condon and Shortley.
        wave = (-1) ** m * np.sqrt(4 * np.pi) * sph_harm_y(n, m, colat[:, None], np.deg2rad(harmonics.lon))
        np.testing.assert_allclose(harmonics.synthesize(c), wave.real * (2 if m else 1), atol=1e-11)


def test_grid_has_no_aliases_of_products() -> None:
    assert [spherical_harmonics(t).shape for t in (12, 21, 31, 42)] == [(20, 40), (32, 64), (48, 96), (64, 128)]
    # The product of two fields has twice the wavenumbers; its coefficients are those found on a grid for all of them.
    coarse, fine = spherical_harmonics(12), spherical_harmonics(24)
    a, b = random_coefficients(12, 2)
    room = [(0, 12), (0, 12)]
    product = fine.synthesize(np.pad(a, room)) * fine.synthesize(np.pad(b, room))
    ours = coarse.analyse(coarse.synthesize(a) * coarse.synthesize(b))
    np.testing.assert_allclose(ours, fine.analyse(product)[:13, :13], atol=1e-12)


def test_wind_and_its_curl_and_divergence_are_inverse() -> None:
    harmonics = spherical_harmonics(21)
    zeta, delta = random_coefficients(21, 2)
    zeta[0, 0] = delta[0, 0] = 0
    u, v = harmonics.wind(zeta, delta)
    curl, divergence = harmonics.curl_divergence(harmonics.synthesize(u), harmonics.synthesize(v))
    np.testing.assert_allclose(curl, zeta, atol=1e-11)
    np.testing.assert_allclose(divergence, delta, atol=1e-11)
    # Against derivatives by hand: psi = sin(lat) cos(lat)^2 cos(2 lon).
    lat, lon = np.deg2rad(harmonics.lat)[:, None], np.deg2rad(harmonics.lon)
    psi = np.sin(lat) * np.cos(lat) ** 2 * np.cos(2 * lon)
    u, v = harmonics.wind(harmonics.laplacian * harmonics.analyse(psi), 0 * zeta)
    slope = np.cos(lat) ** 3 - 2 * np.sin(lat) ** 2 * np.cos(lat)
    np.testing.assert_allclose(harmonics.synthesize(u), -np.cos(lat) * slope * np.cos(2 * lon), atol=1e-13)
    np.testing.assert_allclose(
        harmonics.synthesize(v), -2 * np.sin(lat) * np.cos(lat) ** 2 * np.sin(2 * lon), atol=1e-13
    )


def test_order_is_four() -> None:
    sphere = ShallowWater(truncation=12, dt=7200.0)
    start = sphere.draw(seed=1)
    exact = replace(sphere, substeps=480).step(start)
    errors = [
        rms(replace(sphere, substeps=n).step(start) - exact, sphere.harmonics) for n in (40, 80)
    ]  # of vorticity, divergence and depth
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4, atol=0.1)


def test_zonal_flow_is_steady() -> None:
    # Case 2 of Williamson et al. (1992), with their formula for the depth.
    sphere = ShallowWater(truncation=21, initial="zonal", diffusion_time=None)
    start = sphere.zonal()
    sin, speed = sphere.harmonics.sin_lat[:, None], 2 * np.pi * 6.37122e6 / (12 * 86400)
    depth = (2.94e4 - (6.37122e6 * 7.292e-5 * speed + speed**2 / 2) * sin**2) / 9.80616
    np.testing.assert_allclose(start[2], np.broadcast_to(depth, start[2].shape), rtol=1e-14)
    ds = sphere.simulate(12, start=start)
    np.testing.assert_allclose(ds["u"], np.broadcast_to(speed * np.sqrt(1 - sin**2), ds["u"].shape), rtol=5e-12)
    assert abs(ds["v"]).max() < 1e-11
    assert rms(ds["h"].values - start[2], sphere.harmonics).max() < 1e-14 * rms(start[2], sphere.harmonics)


def test_tilted_rotation_is_steady_on_a_planet_at_rest() -> None:
    # Case 2 about an axis in the plane of the grid's meridian 0. Nothing vanishes by symmetry here, neither the
    # meridional wind nor any derivative along longitude.
    sphere = ShallowWater(truncation=21, rotation=0.0, depth=3000.0, diffusion_time=None)
    lat, lon = np.deg2rad(sphere.harmonics.lat)[:, None], np.deg2rad(sphere.harmonics.lon)
    tilt, speed = np.deg2rad(35), 40.0
    along = np.cos(tilt) * np.sin(lat) + np.sin(tilt) * np.cos(lat) * np.cos(lon)  # axis . position
    u = speed * (np.cos(tilt) * np.cos(lat) - np.sin(tilt) * np.sin(lat) * np.cos(lon))
    v = speed * np.sin(tilt) * np.sin(lon)
    start = sphere.balanced(u, v)
    np.testing.assert_allclose(start[0], 2 * speed / sphere.radius * along, atol=1e-19)
    np.testing.assert_allclose(start[2], 3000 + speed**2 / (2 * 9.80616) * (1 / 3 - along**2), rtol=1e-13)
    ds = sphere.simulate(8, start=start)
    assert abs(ds["h"] - ds["h"][0]).max() < 1e-9
    np.testing.assert_allclose(ds["u"], np.broadcast_to(u, ds["u"].shape), atol=1e-10)
    np.testing.assert_allclose(ds["v"], np.broadcast_to(v, ds["v"].shape), atol=1e-10)


def test_rossby_haurwitz_start_is_that_of_williamson() -> None:
    sphere = ShallowWater(truncation=42, initial="rossby-haurwitz")
    start = sphere.rossby_haurwitz()
    k = omega = 7.848e-6
    a, rot, r = sphere.radius, sphere.rotation, 4
    lat, lon = np.deg2rad(sphere.harmonics.lat)[:, None], np.deg2rad(sphere.harmonics.lon)
    c, s = np.cos(lat), np.sin(lat)
    u, v = sphere.velocity(start)
    expected = a * omega * c + a * k * c ** (r - 1) * (r * s**2 - c**2) * np.cos(r * lon)
    np.testing.assert_allclose(u, expected, atol=1e-10)
    np.testing.assert_allclose(v, -a * k * r * c ** (r - 1) * s * np.sin(r * lon), atol=1e-10)
    zonal = omega / 2 * (2 * rot + omega) * c**2 + k**2 / 4 * c ** (2 * r) * (
        (r + 1) * c**2 + (2 * r**2 - r - 2) - 2 * r**2 / c**2
    )
    single = 2 * (rot + omega) * k / ((r + 1) * (r + 2)) * c**r * ((r**2 + 2 * r + 2) - (r + 1) ** 2 * c**2)
    double = k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 - (r + 2))
    depth = 8000 + a**2 / 9.80616 * (zonal + single * np.cos(r * lon) + double * np.cos(2 * r * lon))
    np.testing.assert_allclose(start[2], depth, rtol=1e-12)
    assert abs(depth.mean(-1) @ sphere.harmonics.weights - sphere.mean_depth) < 1e-8


def test_rossby_haurwitz_wave_moves_at_the_known_speed() -> None:
    # Without divergence (Haurwitz 1940) it keeps its shape and turns by 12.195 degrees a day. A finite depth slows it
    # by a share in inverse proportion to the depth: 5.5% at 9.5 km, little enough at 1000 km.
    r, omega = 4, 7.848e-6
    speed = (r * (3 + r) * omega - 2 * 7.292e-5) / ((1 + r) * (2 + r))
    assert np.rad2deg(speed) * 86400 == pytest.approx(12.195, abs=1e-3)
    slowing = []
    for depth in (1e5, 1e6):
        sphere = ShallowWater(truncation=15, depth=depth, dt=10800.0, diffusion_time=None)
        ds = sphere.simulate(4, start=sphere.rossby_haurwitz())
        c = sphere.harmonics.analyse(ds["vorticity"].values)
        turned = -np.unwrap(np.angle(c[:, r, r + 1])) / r
        slowing.append(1 - (turned[-1] - turned[0]) / (speed * 4 * 10800))
        m = np.arange(16)[:, None]
        rotated = sphere.harmonics.synthesize(c[0] * np.exp(-1j * m * speed * 4 * 10800))
        error = rms(ds["vorticity"].values[-1] - rotated, sphere.harmonics) / rms(rotated, sphere.harmonics)
        assert error < 450 / depth
    assert 0 < slowing[1] < 7e-4
    assert slowing[0] / slowing[1] == pytest.approx(10, rel=0.05)


def test_gravity_wave_has_the_known_frequency() -> None:
    # On a planet at rest a small hump Y_n^m stands and swings at sqrt(g H n (n + 1)) / a.
    sphere = ShallowWater(truncation=12, rotation=0.0, depth=1000.0, dt=3600.0, substeps=8, diffusion_time=None)
    n, m = 5, 3
    c = np.zeros((3, 13, 13), complex)
    c[2, 0, 0], c[2, m, n] = 1000, 1e-4
    ds = sphere.simulate(24, start=sphere.harmonics.synthesize(c))
    frequency = np.sqrt(9.80616 * 1000 * n * (n + 1)) / 6.37122e6
    seconds = 3600 * np.arange(25)
    assert frequency * seconds[-1] > 7  # more than a period
    wave = sphere.harmonics.analyse(ds["h"].values)[:, m, n] / 1e-4
    np.testing.assert_allclose(wave, np.cos(frequency * seconds), atol=1e-5)
    divergence = sphere.harmonics.analyse(ds["divergence"].values)[:, m, n] / 1e-7
    np.testing.assert_allclose(divergence, frequency * np.sin(frequency * seconds), atol=1e-5 * frequency)


def test_invariants_without_diffusion() -> None:
    sphere = ShallowWater(truncation=21, initial="rossby-haurwitz", perturbation=5.0, diffusion_time=None)
    ds = sphere.simulate(12)
    states = sphere.state(ds)
    assert abs(ds["vorticity"][-1] - ds["vorticity"][0]).max() > abs(ds["vorticity"][0]).max()

    def drift(invariant):
        values = invariant(states)
        return abs(values / values[0] - 1).max()

    assert drift(sphere.mass) < 2e-15
    assert drift(sphere.energy) < 3e-7
    assert drift(sphere.potential_enstrophy) < 3e-5
    # The mean of the vorticity is that of a curl.
    assert abs(sphere.harmonics.analyse(states)[:, 0, 0, 0]).max() < 1e-20


def test_energy_and_enstrophy_by_hand() -> None:
    # At rest: g h^2 / 2, and the mean of f^2 / 2 h with f^2 of mean (2 Omega)^2 / 3.
    sphere = ShallowWater(truncation=12)
    rest = np.zeros(sphere.shape)
    rest[2] = 500.0
    assert sphere.energy(rest) == pytest.approx(0.5 * 9.80616 * 500**2, rel=1e-13)
    assert sphere.potential_enstrophy(rest) == pytest.approx((2 * 7.292e-5) ** 2 / 3 / 1000, rel=1e-13)
    # Solid rotation at speed U: u^2 has the mean 2/3 U^2.
    turning = sphere.balanced(30 * np.sqrt(1 - sphere.harmonics.sin_lat[:, None] ** 2))
    turning[2] = 500.0
    kinetic = sphere.energy(turning) - sphere.energy(rest)
    assert kinetic == pytest.approx(0.5 * 500 * 2 / 3 * 30**2, rel=1e-11)


def test_starts_are_balanced() -> None:
    sphere = ShallowWater(truncation=21, diffusion_time=None)
    x = sphere.draw(2, seed=1)
    assert abs(x[:, 1]).max() < 1e-20
    unbalanced = x.copy()
    unbalanced[:, 2] = 10_000
    change, without = (abs(sphere.tendency(s)[:, 1]).max() for s in (x, unbalanced))
    assert change < 1e-11 * without
    np.testing.assert_allclose(sphere.mass(x), 10_000, rtol=1e-14)


def test_perturbations_have_the_stated_wind() -> None:
    sphere = ShallowWater(truncation=21, initial="zonal", perturbation=3.0)
    u, v = sphere.velocity(sphere.draw(20, seed=2) - sphere.zonal())
    wind = rms(np.stack([u, v]), sphere.harmonics)
    assert np.sqrt((wind**2).sum(0).mean()) == pytest.approx(3.0, rel=0.05)
    assert np.sqrt((wind[0] ** 2).mean() / (wind[1] ** 2).mean()) == pytest.approx(1, rel=0.1)
    # They hold wavenumbers 4 to 12 and do not depend on the truncation.
    fine = replace(sphere, truncation=31)
    c, finer = (s.harmonics.analyse(s.draw(seed=2) - s.zonal())[0] for s in (sphere, fine))
    np.testing.assert_allclose(c, finer[:22, :22], atol=1e-18)
    assert (abs(c).max(0) > 1e-9).nonzero()[0].tolist() == list(range(4, 13))
    assert abs(replace(sphere, perturbation=0.0).draw() - sphere.zonal()).max() < 1e-11


def test_jet_is_that_of_galewsky() -> None:
    sphere = ShallowWater(truncation=85)
    jet = sphere.jet()
    u, v = sphere.velocity(jet)
    lat = np.deg2rad(sphere.harmonics.lat)
    south, north = np.pi / 7, np.pi * 5 / 14
    with np.errstate(over="ignore", divide="ignore"):
        profile = 80 * np.exp(4 / (north - south) ** 2 + 1 / ((lat - south) * (lat - north)))
    expected = np.where((lat > south) & (lat < north), profile, 0)
    assert expected.max() == pytest.approx(80, rel=1e-2)  # between two latitudes
    # What the truncation leaves out of the jet's edges.
    assert abs(u - expected[:, None]).max() < 0.05
    assert abs(v).max() < 1e-11
    np.testing.assert_allclose(sphere.mass(jet), 10_000, rtol=1e-14)
    # Gradient wind balance, by finite differences: g dh/dlat = -(a f + u tan(lat)) u.
    h, wind = jet[2, :, 0], u[:, 0]
    slope = 9.80616 * np.gradient(h, lat)
    force = -(sphere.radius * 2 * 7.292e-5 * np.sin(lat) + wind * np.tan(lat)) * wind
    np.testing.assert_allclose(slope[1:-1], force[1:-1], atol=2e-2 * abs(force).max())
    bump = sphere.jet(bump=120.0) - jet
    assert not bump[:2].any()
    lon = np.deg2rad((sphere.harmonics.lon + 180) % 360 - 180)
    north = np.cos(lat) * np.exp(-(((np.pi / 4 - lat) / (1 / 15)) ** 2))
    np.testing.assert_allclose(bump[2], 120 * north[:, None] * np.exp(-((lon / (1 / 3)) ** 2)), atol=1e-10)


def test_jet_breaks_up() -> None:
    # What Galewsky et al. show: days of exponential growth, and waves that fill the jet in the sixth.
    sphere = ShallowWater(truncation=31, dt=86400.0)
    ds = sphere.simulate(6, start=sphere.jet(bump=120.0))
    zeta = ds["vorticity"]
    waves = (zeta - zeta.mean("lon")).std(("lat", "lon")).values
    np.testing.assert_allclose(np.diff(np.log(waves[2:6])), 1, atol=0.07)  # by a factor of e in a day
    assert waves[2] < 0.02 * zeta[0].std()
    assert waves[6] > 0.35 * zeta[0].std()
    # The southern hemisphere, at rest, only sees the gravity waves.
    assert abs(zeta.sel(lat=slice(None, -30))).max() < 0.02 * abs(zeta).max()


def test_diffusion_damps_the_smallest_waves_in_its_time() -> None:
    sphere = ShallowWater(truncation=12, diffusion_time=7200.0, diffusion_order=4)
    start = sphere.draw()
    extra = sphere.tendency(start) - replace(sphere, diffusion_time=None).tendency(start)
    c, rate = sphere.harmonics.analyse(start), -sphere.harmonics.analyse(extra)
    n = np.arange(13.0)
    expected = ((n * (n + 1) - 2) / (12 * 13 - 2)) ** 2 / 7200 * (n > 1)
    for field, scale in ((0, 1e-5), (2, 1e3)):
        np.testing.assert_allclose(rate[field], expected * c[field], atol=1e-12 * scale / 7200)
    assert expected[-1] == 1 / 7200


def test_steps_follow_the_fastest_waves() -> None:
    sphere = ShallowWater(truncation=42)
    speed = 120 + np.sqrt(9.80616 * 10_000)
    reach = [
        speed * 21600 / n * np.sqrt(42 * 43) / 6.37122e6 for n in (sphere.steps_per_frame, sphere.steps_per_frame - 1)
    ]
    assert reach[0] <= 1.4 < reach[1]
    assert replace(sphere, depth=100.0).steps_per_frame < sphere.steps_per_frame
    assert replace(sphere, substeps=50).steps_per_frame == 50


def test_accessor_takes_it_as_truth() -> None:
    truth = ShallowWater(truncation=12, epoch="1999-12-31").simulate(3, seed=2)
    schema = inspect(truth)
    assert schema.problems == ()
    assert (schema.time, schema.lat, schema.lon, schema.time_step) == ("time", "lat", "lon", 6.0)
    assert set(schema.variables) == {"h", "u", "v", "vorticity", "divergence"}
    assert grid_of(truth).periodic
    assert truth["time"].values[0] == np.datetime64("1999-12-31")
    assert (np.diff(truth["lat"]) > 0).all()
    gauges = xslams.simulate_observations(truth["h"], stations=5, error=10.0)
    assert isinstance(gauges.data, xr.DataArray)
    assert gauges.data.sizes["time"] == 4


def test_wrong_winds_are_named() -> None:
    sphere = ShallowWater(truncation=12)
    with pytest.raises(DimensionError, match=r"wind of shapes \(19, 40\).*expected \(20, 40\)"):
        sphere.balanced(np.zeros((19, 40)))
    with pytest.raises(OptionError, match="Give a larger depth"):
        replace(sphere, depth=10.0).zonal()
