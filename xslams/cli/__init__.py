"""The command line: ``xslams assimilate``, ``train``, ``score``, ``regrid``, ``plot`` and ``models``.

Every command does what the method of ``.slams`` of that name does, on files. Importing this package loads neither torch
nor dask, so ``xslams --help`` answers at once.
"""

from xslams.cli.commands import main

__all__ = ["main"]
