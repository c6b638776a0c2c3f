"""``python -m xslams.cli``: equivalent to ``xslams``, for systems on which scripts are not on the path."""

from xslams.cli import main

main()
