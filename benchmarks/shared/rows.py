"""What the benchmarks share: the study of a profile and seed, and the files that rows go to."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from sscl.artifacts import write_json
from sscl.benchmark.run import Bench
from sscl.benchmark.study import Study
from sscl.errors import ConfigError
from sscl.provenance import versions

ROOT = Path("runs/code")
SAME = (
    "command",
    "seed",
    "suspect",
    "attack",
    "strength",
    "detector",
    "rate",
    "learning",
    "watermark",
    "peer",
    "encoder",
    "architecture",
    "way",
)  # rows that replace each other
Root = Annotated[Path, typer.Option(help="Where data, models and releases are kept.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set user.epochs=1.")]


def study_of(
    profile: str,
    seed: int,
    root: Path,
    *,
    overrides: Sequence[str] | None,
    rate: float | None = None,
    method: str = "ownership_code",
) -> Study:
    study = Study(Bench(root, Path("params.yaml"), tuple(overrides or ())), profile, seed, rate, method)
    try:
        _ = study.config
    except ConfigError as error:  # a wrong profile or override
        raise typer.BadParameter(str(error)) from None
    return study


def write(results: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows to a file, in place of earlier ones about the same suspects."""

    def about(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in SAME)

    measured = {about(row) for row in rows}
    made = {"commit": commit(), "torch": versions()["torch"]}
    folder = os.open(results.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # two seeds may be measured side by side
        kept = json.loads(results.read_text()) if results.is_file() else []
        write_json(results, [row for row in kept if about(row) not in measured] + [made | row for row in rows])
    finally:
        os.close(folder)


@cache
def commit() -> str:
    """Of the checkout that measures; with a plus sign if files have been changed since."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none"
