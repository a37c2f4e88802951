"""``python -m sscl``: the command line."""

from sscl.cli import main

main()
