"""Models on a worker: loaded once per process, and the same file that the run began with."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict

from xslams.errors import ModelError
from xslams.model import Model

__all__ = ["check_device", "resident"]

# A worker serves one run at a time, or a few whose tasks come mixed.
_MOST = 4
_LOCK = threading.Lock()
_RESIDENT: OrderedDict[tuple[str, str], Model] = OrderedDict()


def resident(model: Model) -> Model:
    """Return this process's own copy of a model, with its networks loaded.

    A task brings a handle: path and hash. The first task loads the file, the others find it.

    Parameters
    ----------
    model
        As it came with a task.

    Returns
    -------
    Model
        The one that stays; `model` itself where it came from no file.

    Raises
    ------
    ModelError
        If the file on this machine is another one than where the run was begun.
    """
    if model.path is None:
        return model
    key = str(model.path), model.sha256
    with _LOCK:
        if key not in _RESIDENT:
            here = Model.load(model.path)
            if here.sha256 != model.sha256:
                msg = (
                    f"The model file {model.path} on this worker has the sha256 {here.sha256[:12]}..., but the run was "
                    f"begun with {model.sha256[:12]}.... Give all workers the same file, at the same path."
                )
                raise ModelError(msg)
            # Weights that the caller has loaded already need not be loaded again.
            here = model if model.loaded else here
            here.prior()
            _RESIDENT[key] = here
        _RESIDENT.move_to_end(key)
        while len(_RESIDENT) > _MOST:
            _RESIDENT.popitem(last=False)
        return _RESIDENT[key]


def check_device(device: str | None) -> None:
    """Check, before anything runs, that torch can compute on a device where the tasks will be.

    Workers of a cluster have devices of their own, which this machine cannot know.

    Parameters
    ----------
    device
        As the user named it.

    Raises
    ------
    OptionError
        If there is no such device.
    """
    if device is None or _on_cluster():
        return
    from xslams.inference.arrays import check_device as check

    check(device)


def _on_cluster() -> bool:
    distributed = sys.modules.get("distributed")  # whoever has a cluster has imported it
    if distributed is None:
        return False
    try:
        return distributed.default_client() is not None
    except ValueError:
        return False
