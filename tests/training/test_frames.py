"""Parts of data that are spread over all of them."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from xslams.training.frames import spread


@given(
    lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=12),
    share=st.floats(0.01, 1.2),
)
def test_parts_are_disjoint_and_no_more_than_asked_for(lengths: list[int], share: float) -> None:
    most = share * sum(lengths)
    parts = spread(lengths, most)
    taken = [np.zeros(length, bool) for length in lengths]
    for run, part in parts:
        assert not taken[run][part].any()
        taken[run][part] = True
    frames = sum(int(t.sum()) for t in taken)
    assert 0 < frames <= max(most, 90)
    assert frames == sum(part.stop - part.start for _, part in parts)
    assert parts == sorted(parts, key=lambda p: (p[0], p[1].start))


@given(years=st.integers(8, 60), share=st.sampled_from([0.5, 0.25, 0.125, 1 / 3, 0.2]), rest=st.integers(0, 80))
def test_parts_of_many_years_see_all_seasons(years: int, share: float, rest: int) -> None:
    # Four stretches of 90 frames are nearly a year, and every fourth of them would be of one season.
    assume(share * years >= 3)
    parts = spread([365 * years + rest], share * 365 * years)
    days = np.concatenate([np.arange(part.start, part.stop) for _, part in parts])
    quarters = np.bincount(days % 365 * 4 // 365, minlength=4) / len(days)
    assert quarters.min() > 0.12
    # And early years as late ones.
    assert abs(days.mean() / (365 * years) - 0.5) < 0.15
