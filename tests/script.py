"""Runs a script in a fork of a process that has imported what scripts need: each import of PyTorch takes seconds."""

from __future__ import annotations

import runpy
import sys

from sscl import forkserver


def main() -> None:
    """The script that ``sys.argv`` names, as if it had been started by itself."""
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    code = forkserver.run("tests.script:main", sys.argv[1:], "sscl.preload")
    sys.exit("the fork server did not start" if code is None else code)
