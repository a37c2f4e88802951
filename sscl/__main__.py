"""The command line: ``sscl`` and ``python -m sscl``. Stages that DVC runs start by fork where they can."""

import os
import sys

from sscl import forkserver

PRELOAD = "sscl.preload"


def main() -> None:
    """Entry point; imports nothing slow before it is known who does the work."""
    if forkserver.wanted(os.environ):
        code = forkserver.run("sscl.cli:main", sys.argv, PRELOAD)
        if code == forkserver.KILLED:
            print("killed, most often for lack of memory; the same command resumes", file=sys.stderr)
        if code is not None:
            sys.exit(code)
    from sscl.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
