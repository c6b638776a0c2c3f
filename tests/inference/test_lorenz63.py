"""The posterior of Lorenz-63 against a particle filter, as in python -m benchmarks sda but smaller."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.reports import sda

MEMBERS = 128


@pytest.mark.slow
def test_trajectories_are_those_of_a_particle_filter():
    every, error = sda.CASES["lo"]
    truth = sda.SYSTEM.state(sda.SYSTEM.simulate(sda.LENGTH - 1, seed=4))
    seen = truth[::every, 0] / sda.SYSTEM.scale[0]
    y = seen + error * np.random.default_rng(0).standard_normal(seen.shape)
    reference, again = (sda.particle_filter(y, every, error, seed, MEMBERS) for seed in (1, 2))
    options = {"steps": 33, "corrections": 2}
    x, network = sda.diffusion(y, every, error, 0, MEMBERS, **options)
    calls = sda.calls_of(options)
    assert calls <= 128
    assert network <= calls / 2 + 5
    assert sda.distance(x, reference) < 1.25 * sda.distance(again, reference)
    density, exact = (sda.SYSTEM.log_density(a, start=False).mean() for a in (x, reference))
    assert abs(density - exact) < 5
    # A sample of another posterior is nowhere near.
    other = sda.particle_filter(-y, every, error, 3, MEMBERS)
    assert sda.distance(other, reference) > 2 * sda.distance(again, reference)
