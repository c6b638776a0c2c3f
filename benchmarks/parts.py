"""What an analysis spends on each of its parts: calls, seconds and peaks of memory, without anything in the package."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import peak_memory
from xslams.inference import arrays, observed
from xslams.inference.noise import KeyedNoise
from xslams.inference.operators import SparseRows
from xslams.networks.autoencoder import LinearDecoder
from xslams.networks.unet import ScoreNetwork
from xslams.pipeline import segment
from xslams.priors.fields import AffineFields
from xslams.priors.gaussian import TrajectoryGaussian
from xslams.priors.latent import LatentPrior

__all__ = ["PARTS", "Spent", "measured"]

#: Parts, and the functions that do their work, as (owner, name). What the first two call is theirs.
PARTS: dict[str, list[tuple[Any, str]]] = {
    "building": [
        (segment, "prepare"), (arrays, "complete_errors"), (observed.ObservedFrames, "of"), (LatentPrior, "denoiser"),
        (LatentPrior, "fields"),
    ],
    "decoding": [(AffineFields, "disturbed")],
    "noise": [(KeyedNoise, "__call__")],
    "network": [(ScoreNetwork, "forward")],
    "prior": [(TrajectoryGaussian, "apply"), (TrajectoryGaussian, "mean_variance")],
    "decoder": [(LinearDecoder, "__call__"), (LinearDecoder, "adjoint")],
    "operators": [(SparseRows, "__call__"), (SparseRows, "adjoint")],
}  # fmt: skip
_WHOLE = ("building", "decoding")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Spent:
    """What a part has cost.

    Attributes
    ----------
    calls
        Number of calls of its functions.
    seconds
        Of the processor; of a clock on a GPU, which is waited for.
    memory
        Largest memory of the process, or of the device, while it ran; in bytes, with all that others hold.
    """

    calls: int = 0
    seconds: float = 0.0
    memory: float = 0.0


class _Meter:
    """Gives time and memory to the part that runs; one that another calls has its own."""

    def __init__(self, device: str) -> None:
        self.gpu = device != "cpu"
        self.spent: dict[str, Spent] = {name: Spent() for name in [*PARTS, "rest"]}
        self.running = ["rest"]
        self.since = self._clock()
        self._peak()

    def _clock(self) -> float:
        if not self.gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def _peak(self) -> float:
        """Read the peak of memory since the last call, where the system lets it be reset."""
        if self.gpu:
            peak = float(torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
            return peak
        peak = peak_memory()
        try:
            _CLEAR.write_text("5")
        except OSError:  # the peak is then that of all parts before
            pass
        return peak

    def turn(self) -> None:
        """Give what was spent since the last turn to the part that runs."""
        now, part = self._clock(), self.spent[self.running[-1]]
        part.seconds += now - self.since
        part.memory = max(part.memory, self._peak())
        self.since = self._clock()

    def metered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts as work of a part."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.running[-1] in _WHOLE:
                return function(*args, **kwargs)
            self.turn()
            self.running.append(name)
            self.spent[name].calls += 1
            try:
                return function(*args, **kwargs)
            finally:
                self.turn()
                self.running.pop()

        return call


@contextmanager
def measured(device: str = "cpu") -> Iterator[dict[str, Spent]]:
    """Measure what the parts of analyses spend while the context lasts, one member at a time.

    Parameters
    ----------
    device
        Torch device of the analyses.

    Examples
    --------
    >>> with measured() as spent:
    ...     pass
    >>> spent["network"].calls
    0
    """
    meter = _Meter(device)
    originals = [(owner, name, owner.__dict__[name], part) for part, all_ in PARTS.items() for owner, name in all_]
    for owner, name, original, part in originals:
        if isinstance(original, classmethod):
            setattr(owner, name, classmethod(meter.metered(part, original.__func__)))
        else:
            setattr(owner, name, meter.metered(part, original))
    try:
        yield meter.spent
        meter.turn()
    finally:
        for owner, name, original, _ in originals:
            setattr(owner, name, original)
