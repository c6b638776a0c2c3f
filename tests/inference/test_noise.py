"""Noise that belongs to its member and time."""

from __future__ import annotations

import torch

from xslams.inference.noise import GeneratorNoise, KeyedNoise


def test_noise_belongs_to_member_and_time() -> None:
    noise = KeyedNoise(3, [0, 1, 2], [0, 24, -48], (2, 2))(0)
    part = KeyedNoise(3, [2], [24], (2, 2))(0)
    torch.testing.assert_close(noise[2, 1], part[0, 0])
    assert len(torch.unique(noise.reshape(9, -1), dim=0)) == 9
    assert not torch.equal(noise, KeyedNoise(3, [0, 1, 2], [0, 24, -48], (2, 2))(1))


def test_antithetic_members_have_negated_noise() -> None:
    plain = KeyedNoise(3, [0, 1], [0, 24], (2,))
    pairs = KeyedNoise(3, [0, 1, 2, 3], [0, 24], (2,), antithetic=True)
    for draw in (0, 5):
        noise = pairs(draw)
        torch.testing.assert_close(noise[1::2], -noise[::2], rtol=0, atol=0)
        # Pairs are keyed by their own number, so that they do not depend on where a batch begins.
        torch.testing.assert_close(noise[::2], plain(draw), rtol=0, atol=0)
        torch.testing.assert_close(KeyedNoise(3, [3], [24], (2,), antithetic=True)(draw)[0, 0], noise[3, 1])
    for members in (1, 4, 5):
        noise = GeneratorNoise((members, 3), torch.Generator().manual_seed(0), torch.zeros(1), antithetic=True)(0)
        assert noise.shape == (members, 3)
        torch.testing.assert_close(noise[1::2], -noise[: members // 2 * 2 : 2], rtol=0, atol=0)
