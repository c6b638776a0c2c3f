"""Windows of the denoiser of latent trajectories."""

from hypothesis import given
from hypothesis import strategies as st

from xslams.priors.denoiser import windows


@given(st.integers(1, 9), st.integers(0, 40))
def test_windows_cover_every_frame_once(window: int, more: int) -> None:
    length = window + more
    seen: list[int] = []
    for start, begin, end in windows(length, window):
        assert 0 <= start <= begin < end <= start + window <= length
        seen.extend(range(begin, end))
    assert seen == list(range(length))
