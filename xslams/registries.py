"""Registries of interchangeable parts: found by name, listed in order, and open to additions from outside the package.

A part registers itself with a decorator, so that one new file adds a kind:

>>> SHAPES: Registry[type] = Registry("shape")
>>> @SHAPES.register("square")
... class Square: ...
>>> SHAPES["square"].__name__, SHAPES.names
('Square', ('square',))
>>> SHAPES["sqare"]
Traceback (most recent call last):
xslams.errors.OptionError: Unknown shape 'sqare'. Did you mean 'square'? Choose one of 'square'.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from xslams.errors import OptionError

__all__ = ["Registry"]

_Part = TypeVar("_Part")
_Registered = TypeVar("_Registered")


class Registry(Generic[_Part]):
    """Parts of one kind by name.

    Parameters
    ----------
    kind
        What the parts are, for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, _Part] = {}

    def register(self, name: str) -> Callable[[_Registered], _Registered]:
        """Return a decorator that registers what it decorates under a name.

        Raises
        ------
        OptionError
            If the name is taken by another part.
        """

        def decorate(part: _Registered) -> _Registered:
            known = self._parts.get(name)
            if known is not None and known is not part:
                msg = f"The {self.kind} {name!r} is registered already; choose another name."
                raise OptionError(msg)
            self._parts[name] = part  # type: ignore[assignment]  # a decorator returns just what it was given
            return part

        return decorate

    def unregister(self, name: str) -> None:
        """Forget a part, as a test does that registered one."""
        self._parts.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which they were registered."""
        return tuple(self._parts)

    def __getitem__(self, name: str) -> _Part:
        try:
            return self._parts[name]
        except (KeyError, TypeError):
            near = difflib.get_close_matches(str(name), self._parts, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            known = f"Choose one of {', '.join(map(repr, self._parts))}." if self._parts else "None is registered."
            msg = f"Unknown {self.kind} {name!r}.{meant} {known}"
            raise OptionError(msg) from None

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def items(self) -> tuple[tuple[str, _Part], ...]:
        """Names and parts."""
        return tuple(self._parts.items())
