"""A store of zarr that remembers what was written to it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from xslams.pipeline.checksums import digest

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

__all__ = ["recording"]


def recording(store: Any) -> Any:
    """Return a store that remembers what was written to it, so that nothing has to be read back.

    Parameters
    ----------
    store
        Store of zarr.

    Returns
    -------
    Store
        Its attribute `written` holds size and hash by key.
    """
    return _recording_class()(store)


@functools.cache
def _recording_class() -> Any:
    """Make the class where it is needed, as zarr is slow to import."""
    from zarr.abc.store import Store
    from zarr.storage import WrapperStore

    class Recording(WrapperStore[Store]):
        def __init__(self, store: Store, written: dict[str, tuple[int, str]] | None = None) -> None:
            super().__init__(store)
            self.written: dict[str, tuple[int, str]] = {} if written is None else written

        def _with_store(self, store: Store) -> Any:
            return type(self)(store, self.written)

        async def set(self, key: str, value: Buffer) -> None:
            content = value.to_bytes()
            self.written[key] = len(content), digest(key, content)
            await super().set(key, value)

    return Recording
