"""The command line: ``xslams assimilate``, ``check``, ``report``, ``score``, ``plot``, ``train`` and others.

Every command applies the method of ``.slams`` with that name to files. Importing this package loads neither torch nor
dask, so that ``xslams --help`` answers at once.
"""

from xslams.cli.commands import main

__all__ = ["main"]
