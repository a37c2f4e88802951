"""Releases under faults: every time the old state or the whole new one, and a rerun completes.

    python benchmarks/faults.py s3://BUCKET        # a bucket on the server that AWS_ENDPOINT_URL names

Between client and server stands tests/release/proxy.py, on real sockets. Writes docs/results/faults.json, one row a
fault (`fault, trials, survived`), and prints them as a table.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from sscl.artifacts import write_json
from sscl.errors import SSCLError
from sscl.provenance import machine
from sscl.release import objects, reader
from sscl.release.errors import TakenError
from sscl.release.objects import Objects
from tests.release.proxy import FAULTS, proxying
from tests.release.test_faults import PUBLISH, intact
from tests.release.test_publish import Publisher

RESULTS = Path("docs/results/faults.json")
RERUNS = 20


class Place:
    """A prefix of its own for one trial."""

    def __init__(self, bucket: str) -> None:
        self.bucket = f"{bucket}/{uuid.uuid4().hex[:8]}"
        self.folder = Path(tempfile.mkdtemp())
        self.straight = Objects(f"s3://{self.bucket}/public")

    def completes(self) -> bool:
        """Intact now; and after a rerun without faults, one whole release is visible."""
        if not intact(self.straight):
            return False
        Publisher(self.folder / "rerun", self.bucket).publish(lambda _: None)
        return len(list(reader.published(self.straight))) == 1 and intact(self.straight)


def line(fault: str, seed: int, place: Place, upstream: str) -> bool:
    """A publisher and a reader on a bad line, run again until they complete."""
    with proxying(upstream, fault, share=0.35, seed=seed) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        one = Publisher(place.folder / "owner", place.bucket)
        os.environ["AWS_ENDPOINT_URL"] = upstream
        for _ in range(RERUNS):
            try:
                one.publish(lambda _: None)
                (found,) = reader.published(one.public)
                reader.pull(one.public, found, place.folder / "out", 2)
                break
            except SSCLError:
                if not intact(place.straight):
                    return False
        else:
            return False
    struck = proxy.injected > 0
    return struck and reader.check_folder(place.folder / "out") == [] and place.completes()


def killed(seed: int, place: Place, upstream: str) -> bool:
    """SIGKILL at a random moment of a publishing that a slow line stretches to some seconds."""
    with proxying(upstream, "latency", share=0.5, seed=seed) as proxy:
        environment = {**os.environ, "AWS_ENDPOINT_URL": proxy.url, "PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-c", PUBLISH, str(place.folder / "owner"), place.bucket]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.Random(seed).uniform(0.0, 2.5))
            alive = process.poll() is None
            process.send_signal(signal.SIGKILL)
    if not alive:
        raise typer.BadParameter(f"trial {seed}: the publisher had ended before it was killed; a slower line is needed")
    return place.completes()


def two_publishers(seed: int, place: Place, upstream: str) -> bool:
    """Two with other content, at the same time and with the real settling time: exactly one wins."""
    owners = [Publisher(place.folder / name, place.bucket, f"{name}{seed}") for name in "ab"]
    won: list[str] = []

    def go(owner: Publisher) -> None:
        try:
            owner.publish(time.sleep)
            won.append(owner.manifest.digest)
        except TakenError:
            pass

    threads = [threading.Thread(target=go, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (visible,) = reader.published(place.straight)
    return won == [visible.digest] and intact(place.straight)


def no_bucket(seed: int, place: Place, upstream: str) -> bool:
    """A bucket that is not there: an error that says so, and nothing else happens."""
    try:
        Publisher(place.folder / "owner", f"missing-{uuid.uuid4().hex[:8]}").publish(lambda _: None)
    except SSCLError as error:
        return "no such bucket" in str(error) and place.completes()
    return False


def wrong_credentials(seed: int, place: Place, upstream: str) -> bool:
    """Keys that the server refuses."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    os.environ["AWS_SECRET_ACCESS_KEY"] = f"wrong-{seed}"
    try:
        Publisher(place.folder / "owner", place.bucket).publish(lambda _: None)
    except SSCLError as error:
        os.environ["AWS_SECRET_ACCESS_KEY"] = secret
        return "check the credentials" in str(error) and place.completes()
    finally:
        os.environ["AWS_SECRET_ACCESS_KEY"] = secret
    return False


def main(
    url: Annotated[str, typer.Argument(help="s3://BUCKET")],
    trials: Annotated[int, typer.Option(help="Of each fault; of SIGKILL and publishers at once, 20.")] = 5,
) -> None:
    """Run every trial; write the rows and print the table."""
    objects.LONGEST_WAIT = 0.2
    bucket, upstream = urlsplit(url).netloc, os.environ["AWS_ENDPOINT_URL"]
    cases: dict[str, tuple[int, Callable[[int, Place, str], bool]]] = {"SIGKILL": (20, killed)}
    for fault in FAULTS:
        cases[fault] = (trials, lambda seed, place, up, fault=fault: line(fault, seed, place, up))
    cases |= {"two publishers at once": (20, two_publishers), "no such bucket": (1, no_bucket)}
    cases |= {"wrong credentials": (1, wrong_credentials)}
    rows = []
    for name, (count, trial) in cases.items():
        survived = sum(trial(seed, Place(bucket), upstream) for seed in range(count))
        rows.append({"fault": name, "trials": count, "survived": survived, "machine": machine()})
        print(f"| {name.replace('_', ' ')} | {count} | {survived} |", flush=True)
    write_json(RESULTS, rows)


if __name__ == "__main__":
    typer.run(main)
