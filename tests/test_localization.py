"""The correlation of Gaspari and Cohn: its support, its smoothness, and that it makes covariances."""

import numpy as np
import pytest
import torch

from xslams.localization import gaspari_cohn


def test_is_one_at_no_distance_and_zero_at_twice_the_length() -> None:
    np.testing.assert_allclose(gaspari_cohn(np.array([0.0, 200.0, 1e6]), 100.0), [1, 0, 0], atol=1e-15)


@pytest.mark.parametrize("joint", [1.0, 2.0])
def test_pieces_join_with_their_first_two_derivatives(joint: float) -> None:
    step = 1e-3
    left, right = (gaspari_cohn(joint + side * step * np.arange(4), 1.0) for side in (-1, 1))
    assert abs(left[0] - right[0]) < 1e-15
    assert abs((left[1] - left[0]) + (right[1] - right[0])) < 10 * step**2
    assert abs((left[2] - 2 * left[1] + left[0]) - (right[2] - 2 * right[1] + right[0])) < 20 * step**3


def test_makes_covariances_in_three_dimensions() -> None:
    points = np.random.default_rng(0).uniform(size=(200, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    assert np.linalg.eigvalsh(gaspari_cohn(distance, 0.3)).min() > -1e-12


def test_arrays_and_tensors_agree() -> None:
    distance = np.linspace(0, 3, 50)
    found = gaspari_cohn(torch.as_tensor(distance), 0.7)
    np.testing.assert_allclose(found.numpy(), gaspari_cohn(distance, 0.7), atol=1e-14)
    single = gaspari_cohn(distance.astype(np.float32), 0.7)
    assert single.dtype == np.float32


def test_falls_with_distance_through_the_value_of_equation_4_10() -> None:
    taper = gaspari_cohn(np.linspace(0.0, 2.0, 501), 1.0)
    assert (np.diff(taper) < 0).all()
    assert np.isclose(taper[250], 5 / 24)
