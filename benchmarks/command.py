"""The command line of a benchmark: options, help, and a quick mode that shows within seconds that it works."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Command"]


class Command(argparse.ArgumentParser):
    """Options of a benchmark.

    Parameters
    ----------
    module
        ``__name__`` of the benchmark.
    doc
        Its docstring, which ``--help`` prints.

    Examples
    --------
    >>> command = Command("benchmarks.reports.demo", "Print something.")
    >>> _ = command.add_argument("--days", type=int, default=30)
    >>> command.read([]).days, command.read(["--days", "3"]).days
    (30, 3)
    """

    def __init__(self, module: str, doc: str | None) -> None:
        name = module.rpartition(".")[2]
        super().__init__(
            prog=f"python -m benchmarks {name}",
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._quick: dict[str, Any] = {}

    def quick(self, **defaults: Any) -> None:
        """Add the option ``--quick``, which gives other defaults to the options.

        Parameters
        ----------
        **defaults
            Values for a run of seconds, by option; those that are given on the command line are kept.

        Examples
        --------
        >>> command = Command("benchmarks.reports.demo", "Print something.")
        >>> _ = command.add_argument("--days", type=int, default=30)
        >>> command.quick(days=2)
        >>> command.read(["--quick"]).days, command.read(["--quick", "--days", "3"]).days
        (2, 3)
        """
        self._quick = defaults
        self.add_argument(
            "--quick", action="store_true", help="a run of seconds, to see that it works; its numbers tell nothing"
        )

    def shared(self) -> None:
        """Add the option ``--shared``, the folder of the public data; see `benchmarks.cases.shared_data`."""
        self.add_argument("--shared", type=Path, help="folder whose data/ holds the public data")

    def read(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Read a command line; by default that of the process."""
        options = self.parse_args(arguments)
        if self._quick and options.quick:
            before = {name: self.get_default(name) for name in self._quick}
            self.set_defaults(**self._quick)
            options = self.parse_args(arguments)
            self.set_defaults(**before)
        return options
