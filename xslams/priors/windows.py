r"""Windows that cover a trajectory, of which each answers for some of its frames.

There are two rules.

``"overlap"``
    Sum of windows less sum of overlaps, of scores as of estimates. With windows that share :math:`m` frames with the
    next,

    .. math:: \mathbb{E}[z \mid z_t] \approx \sum_w P_w^\top \, \mathbb{E}[z_w \mid z_{t,w}]
        - \sum_o P_o^\top \, \mathbb{E}[z_o \mid z_{t,o}]

    which is the score of the noisy process as if it were Markov of order :math:`m`: the closest such process. The
    denoiser has to take windows of :math:`m` frames too.
``"interior"``
    Each window answers for the frames that are at least :math:`m` away from its ends (those at the ends of the
    trajectory excepted): the local blankets of SDA [1]_, whose windows answer for their middle frame alone.

References
----------
.. [1] Rozet and Louppe, Score-based Data Assimilation, 2023, arXiv 2306.10574.
"""

from __future__ import annotations

__all__ = ["RULES", "Piece", "pieces"]

RULES = ("interior", "overlap")

#: Part of a trajectory: first frame, number of frames, which of them count (relative to the first), and their sign.
Piece = tuple[int, int, slice, int]


def pieces(length: int, window: int, context: int, rule: str) -> list[Piece]:
    """Cut a trajectory into windows, and into overlaps where the rule wants them.

    Parameters
    ----------
    length
        Number of frames.
    window
        Number of frames of a window. A shorter trajectory is its own window.
    context
        Frames of context: on both sides of what a window answers for, or shared with the next window.
    rule
        One of `RULES`.

    Returns
    -------
    list
        First frame, number of frames, which of them count, and sign of each part.

    Examples
    --------
    >>> pieces(6, 4, 2, "overlap")
    [(0, 4, slice(0, 4, None), 1), (2, 2, slice(0, 2, None), -1), (2, 4, slice(0, 4, None), 1)]
    >>> pieces(6, 4, 1, "interior")
    [(0, 4, slice(0, 3, None), 1), (2, 4, slice(1, 4, None), 1)]
    """
    if length <= window:
        return [(0, length, slice(0, length), 1)]
    found: list[Piece] = []
    if rule == "overlap":
        first = 0
        while True:
            found.append((first, window, slice(0, window), 1))
            if first + window == length:
                return found
            # The last step may be shorter; its overlap is the longer.
            following = min(first + window - context, length - window)
            shared = first + window - following
            if shared:
                found.append((following, shared, slice(0, shared), -1))
            first = following
    done = 0
    while done < length:
        first = min(max(done - context, 0), length - window)
        stop = length if first + window == length else first + window - context
        found.append((first, window, slice(done - first, stop - first), 1))
        done = stop
    return found
