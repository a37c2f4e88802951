"""Runs a script in a fork of a process that has imported what scripts need: each import of PyTorch takes seconds."""

from __future__ import annotations

import runpy
import sys

from sscl import forkserver


def main() -> None:
    """The script that ``sys.argv`` names, as if it had been started by itself."""
    runpy.run_path(sys.argv[0], run_name="__main__")


def hold() -> None:
    """Keep the server until the process that asked for it is gone."""
    sys.stdin.read()


if __name__ == "__main__":
    entry = "hold" if sys.argv[1:] == ["--hold"] else "main"
    code = forkserver.run(f"tests.script:{entry}", sys.argv[1:], "sscl.preload")
    sys.exit("the fork server did not start" if code is None else code)
