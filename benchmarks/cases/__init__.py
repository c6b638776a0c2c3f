"""Truth and observations that several benchmarks share."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["shared_data"]


def shared_data(folder: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the public data, which are not part of the repository.

    Parameters
    ----------
    folder
        Folder whose ``data/`` holds them; by default that of the environment variable ``XSLAMS_SHARED``, or the folder
        ``shared`` beside the repository.
    """
    root = Path(__file__).resolve().parents[2]
    return Path(folder or os.environ.get("XSLAMS_SHARED") or root.parent / "shared") / "data"
