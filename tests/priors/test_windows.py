"""Windows cover a trajectory, and every frame is answered for once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xslams.priors.windows import pieces


@given(st.integers(1, 9), st.integers(0, 40))
def test_windows_of_the_score_network_cover_every_frame_once(window: int, more: int) -> None:
    length = window + more
    seen: list[int] = []
    for start, size, counted, sign in pieces(length, window, 1 if window > 2 else 0, "interior"):
        assert (size, sign) == (window, 1)
        begin, end = start + counted.start, start + counted.stop
        assert 0 <= start <= begin < end <= start + window <= length
        seen.extend(range(begin, end))
    assert seen == list(range(length))
