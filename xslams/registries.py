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
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from xslams.arguments import shown
from xslams.errors import OptionError

__all__ = ["Registry"]

_Part = TypeVar("_Part")
_Base = TypeVar("_Base")
_Registered = TypeVar("_Registered")


class Registry(Generic[_Part]):
    """Parts of one kind by name.

    Parameters
    ----------
    kind
        What the parts are, for messages.
    home
        Module that registers the parts that come with the package. It is imported when one of them is first needed, so
        that a registry of parts that need torch can be asked for names without torch.
    shipped
        Names of the parts in `home`.
    methods
        Methods of which an instance of a part has at least one, for registries of classes.
    """

    def __init__(
        self, kind: str, *, home: str | None = None, shipped: tuple[str, ...] = (), methods: tuple[str, ...] = ()
    ) -> None:
        self.kind, self.home, self.shipped, self._methods = kind, home, shipped, methods
        self._parts: dict[str, _Part] = {}

    def register(self, name: str) -> Callable[[_Registered], _Registered]:
        """Return a decorator that registers what it decorates under a name.

        Raises
        ------
        OptionError
            If the name is taken by another part.
        """

        def decorate(part: _Registered) -> _Registered:
            if name in self.shipped and self.home not in sys.modules:
                self[name]  # by looking it up: the part that comes with the package has the first claim
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
        """All names: those that come with the package, and others in the order in which they were registered."""
        return tuple(dict.fromkeys((*self.shipped, *self._parts)))

    def check(self, name: str) -> None:
        """Raise an error that names the nearest known part if there is none of that name.

        Raises
        ------
        OptionError
            If the name is unknown.
        """
        given: object = name  # an array would be compared with every name, element by element
        if isinstance(given, str) and given in self:
            return
        near = difflib.get_close_matches(str(name), self.names, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        known = f"Choose one of {', '.join(map(repr, self.names))}." if self.names else "None is registered."
        msg = f"Unknown {self.kind} {shown(name)}.{meant} {known}"
        raise OptionError(msg)

    def check_part(self, part: object) -> None:
        """Raise an error unless this is the name of a part, or an instance with a method that makes it one.

        Raises
        ------
        OptionError
            If the name is unknown, or it is a class or something else.
        """
        if isinstance(part, str):
            self.check(part)
        elif isinstance(part, type):
            msg = f"{self.kind}={part.__name__}; expected a name or an instance, such as {part.__name__}()."
            raise OptionError(msg)
        elif not any(callable(getattr(part, method, None)) for method in self._methods):
            msg = f"{self.kind}={shown(part)}; expected a name ({', '.join(map(repr, self.names))}) or an instance."
            raise OptionError(msg)

    def __getitem__(self, name: str) -> _Part:
        self.check(name)
        if name not in self._parts and self.home is not None:
            importlib.import_module(self.home)
        return self._parts[name]

    def instance(self, part: str | _Base) -> _Base:
        """Return a part with its default settings by its name, or one that was made already.

        Parameters
        ----------
        part
            A name in a registry of classes, or an instance.

        Raises
        ------
        OptionError
            If the name is unknown, or a class was given.
        """
        self.check_part(part)
        return self[part]() if isinstance(part, str) else part  # type: ignore[operator]  # a registry of classes

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.names)

    def items(self) -> tuple[tuple[str, _Part], ...]:
        """Names and parts."""
        return tuple((name, self[name]) for name in self.names)
