"""The commands, one module for each group. Each command applies the method of ``.slams`` with its name to files.

A command joins by being registered where its module is imported, here; the order is that of the help.
"""

from xslams.cli.commands import analyses, fields, models, training, verification
from xslams.cli.root import main

__all__ = ["analyses", "fields", "main", "models", "training", "verification"]
