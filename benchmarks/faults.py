"""Releases under faults: every time the old state or the whole new one, and a rerun completes.

    python benchmarks/faults.py s3://BUCKET        # a bucket on the server that AWS_ENDPOINT_URL names

Between client and server stands tests/release/proxy.py, on real sockets. Writes docs/results/faults.json, one row a
fault (`fault, trials, survived`), and prints them as a table.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from benchmarks.fault_trials import disks, kills, lines
from benchmarks.fault_trials.base import Place, Trial
from sscl.artifacts import write_json
from sscl.provenance import machine
from sscl.release import objects
from tests.release.proxy import FAULTS

RESULTS = Path("docs/results/faults.json")


def main(
    url: Annotated[str, typer.Argument(help="s3://BUCKET")],
    only: Annotated[list[str] | None, typer.Option(help="These faults alone; other rows are kept.")] = None,
    trials: Annotated[
        int, typer.Option(help="Of each fault; of SIGKILL and of two publishers, four times as many.")
    ] = 5,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Run every trial; write the rows and print the table."""
    objects.LONGEST_WAIT = 0.2
    bucket, upstream = urlsplit(url).netloc, os.environ["AWS_ENDPOINT_URL"]
    cases: dict[str, tuple[int, Trial]] = {
        "SIGKILL": (4 * trials, kills.killed),
        "SIGKILL of sscl release create": (4 * trials, kills.killed_release),
        "two publishers at once": (4 * trials, kills.two_publishers),
    }
    cases |= {fault: (trials, partial(lines.line, fault)) for fault in FAULTS}
    alone: tuple[Trial, ...] = (lines.no_bucket, lines.wrong_secret, lines.no_permission, lines.expired_token)
    alone += (lines.wrong_clock, disks.full_disk, disks.disk_that_fills, disks.full_disk_of_the_publisher)
    cases |= {trial.__name__: (trials, trial) for trial in alone}
    rows = json.loads(results.read_text()) if only and results.is_file() else []
    print("| fault | trials | survived |\n|---|---|---|", flush=True)
    for name, (count, trial) in cases.items():
        if only and name.replace("_", " ") not in only:
            continue
        survived = 0
        for seed in range(count):
            place = Place(bucket)
            survived += trial(seed, place, upstream)
            place.remove()
        row = {"fault": name.replace("_", " "), "trials": count, "survived": survived, "machine": machine()}
        rows = [*(other for other in rows if other["fault"] != row["fault"]), row]
        print(f"| {rows[-1]['fault']} | {count} | {survived} |", flush=True)
        write_json(results, rows)


if __name__ == "__main__":
    typer.run(main)
