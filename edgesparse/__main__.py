"""``python -m edgesparse``: the same as the console script."""

from edgesparse.cli import main

main()
