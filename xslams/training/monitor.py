"""What a training shows, writes down and keeps while it runs, and where it goes on after an interruption."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

import torch

from xslams.errors import StoreError, warn
from xslams.networks.acceleration import device_of
from xslams.progress import wanted
from xslams.training.checkpoints import Checkpoint, check_path, fingerprint
from xslams.training.interrupts import interruptible, stop_requested
from xslams.training.logs import check_log, open_log

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from xslams.spec import Spec
    from xslams.training.checkpoints import Saved
    from xslams.training.frames import Stretch
    from xslams.training.logs import Log

__all__ = ["Monitor", "named", "random_state", "set_random_state", "watched"]

# Seconds from one checkpoint to the next within a stage, at least, and in units of what it takes to write one.
_SECONDS, _WRITES = 60.0, 20.0


class Monitor:
    """Progress, log and checkpoint of one training; each may be absent.

    Parameters
    ----------
    progress
        Whether to show progress bars; by default where a person waits.
    checkpoint, log
        Where to keep the state and to write the numbers of the training.
    """

    def __init__(
        self, *, progress: bool | None = None, checkpoint: Checkpoint | None = None, log: Log | None = None
    ) -> None:
        self.progress = wanted(progress)
        self._checkpoint, self._log = checkpoint, log
        self.saved: Saved | None = None if checkpoint is None else checkpoint.saved
        self._carried: dict[str, Any] = {} if self.saved is None else dict(self.saved.record.get("carried", {}))
        self._closed = False
        self._last, self._pause = time.monotonic(), _SECONDS
        #: Where the user ended the training, empty as long as nobody did; stages that ended before their last step.
        self.interrupted = ""
        self.remarks: list[str] = []

    @property
    def folder(self) -> Path | None:
        """Folder of the checkpoint."""
        return None if self._checkpoint is None else self._checkpoint.path.parent

    @property
    def attended(self) -> bool:
        """Whether scores on the way are shown, written or kept."""
        return self.progress or self._log is not None or self._checkpoint is not None

    def saved_in(self, *stages: str) -> Saved | None:
        """Return what the checkpoint held if it was of one of these stages."""
        return self.saved if self.saved is not None and self.saved.stage in stages else None

    def carried(self, name: str) -> Any:
        """Return what an earlier stage has left for later ones; None where it has not."""
        return self._carried.get(name)

    def carry(self, **entries: Any) -> None:
        """Leave plain records for later stages, in all checkpoints from now on."""
        self._carried |= entries

    def keep(
        self,
        stage: str,
        tensors: Callable[[], Mapping[str, Tensor]],
        record: Callable[[], Mapping[str, Any]] = dict,
        *,
        now: bool = True,
    ) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        stage
            That is trained, or has been completed.
        tensors, record
            Make what to keep.
        now
            Whether to write it in any case; otherwise only where the last one is old enough.
        """
        if self._checkpoint is None or self._closed or (not now and time.monotonic() - self._last < self._pause):
            return
        start = time.monotonic()
        self._checkpoint.write(stage, {**record(), "carried": self._carried}, tensors())
        self._last = time.monotonic()
        self._pause = max(_SECONDS, _WRITES * (self._last - start))

    def interrupt(
        self,
        where: str,
        stage: str,
        tensors: Callable[[], Mapping[str, Tensor]],
        record: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Note where the user ended the training, and keep the state there; what is trained afterwards is cut short."""
        self.keep(stage, tensors, record)
        self.close()
        self.interrupted = self.interrupted or where

    def close(self) -> None:
        """Write no more checkpoints, as what comes now is cut short and not to be gone on from."""
        self._closed = True

    def note(
        self, stage: str, step: int, *, loss: float | None = None, score: float | None = None, rate: float | None = None
    ) -> None:
        """Write a line of the log."""
        if self._log is not None:
            self._log.write(stage, step, loss=loss, score=score, rate=rate)

    def finish(self, prior: nn.Module) -> None:
        """Keep the finished model, unless it was cut short."""
        if not (self.interrupted or stop_requested()):
            self.keep("done", lambda: named(prior, torch.device("cpu")))

    def restore(self, prior: nn.Module, saved: Saved) -> None:
        """Load the weights of a checkpoint.

        Raises
        ------
        StoreError
            If they are those of other networks.
        """
        try:
            prior.load_state_dict(saved.part("prior"))
        except RuntimeError as e:
            msg = f"The checkpoint does not fit the model ({str(e).splitlines()[0]}). Delete it to begin anew."
            raise StoreError(msg) from e


@contextlib.contextmanager
def watched(
    spec: Spec,
    runs: Sequence[Stretch],
    settings: Mapping[str, Any],
    *,
    seed: int,
    device: str | None,
    progress: bool | None,
    checkpoint: str | os.PathLike[str] | None,
    log: str | os.PathLike[str] | None,
) -> Iterator[Monitor]:
    """Begin or go on with a training, and say how it ended where the user ended it.

    Parameters
    ----------
    spec, runs, seed, device, progress, checkpoint, log
        As for `fit_arrays`.
    settings
        What else the result depends on, as plain values.
    """
    if checkpoint is not None:
        check_path(checkpoint)
    if log is not None:
        check_log(log)
    kept = None
    if checkpoint is not None:
        identity = {
            "data": fingerprint(runs),
            "model": json.loads(dataclasses.replace(spec, training={}, scores={}).to_json()),
            "period": spec.training.get("data", {}),
            "settings": dict(settings),
            "seed": seed,
            "device": device_of(device).type,
            "version": spec.training.get("version"),
        }
        kept = Checkpoint(checkpoint, identity)
    written = None if log is None else open_log(log, resumed=kept is not None and kept.saved is not None)
    monitor = Monitor(progress=progress, checkpoint=kept, log=written)
    try:
        with interruptible():
            yield monitor
            if stop_requested():
                where = monitor.interrupted or "before its last stage"
                more = "" if kept is None else f" The same call goes on from the checkpoint {kept.path}."
                warn(f"Training was interrupted ({where}); the model is the best so far.{more}")
    finally:
        if written is not None:
            written.close()


def named(prior: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """Return the weights of a model and the state of the generators, as a checkpoint holds them."""
    return {f"prior.{k}": v for k, v in prior.state_dict().items()} | random_state(device)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators of random numbers that training on a device draws from."""
    cuda = {"random.cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"random.cpu": torch.get_rng_state(), **cuda}


def set_random_state(saved: Saved, device: torch.device) -> None:
    """Let the generators go on from where they were."""
    torch.set_rng_state(saved.tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in saved.tensors:
        torch.cuda.set_rng_state(saved.tensors["random.cuda"], device)
