"""Hostile inputs, each tried on the product: what is expected, and what is seen.

    python -m benchmarks.hostile out s3://BUCKET [--quick]

``out`` is the output root of a finished pipeline, of which a copy is used; the bucket takes hostile releases. Rows go
to ``docs/results/hostile.json``: ``input, surface, expected, seen, ok``. The exit code is 1 if anything is not as
expected.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.hostile_inputs import bundles, datasets, model_files, releases, replies
from benchmarks.hostile_inputs.base import Place, seen
from sscl import progress
from sscl.artifacts import write_json
from sscl.errors import printable
from sscl.release.places import place_of

INPUTS = [*model_files.INPUTS, *replies.INPUTS, *bundles.INPUTS, *releases.INPUTS, *datasets.INPUTS]


def main(
    root: Annotated[Path, typer.Argument(help="Output root of a finished pipeline.")],
    bucket: Annotated[str, typer.Argument(help="s3://BUCKET, for hostile releases.")],
    quick: Annotated[bool, typer.Option("--quick", help="Not those that wait for a limit.")] = False,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = Path("docs/results/hostile.json"),
) -> None:
    """Try every hostile input."""
    progress.set_quiet(True)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        copied = Path(shutil.copytree(root, Path(temporary) / "out"))
        for number, attempt in enumerate(one for one in INPUTS if not (quick and one.slow)):
            folder = Path(temporary) / f"input-{number}"
            folder.mkdir()
            started = time.monotonic()
            found = seen(attempt, Place(copied, folder, place_of(bucket)[0])).replace(temporary, "")
            ok = re.search(attempt.expected, found) is not None
            shown = printable(found, 160)
            row = {"input": attempt.name, "surface": attempt.surface, "expected": attempt.expected, "seen": shown}
            rows.append(row | {"ok": ok})
            print(f"{'ok ' if ok else 'BAD'} {time.monotonic() - started:5.1f} s  {attempt.surface}: {attempt.name}")
            if not ok:
                print(f"      expected {attempt.expected}, seen {shown}")
    write_json(results, rows)
    print(f"{sum(bool(row['ok']) for row in rows)} of {len(rows)} as expected")
    raise typer.Exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    typer.run(main)
