r"""Trajectories of any length from a denoiser of windows.

A denoiser that has learned windows of :math:`k` frames denoises a trajectory of any length, if what is further away
than a window is long adds nothing. Even where the clean trajectory is a Markov process, it adds something as long as
there is noise: a noisy frame says less about its neighbours than a clean one, and frames beyond it help. How windows
are cut and put together again is in `xslams.priors.windows`.

Both rules converge geometrically in the context :math:`m`, the slower the longer the memory of the process, and the
composition is exact without noise (overlaps of at least the order of the process). How long a window has to be is in
:doc:`/solvers`. Langevin corrections, which act where there is little noise, reduce what is left.

"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from azula.denoise import Denoiser, DiracPosterior
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xslams.errors import OptionError
from xslams.priors.posteriors import ConditionalDenoiser, CorrelatedPosterior
from xslams.priors.windows import RULES, Piece, pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.noise import Schedule

__all__ = ["ComposedDenoiser", "ConditionalComposedDenoiser", "compose"]


class ComposedDenoiser(Denoiser):
    """Denoiser of trajectories of any length, made of one of windows.

    Parameters
    ----------
    denoiser
        Denoiser of windows ``(B, k, *frame)``.
    window
        Number of frames :math:`k` of a window.
    rule
        ``"interior"`` or ``"overlap"``, see `xslams.priors.windows`.
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

    See Also
    --------
    compose : also where the denoiser of windows knows its covariance.

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


class ConditionalComposedDenoiser(ComposedDenoiser):
    """Composed denoiser of windows whose covariance is known, and hence that of trajectories.

    Parameters
    ----------
    denoiser, window, rule, context, batch_size
        As for `ComposedDenoiser`; the denoiser is a `ConditionalDenoiser`.
    """

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> CorrelatedPosterior:
        """Return clean trajectories given noisy ones."""
        known: Any = self.denoiser
        posteriors = []

        def estimate(x: Tensor) -> Tensor:
            posteriors.append(known.posterior(x, t, **kwargs))
            return posteriors[-1].mean

        mean = self._compose(estimate, x_t)

        def through(v: Tensor, *, adjoint: bool = False) -> Tensor:
            # Windows come in the same order, and batches of the same size, as long as `v` has the shape of `x_t`.
            batches = iter(posteriors)
            return self._compose(lambda x: next(batches).covariance(x), v, adjoint=adjoint)

        def product(v: Tensor) -> Tensor:
            # Windows that answer for a part of their frames make a matrix of which the rows are right; solvers want it
            # symmetric.
            rows = through(v)
            return rows if self.rule == "overlap" else (rows + through(v, adjoint=True)) / 2

        return CorrelatedPosterior(mean, product)


def compose(
    denoiser: Denoiser, window: int, *, rule: str = "interior", context: int | None = None, batch_size: int = 64
) -> ComposedDenoiser:
    """Make a denoiser of trajectories of any length of one of windows.

    Parameters
    ----------
    denoiser, window, rule, context, batch_size
        As for `ComposedDenoiser`.

    Returns
    -------
    ComposedDenoiser
        One that knows its covariance where the denoiser of windows does.
    """
    kind = ConditionalComposedDenoiser if isinstance(denoiser, ConditionalDenoiser) else ComposedDenoiser
    return kind(denoiser, window, rule=rule, context=context, batch_size=batch_size)


def _gather(parts: list[Piece], x: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of some pieces of one length, shape ``(P, k)``, and the sign of those that count (0 for the others)."""
    frames = torch.tensor([list(range(first, first + size)) for first, size, _, _ in parts])
    mask = torch.zeros(frames.shape)
    for row, (_, _, counted, sign) in zip(mask, parts, strict=True):
        row[counted] = sign
    return frames.to(x.device), mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)).to(x)
