"""The checkpoint of a training: one ``.safetensors`` file with everything that the next step depends on.

The header holds the identity of the training (data, settings, seed, version), the stage that it is in, and numbers such
as the step; the tensors are weights, their moving average, the state of the optimiser and of the generators of random
numbers. A file is written under another name, flushed and then renamed, so that a kill leaves the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xslams.arguments import require, shown
from xslams.errors import FileError, StoreError
from xslams.priors.stored import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from xslams.training.frames import Stretch

__all__ = ["Checkpoint", "Saved", "check_path", "fingerprint"]

_FORMAT = "xslams checkpoint"
# Data up to this size enter their fingerprint as a whole, of others so many frames that are spread over them.
_WHOLE, _SAMPLED = 64 * 2**20, 32


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes
    ----------
    stage
        Stage that was being trained, or was completed last.
    record
        Numbers and settings.
    tensors
        Weights and states by name.
    """

    stage: str
    record: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with a prefix and a dot, without it."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}


def check_path(path: object) -> None:
    """Refuse what cannot be the path of a checkpoint, before any data are read.

    Raises
    ------
    OptionError
        If it is no path of a ``.safetensors`` file.
    FileError
        If its folder does not exist.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    named = isinstance(text, str) and text.endswith(".safetensors")
    require(named, "checkpoint", path, 'the path of a .safetensors file, such as "run.safetensors"')
    folder = Path(str(text)).absolute().parent
    if not folder.is_dir():
        msg = f"checkpoint={shown(str(text))}: there is no folder {folder}. Make it, or give another path."
        raise FileError(msg)


class Checkpoint:
    """The checkpoint of one training.

    Parameters
    ----------
    path
        File; one that exists is read.
    identity
        What the result depends on: data, settings, seed, version.

    Attributes
    ----------
    saved
        What the file held; None where there was none.

    Raises
    ------
    StoreError
        If the file is of another training, damaged, or no checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.path = Path(path).absolute()
        # As it comes back from a file, where sequences are lists.
        self._identity = json.loads(json.dumps(identity))
        self.saved = self._read() if self.path.exists() else None

    def write(self, stage: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Replace the file.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        from safetensors.torch import save_file

        text = json.dumps({"identity": self._identity, "stage": stage, "record": record}, sort_keys=True)
        kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        metadata = {"format": _FORMAT, "state": text, "sha256": digest(text, kept)}
        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=".part")
            os.close(handle)
            save_file(kept, temporary, metadata=metadata)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except OSError as e:
            msg = f"The checkpoint {self.path} cannot be written ({e}). Give a path on a disk with space left."
            raise StoreError(msg) from e
        finally:
            if temporary:
                Path(temporary).unlink(missing_ok=True)

    def _read(self) -> Saved:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    msg = f"{self.path} exists and is no checkpoint. Give another path; it is not overwritten."
                    raise StoreError(msg)
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            whole = metadata.get("sha256") == digest(metadata["state"], tensors)
            state = json.loads(metadata["state"])
            identity, saved = state["identity"], Saved(state["stage"], state["record"], tensors)
        except (SafetensorError, OSError, ValueError, LookupError, TypeError) as e:
            if isinstance(e, StoreError):
                raise
            msg = f"{self.path} cannot be read as a checkpoint ({e}). Give another path, or delete it to begin anew."
            raise StoreError(msg) from e
        if not whole:
            msg = f"The checkpoint {self.path} is damaged: its content is not what was written. Delete it."
            raise StoreError(msg)
        if differences := _differences(identity, self._identity):
            msg = (
                f"The checkpoint {self.path} is of another training: {'; '.join(differences[:5])}. Give the data and "
                "settings that it was begun with, or another path."
            )
            raise StoreError(msg)
        return saved


def _differences(was: Any, now: Any, name: str = "") -> list[str]:
    """Say what differs between two records."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = sorted(was.keys() | now.keys())
        return [d for k in keys for d in _differences(was.get(k), now.get(k), f"{name}.{k}" if name else k)]
    return [] if was == now else [f"{name} was {shown(was)} and is {shown(now)}"]


def fingerprint(runs: Sequence[Stretch]) -> str:
    """Return a hash of training data: of all of them where they are small, of frames spread over them otherwise.

    Parameters
    ----------
    runs
        Stretches of frames.
    """
    found = hashlib.sha256()
    frames = [np.asarray(season, float) for _, season in runs]
    for (fields, _), season in zip(runs, frames, strict=True):
        found.update(str(tuple(fields.shape)).encode())
        found.update(season.tobytes())
    count = sum(map(len, frames))
    size = 4 * count * int(np.prod(runs[0][0].shape[1:]))
    wanted = np.arange(count) if size <= _WHOLE else np.linspace(0, count - 1, _SAMPLED).astype(int)
    first = 0
    for fields, season in runs:
        for i in wanted[(wanted >= first) & (wanted < first + len(season))] - first:
            found.update(np.ascontiguousarray(np.asarray(fields[int(i) : int(i) + 1]), np.float32).tobytes())
        first += len(season)
    return found.hexdigest()[:32]
