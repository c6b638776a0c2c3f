"""What a user gives to `xslams.inference.sample_posterior`: types and shapes of all, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from azula.linalg.covariance import Covariance
from torch import Tensor

from xslams.arguments import is_whole, require, require_whole
from xslams.errors import OptionError
from xslams.inference.foreign import DENOISER, OPERATOR
from xslams.options import MOST_MEMBERS

__all__ = ["require_members", "require_problem"]


def require_problem(
    denoiser: object, y: object, A: object, cov_y: object, *, shape: object, members: object, generator: object
) -> None:
    """Raise `OptionError` unless prior, observations and ensemble are of the right types.

    Parameters
    ----------
    denoiser, y, A, cov_y, shape, members, generator
        As for `xslams.inference.sample_posterior`.
    """
    usable = callable(denoiser) and hasattr(denoiser, "schedule") and not isinstance(denoiser, type)
    require(usable, "denoiser", denoiser, f"a denoiser of states. {DENOISER}")
    floating = isinstance(y, Tensor) and y.is_floating_point()
    require(
        floating, "y", getattr(y, "dtype", y), "a torch tensor of floating-point numbers, torch.as_tensor(y).float()"
    )
    require(callable(A) and not isinstance(A, type), "A", A, f"a function of states. {OPERATOR}")
    require_whole("members", members, 1, MOST_MEMBERS)
    sizes = isinstance(shape, Sequence) and not isinstance(shape, str) and all(is_whole(n, 1) for n in shape)
    require(sizes, "shape", shape, "the shape of one state, a tuple of positive whole numbers")
    own = generator is None or isinstance(generator, torch.Generator)
    require(own, "generator", generator, "a torch.Generator, torch.Generator().manual_seed(0)")
    if not isinstance(cov_y, Covariance):
        try:
            variance = torch.as_tensor(cov_y)
            known = not variance.is_complex() and variance.dtype != torch.bool
        except (TypeError, ValueError, RuntimeError):
            known = False
        require(known, "cov_y", cov_y, "one variance, a tensor of variances (n,), or a covariance of azula")
        assert isinstance(y, Tensor)
        count = y.shape[-1] if y.ndim else 1
        if variance.ndim > 1 or (variance.ndim and len(variance) != count):
            msg = (
                f"cov_y has the shape {tuple(variance.shape)}, and y {tuple(y.shape)}; expected one variance or "
                f"{count}. A matrix is a covariance of azula, such as FullCovariance(cov_y)."
            )
            raise OptionError(msg)


def require_members(t: object, start: object, shape: tuple[int, ...]) -> None:
    """Raise `OptionError` unless times fall from 1 towards 0, and members to start from are of the right shape.

    Parameters
    ----------
    t, start
        As for `xslams.inference.sample_posterior`.
    shape
        Shape of all members.
    """
    expected = "a tensor of times from 1 to 0 that fall, at least two"
    if t is not None:
        vector = isinstance(t, Tensor) and t.is_floating_point() and t.ndim == 1 and len(t) > 1
        require(vector, "t", getattr(t, "shape", t), expected)
        assert isinstance(t, Tensor)
        falls = bool(torch.isfinite(t).all()) and bool((t.diff() < 0).all()) and bool((t >= 0).all() & (t <= 1).all())
        require(falls, "t", t.tolist(), expected)
    if start is None:
        return
    require(isinstance(start, Tensor), "start", type(start).__name__, f"a tensor of members, of the shape {shape}")
    assert isinstance(start, Tensor)
    if t is None or start.shape != shape:
        msg = f"start needs times t that begin where its noise is, and the shape {shape}; got "
        msg += f"t={None if t is None else tuple(t.shape)} and the shape {tuple(start.shape)}."
        raise OptionError(msg)
    if not bool(torch.isfinite(start).all()):
        msg = f"start has {int((~torch.isfinite(start)).sum())} values that are not finite; expected members."
        raise OptionError(msg)
