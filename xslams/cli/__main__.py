"""``python -m xslams.cli``: the same as ``xslams``, where scripts are not on the path."""

from xslams.cli import main

main()
