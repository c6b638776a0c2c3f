"""Engines that build weights: the embedded one, and others by name."""

from __future__ import annotations

from typing import Protocol

import scipy.sparse as sp

from xslams.geometry import Geometry
from xslams.registries import Registry
from xslams.typing import Edges, Method
from xslams.weights.base import check_method, grid_weights

__all__ = ["ENGINES", "Embedded", "Engine", "engine_of"]


class Engine(Protocol):
    """What builds weights."""

    @property
    def version(self) -> str:
        """Version of the library that defines the weights, for caches; empty for the package itself."""

    def check(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> None:
        """Raise unless the engine is installed and has such weights."""

    def weights(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> sp.csr_array:
        """Weights, shape (size of target, size of source)."""


ENGINES: Registry[Engine] = Registry("engine")


def engine_of(choice: str) -> str:
    """Name of an engine; ``"auto"`` is the embedded one, so that results do not depend on what is installed.

    Raises
    ------
    OptionError
        If there is no such engine.
    """
    name = "embedded" if choice == "auto" else choice
    ENGINES[name]
    return name


class Embedded:
    """The package's own weights, which are defined as those of ESMF are."""

    version = ""

    def check(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> None:
        """Raise unless there are weights of this method."""
        check_method(source, target, method, edges)

    def weights(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> sp.csr_array:
        """Weights of the package."""
        return grid_weights(source, target, method, edges)


ENGINES.register("embedded")(Embedded())
