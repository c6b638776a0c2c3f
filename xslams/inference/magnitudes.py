"""Values that single precision cannot hold next to others, found before anything is solved.

The solver weighs all innovations against their errors at once, in sums of squares. Single precision has seven digits:
an innovation of more than a million times its error leaves nothing of what the other observations say, and one of more
than 1e19 overflows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from xslams.errors import ObservationError, OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from xslams.likelihood import SourceLikelihood
    from xslams.typing import FloatArray

__all__ = ["require_representable", "require_solvable"]

# Largest innovation, in errors of its observation.
_LARGEST = 1e6


def require_solvable(sources: Sequence[SourceLikelihood], expected: FloatArray) -> None:
    """Raise where an innovation is too large for single precision.

    Parameters
    ----------
    sources
        Observations, whose errors are complete.
    expected
        What the climatology of the model expects of all of them, source by source, shape ``(n,)``.

    Raises
    ------
    ObservationError
        If there is one; it names the source, the value, what was expected, and the error.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from xslams.likelihood import ErrorModel, SourceLikelihood
    >>> source = SourceLikelihood("a", sp.csr_array(np.eye(2)), np.array([3.0, 1e20]), ErrorModel(np.ones(2)))
    >>> require_solvable([source], np.zeros(2))
    Traceback (most recent call last):
    xslams.errors.ObservationError: Source 'a': 1 of 2 values, such as 1e+20, are more than 1e+06 times their error ...
    """
    ends = np.cumsum([source.size for source in sources])[:-1]
    for source, guess in zip(sources, np.split(expected.astype(float), ends), strict=True):
        error = np.sqrt(source.errors.variance.astype(float))
        # Half of it, since the difference of two numbers may overflow where none of them does.
        away = np.abs(source.values / 2 - guess / 2)
        good = (away <= _LARGEST / 2 * error) & np.isfinite(error)
        if good.all():
            continue
        bad = np.flatnonzero(~good)
        worst = bad[np.argmax(away[bad])]
        # What the decoder leaves out of a wild value is infinite, and no news.
        stated = float(error[worst] if np.isfinite(error[worst]) else np.sqrt(source.errors.independent[worst]))
        msg = (
            f"Source {source.name!r}: {bad.size} of {source.size} values, such as {source.values[worst]:g}, are more "
            f"than {_LARGEST:g} times their error ({stated:.3g}) away from what the model's climatology expects "
            f"({guess[worst]:.6g}), in units of the model. Single precision cannot hold them next to other values. "
            "Check missing values and units, let the check for gross errors drop them (qc={'background_check': "
            "'gross'}), or give a larger error=."
        )
        raise ObservationError(msg)


def require_representable(y: Tensor, predicted: Tensor, variance: Tensor | None) -> None:
    """Raise where tensors of observations cannot be used: not finite, or so large that sums with them lose all else.

    Parameters
    ----------
    y
        Observations, shape ``(..., n)``.
    predicted
        What the operator makes of a state of pure noise, which reaches far beyond the climatology, shape ``(..., n)``.
    variance
        Error variances, shape ``(n,)`` or one for all; None where they are not known one by one.

    Raises
    ------
    OptionError
        It says how many values there are, one of them, and what to do.

    Examples
    --------
    >>> require_representable(torch.tensor([1.0, 1e20]), torch.ones(2), torch.tensor(1.0))
    Traceback (most recent call last):
    xslams.errors.OptionError: y has 1 of 2 values, such as 1e+20, that are more than ... times their error and ...
    """
    for name, values in {"y": y, "cov_y": variance, "What A makes of a state": predicted}.items():
        if values is None or bool(torch.isfinite(values).all()):
            continue
        bad = ~torch.isfinite(values)
        msg = (
            f"{name} has {int(bad.sum())} of {values.numel()} values that are not finite ({float(values[bad][0]):g}); "
            "expected numbers. Leave observations without a value out of y, A and cov_y."
        )
        raise OptionError(msg)
    # As many digits as the type of y has, less one.
    digits = 0.125 / torch.finfo(y.dtype).eps
    error = torch.ones((), dtype=torch.float64) if variance is None else variance.detach().double().sqrt()
    size = y.detach().double().abs()
    reach = 1e3 * float(predicted.detach().double().abs().max()) if predicted.numel() else 0.0
    wild = (size > digits * error.to(size.device)) & (size > reach)
    if bool(wild.any()):
        msg = (
            f"y has {int(wild.sum())} of {y.numel()} values, such as {float(y[wild][0]):g}, that are more than "
            f"{digits:.1g} times their error and far out of what A makes of any state (up to {reach / 1e3:.3g} in pure "
            f"noise). {str(y.dtype).removeprefix('torch.')} cannot hold them next to other values. Leave them out, or "
            "check units and fill values."
        )
        raise OptionError(msg)
