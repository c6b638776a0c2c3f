"""The correlation of Gaspari and Cohn: its values, its support, and that it is a correlation, for numpy and torch."""

from __future__ import annotations

import numpy as np
import torch

from xslams.localization import gaspari_cohn


def test_falls_from_one_to_zero_at_twice_the_length() -> None:
    distance = np.linspace(0.0, 5000.0, 501)
    taper = gaspari_cohn(distance, 1000.0)
    assert taper[0] == 1.0
    assert (np.diff(taper) <= 0).all()
    assert (taper[distance >= 2000.0] == 0).all()
    assert (taper[distance < 1990.0] > 0).all()


def test_pieces_join_smoothly_at_the_length() -> None:
    step = 1e-4
    below, at, above = gaspari_cohn(np.array([1.0 - step, 1.0, 1.0 + step]), 1.0)
    assert np.isclose(at, 5 / 24)  # equation 4.10 of the paper at z = c
    assert np.isclose(at - below, above - at, rtol=1e-3)


def test_matrix_of_correlations_is_positive_semidefinite() -> None:
    places = np.random.default_rng(0).normal(size=(60, 3))
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    assert np.linalg.eigvalsh(gaspari_cohn(distance, 0.7)).min() > -1e-12


def test_torch_and_numpy_agree_and_keep_their_type() -> None:
    distance = np.linspace(0.0, 3.0, 31).reshape(1, 31)
    taper = gaspari_cohn(torch.as_tensor(distance, dtype=torch.float32), 1.0)
    assert taper.dtype == torch.float32
    np.testing.assert_allclose(taper, gaspari_cohn(distance, 1.0), atol=1e-6)
    assert gaspari_cohn(distance.astype(np.float32), 1.0).dtype == np.float32
