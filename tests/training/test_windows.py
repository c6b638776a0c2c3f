"""Windows of latent frames: they stay within stretches, and none is lost."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.training.windows import Windows


def windows_of(lengths: list[int], window: int) -> Windows:
    """Windows of frames that are numbered, a thousand apart from stretch to stretch."""
    frames = [1000.0 * run + torch.arange(n) for run, n in enumerate(lengths)]
    return Windows([f.reshape(-1, 1, 1, 1) for f in frames], [f / 1e4 for f in frames], window)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.sampled_from([1, 3, 5]))
def test_windows_are_consecutive_and_complete(lengths: list[int], window: int) -> None:
    windows = windows_of(lengths, window)
    assert len(windows) == sum(max(n - window + 1, 0) for n in lengths)
    if len(windows):
        z, season = windows.select(torch.arange(len(windows)))
        z = z.flatten(1)
        assert (z.diff(dim=1) == 1).all()
        assert len(z[:, 0].unique()) == len(windows)
        torch.testing.assert_close(season, z[:, window // 2] / 1e4)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.floats(0, 0.99))
def test_a_split_keeps_order_and_leaves_a_window_to_train_on(lengths: list[int], holdout: float) -> None:
    windows = windows_of(lengths, 3)
    before, after = windows.split(holdout)
    for whole, first, second in zip(windows.latents, before.latents, after.latents, strict=True):
        assert torch.equal(torch.cat([first, second]), whole)
        assert len(first) >= min(len(whole), 3)
    assert bool(len(before)) == bool(len(windows))


def test_spread_out_windows_reach_from_end_to_end() -> None:
    windows = windows_of([40], 5)
    z, _ = windows.spread_out(4)
    assert z[:, 0].flatten().tolist() == [0, 11, 23, 35]
    assert len(windows.spread_out(100)[0]) == len(windows)
