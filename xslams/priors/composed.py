r"""Trajectories of any length from a denoiser of windows.

A denoiser that has learned windows of :math:`k` frames denoises a trajectory of any length, if what is further away
than a window is long adds nothing. Even where the clean trajectory is a Markov process, it adds something as long as
there is noise: a noisy frame says less about its neighbours than a clean one, and frames beyond it help. There are two
rules.

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

Both converge geometrically in the context :math:`m`, the slower the longer the memory of the process, and the
composition is exact without noise (overlaps of at least the order of the process). How long a window has to be is in
:doc:`/solvers`. Langevin corrections, which act where there is little noise, reduce what is left.

References
----------
.. [1] Rozet and Louppe, Score-based Data Assimilation, 2023, arXiv 2306.10574.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.denoise import Denoiser, DiracPosterior
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xslams.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.noise import Schedule

__all__ = ["RULES", "ComposedDenoiser", "Piece", "pieces"]

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


class ComposedDenoiser(Denoiser):
    """Denoiser of trajectories of any length, made of one of windows.

    Parameters
    ----------
    denoiser
        Denoiser of windows ``(B, k, *frame)``.
    window
        Number of frames :math:`k` of a window.
    rule
        ``"interior"`` or ``"overlap"``, see `xslams.priors.composed`.
    context
        Frames of context; by default as many as there can be, ``(k - 1) // 2`` or ``k - 1``, which is also the most
        work: each frame is part of ``k`` windows. Half of it costs a fraction.
    batch_size
        Number of windows, over all members, that go through the denoiser at once. Memory depends on this and not on the
        length: where derivatives are asked for, the windows are computed again rather than kept.

    Raises
    ------
    OptionError
        If there is no rule of that name, or the context does not fit into the window.

    Notes
    -----
    Where `denoiser` has a method ``covariance(v, t)``, so has this.

    Examples
    --------
    >>> import torch
    >>> from azula.denoise import GaussianDenoiser
    >>> from azula.linalg.covariance import DiagonalCovariance
    >>> from azula.noise import VESchedule
    >>> window = GaussianDenoiser(torch.zeros(5, 2), DiagonalCovariance(torch.ones(5, 2)), VESchedule(0.01, 100.0))
    >>> composed = ComposedDenoiser(window, 5)
    >>> composed(torch.ones(3, 40, 2), torch.tensor(0.5)).mean.shape
    torch.Size([3, 40, 2])
    """

    def __init__(
        self,
        denoiser: Denoiser,
        window: int,
        *,
        rule: str = "interior",
        context: int | None = None,
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        if rule not in RULES:
            msg = f"Unknown rule {rule!r}; choose one of {', '.join(map(repr, RULES))}."
            raise OptionError(msg)
        most = window - 1 if rule == "overlap" else (window - 1) // 2
        context = most if context is None else context
        if not 0 <= context <= most:
            msg = f"With windows of {window} frames and rule={rule!r}, context is 0 to {most}; got {context}."
            raise OptionError(msg)
        self.denoiser = denoiser
        self.window, self.rule, self.context, self.batch_size = window, rule, context, batch_size
        if hasattr(denoiser, "covariance"):
            self.covariance = self._covariance

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]  # azula declares an attribute
        """Noise schedule of the windows."""
        return self.denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate clean trajectories.

        Parameters
        ----------
        x_t
            Noisy trajectories, shape ``(B, L, *frame)``.
        t
            Time, shape ``()``.
        """
        return DiracPosterior(mean=self._compose(lambda x: self.denoiser(x, t, **kwargs).mean, x_t))

    def _covariance(self, v: Tensor, t: Tensor) -> Tensor:
        """Apply the posterior covariance of clean trajectories to `v`, shape ``(B, L, *frame)``."""

        def product(x: Tensor) -> Tensor:
            return self.denoiser.covariance(x, t)  # type: ignore[operator]  # a module may have any attribute

        there = self._compose(product, v)
        # Windows that answer for a part of their frames make a matrix of which the rows are right; solvers want it
        # symmetric.
        return there if self.rule == "overlap" else (there + self._compose(product, v, adjoint=True)) / 2

    def _compose(self, function: Callable[[Tensor], Tensor], x: Tensor, *, adjoint: bool = False) -> Tensor:
        """Apply a function to all windows, a batch at a time, and put the results together.

        Parameters
        ----------
        function
            From windows to windows.
        x
            Trajectories, shape ``(B, L, *frame)``.
        adjoint
            Whether to do so backward: hide from a window what it does not answer for, and use all of its answer.
        """
        cut = pieces(x.shape[1], self.window, self.context, self.rule)
        wanted = torch.is_grad_enabled() and x.requires_grad
        done = []
        for members in x.split(self.batch_size):
            count = max(self.batch_size // len(members), 1)
            total = torch.zeros_like(members)
            for size in sorted({piece[1] for piece in cut}):
                alike = [piece for piece in cut if piece[1] == size]
                for n in range(0, len(alike), count):
                    frames, mask = _gather(alike[n : n + count], members)
                    windows = members[:, frames]
                    if adjoint:
                        windows = windows * mask
                    windows = windows.flatten(0, 1)
                    results = checkpoint(function, windows, use_reentrant=False) if wanted else function(windows)
                    results = results.unflatten(0, (len(members), len(frames)))
                    if not adjoint:
                        results = results * mask
                    total = total.index_add(1, frames.flatten(), results.flatten(1, 2))
            done.append(total)
        return torch.cat(done)


def _gather(parts: list[Piece], x: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of some pieces of one length, shape ``(P, k)``, and the sign of those that count (0 for the others)."""
    frames = torch.tensor([list(range(first, first + size)) for first, size, _, _ in parts])
    mask = torch.zeros(frames.shape)
    for row, (_, _, counted, sign) in zip(mask, parts, strict=True):
        row[counted] = sign
    return frames.to(x.device), mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)).to(x)
