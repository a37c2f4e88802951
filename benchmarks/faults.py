"""Releases under faults: every time the old state or the whole new one, and a rerun completes.

    python benchmarks/faults.py s3://BUCKET        # a bucket on the server that AWS_ENDPOINT_URL names

Between client and server stands tests/release/proxy.py, on real sockets. Writes docs/results/faults.json, one row a
fault (`fault, trials, survived`), and prints them as a table.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Annotated
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
import typer

from sscl.artifacts import load_tensors, read_json, write_json
from sscl.errors import SSCLError
from sscl.layout import PACKED, WATERMARK, Root
from sscl.params import load
from sscl.provenance import machine
from sscl.release import objects, reader
from sscl.release.config import Limits, ReleaseConfig, load_release
from sscl.release.create import create
from sscl.release.errors import TakenError
from sscl.release.gate import figures
from sscl.release.objects import Objects
from sscl.release.sealed import new_identity
from sscl.runner import run_all
from tests.conftest import EASY, TINY, mounted, shapes, store
from tests.release.proxy import FAULTS, proxying
from tests.release.test_faults import PUBLISH, intact
from tests.release.test_publish import Publisher

RESULTS = Path("docs/results/faults.json")
RERUNS = 20
LARGE = 7_000_000  # bytes of the smallest of four files; the larger ones are sent in parts
Trial = Callable[[int, "Place", str], bool]


class Place:
    """A prefix of its own for one trial, in which an older release is published."""

    def __init__(self, bucket: str) -> None:
        self.bucket = f"{bucket}/{uuid.uuid4().hex[:8]}"
        self.folder = Path(tempfile.mkdtemp(prefix="sscl-faults-"))
        self.straight = Objects(f"s3://{self.bucket}/public")
        Publisher(self.folder / "old", self.bucket, "old", "0.9").publish(lambda _: None)

    def is_intact(self, after: Sequence[str] = ("0.9", "1.0")) -> bool:
        """The older release is whole, the new one whole or not to be seen, and nothing sealed is public."""
        versions = [manifest.version for manifest in reader.published(self.straight)]
        contents = [self.straight.read(item.key) or b"" for item in self.straight.list("")]
        return versions in (["0.9"], [*after]) and intact(self.straight) and b"sealed" not in b"".join(contents)

    def completes(self, content: str = "x") -> bool:
        """Intact now; and after a rerun without faults, the new release is whole."""
        if not self.is_intact():
            return False
        Publisher(self.folder / "rerun", self.bucket, content).publish(lambda _: None)
        return len(list(reader.published(self.straight))) == 2 and self.is_intact()

    def remove(self) -> None:
        shutil.rmtree(self.folder)
        for whole in (self.straight, Objects(f"s3://{self.bucket}/private")):
            for item in list(whole.list("")):
                whole.client.delete_object(Bucket=whole.bucket, Key=whole.prefix + item.key)


def through(url: str, place: Place, name: str = "owner") -> Publisher:
    """A publisher that reaches the server by ``url``."""
    with changed(AWS_ENDPOINT_URL=url):
        return Publisher(place.folder / name, place.bucket)


@contextmanager
def changed(**values: str | None) -> Iterator[None]:
    """Environment variables, for a while; ``None`` removes one."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in values.items() if value is not None})
    for name in [name for name, value in values.items() if value is None]:
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


def says(expected: str, work: Callable[[], object]) -> bool:
    """Whether it fails with a message for people that contains ``expected``."""
    try:
        work()
    except SSCLError as error:
        return expected in str(error)
    return False


def line(fault: str, seed: int, place: Place, upstream: str) -> bool:
    """A publisher and a reader on a bad line, run again until they complete."""
    with proxying(upstream, fault, share=0.35, seed=seed) as proxy:
        one = through(proxy.url, place)
        for _ in range(RERUNS):
            try:
                one.publish(lambda _: None)
                reader.pull(one.public, reader.get(one.public, "d", "1.0"), place.folder / "out", 2)
                if proxy.injected:
                    break
                shutil.rmtree(place.folder / "out")  # a lucky line; once more
            except SSCLError:
                if not place.is_intact():
                    return False
        else:
            return False
    return reader.check_folder(place.folder / "out") == [] and place.completes()


def killed(seed: int, place: Place, upstream: str) -> bool:
    """SIGKILL at a random moment of a publishing that a slow line stretches to some seconds."""
    with proxying(upstream, "latency", share=0.5, seed=seed) as proxy:
        environment = {**os.environ, "AWS_ENDPOINT_URL": proxy.url, "PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-c", PUBLISH, str(place.folder / "owner"), place.bucket, str(LARGE)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.Random(seed).uniform(0.0, 5.0))
            alive = process.poll() is None
            process.send_signal(signal.SIGKILL)
    if not alive:
        raise typer.BadParameter(f"trial {seed}: the publisher had ended before it was killed; a slower line is needed")
    return place.completes("x" * LARGE)


@cache
def pipeline() -> Path:
    """An output root in which the whole pipeline has run on a tiny dataset."""
    folder = Path(tempfile.mkdtemp(prefix="sscl-faults-"))
    source = store(folder / "source", shapes(240, seed=1), shapes(90, seed=2))
    run_all(load(Path("params.yaml"), "demo", (*TINY, f"data.path={source}")), folder / "out")
    root = Root(folder / "out")
    figures(root, read_json(root.metrics))
    return folder / "out"


def releasing(place: Place) -> tuple[Path, list[str]]:
    """An output root, and ``sscl release create`` of it as a command."""
    root = Path(shutil.copytree(pipeline(), place.folder / "out"))
    sets = [f"release.{name}=s3://{place.bucket}/{name}" for name in ("public", "private", "copies")]
    sets += EASY
    sets.append(f"release.seal_to=[{new_identity()[1]}]")
    command = [sys.executable, "-m", "sscl", "release", "create", "1.0.0", "--study", "--debug", "--out", str(root)]
    return root, command + [text for change in sets for text in ("--set", change)]


@cache
def uninterrupted(bucket: str) -> float:
    """Seconds of ``sscl release create`` that nobody kills, on this machine: the shortest of three."""
    seconds = []
    for _ in range(3):
        place = Place(bucket)
        command = releasing(place)[1]
        started = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        seconds.append(time.monotonic() - started)
        place.remove()
    return min(seconds)


def killed_release(seed: int, place: Place, upstream: str) -> bool:
    """SIGKILL at a random moment of ``sscl release create``: gate, packing, sealing, upload, claim or manifest."""
    root, command = releasing(place)
    share = random.Random(seed).uniform(0.2, 0.95)  # before that, Python is still being loaded
    seconds = share * uninterrupted(place.bucket.partition("/")[0])
    log = place.folder / "log.txt"
    with log.open("wb") as file:
        with subprocess.Popen(command, stdout=file, stderr=file) as process:
            time.sleep(seconds)
            alive = process.poll() is None
            process.send_signal(signal.SIGKILL)
        if not alive:
            raise typer.BadParameter(
                f"trial {seed}: the release had ended before its kill; run again on a quiet machine"
            )
        if not place.is_intact(["0.9", "1.0.0"]):
            return False
        subprocess.run(command, stdout=file, stderr=file, check=True)
    secrets = [
        tensor.numpy().tobytes()
        for path in (root / WATERMARK).glob("*.safetensors")
        for tensor in load_tensors(path)[0].values()
        if tensor.numel() > 4
    ]
    public = log.read_bytes() + b"".join(place.straight.read(item.key) or b"" for item in place.straight.list(""))
    whole = [manifest.version for manifest in reader.published(place.straight)] == ["0.9", "1.0.0"]
    return whole and place.is_intact(["0.9", "1.0.0"]) and not any(secret in public for secret in secrets)


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
    return won == [reader.get(place.straight, "d", "1.0").digest] and place.is_intact()


def no_bucket(seed: int, place: Place, upstream: str) -> bool:
    """A bucket that is not there."""
    one = Publisher(place.folder / "owner", f"missing-{uuid.uuid4().hex[:8]}")
    return says("no such bucket", one.publish) and place.completes()


def wrong_secret(seed: int, place: Place, upstream: str) -> bool:
    """A secret key that the server refuses."""
    with changed(AWS_SECRET_ACCESS_KEY=f"wrong-{seed}"):
        one = Publisher(place.folder / "owner", place.bucket)
    return says("check the credentials", one.publish) and place.completes()


def no_permission(seed: int, place: Place, upstream: str) -> bool:
    """A writer without credentials at a bucket that does not let everybody write."""
    with changed(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_EC2_METADATA_DISABLED="true"):
        one = Publisher(place.folder / "owner", place.bucket)
    return says("no permission", one.publish) and place.completes()


def expired_token(seed: int, place: Place, upstream: str) -> bool:
    """The session ends somewhere in the middle; the proxy says so in the server's words."""
    with proxying(upstream, "expired", share=0.2, seed=seed) as proxy:
        one = through(proxy.url, place)
        for _ in range(RERUNS):  # until the session has ended in one of them
            try:
                one.publish(lambda _: None)
            except SSCLError as error:
                return "the session token has expired; log in again" in str(error) and place.completes()
    return False


def wrong_clock(seed: int, place: Place, upstream: str) -> bool:
    """This machine's clock is an hour off: the server refuses what it signs."""
    one = Publisher(place.folder / "owner", place.bucket)
    true = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *a, **k: true(*a, **k) + timedelta(hours=1)
    try:
        refused = says("this machine's clock is wrong", one.publish)
    finally:
        botocore.auth.get_current_datetime = true
    return refused and place.completes()


def full_disk(seed: int, place: Place, upstream: str) -> bool:
    """A reader's disk has no room for the release; nothing is lost, and elsewhere it succeeds."""
    found = Publisher(place.folder / "owner", place.bucket, "x" * 100_000).publish(lambda _: None).manifest
    with mounted(place.folder / "small", 200 << 10) as small:
        refused = says("are missing", lambda: reader.pull(place.straight, found, small / "out", 2))
    reader.pull(place.straight, found, place.folder / "out", 2)
    return refused and reader.check_folder(place.folder / "out") == [] and place.is_intact()


def disk_that_fills(seed: int, place: Place, upstream: str) -> bool:
    """The same where there was room when the pull began; what came stays, and with room again the rest comes."""
    found = Publisher(place.folder / "owner", place.bucket, "x" * 100_000).publish(lambda _: None).manifest
    with mounted(place.folder / "small", 200 << 10) as small:
        room = shutil.disk_usage(small)._replace(free=10**9)
        with mock.patch("sscl.release.reader.shutil.disk_usage", return_value=room):
            refused = says("the disk is full", lambda: reader.pull(place.straight, found, small / "out", 1))
        subprocess.run(["mount", "-o", "remount,size=2m", small], check=True)
        rest = reader.pull(place.straight, found, small / "out", 1)
        whole = reader.check_folder(small / "out") == []
    return refused and 0 < rest < len(found.files) and whole and place.is_intact()


def full_disk_of_the_publisher(seed: int, place: Place, upstream: str) -> bool:
    """It fills while the shards are written; nothing is published, and with room again everything is."""
    used = sum(path.stat().st_blocks * 512 for path in pipeline().rglob("*") if path.is_file())
    limits = replace(load_release(Path("params.yaml")).limits, **dict.fromkeys(Limits.__annotations__, 1000.0))
    with mounted(place.folder / "small", used + (1 << 18)) as small:
        root = Path(shutil.copytree(pipeline(), small / "out"))
        shutil.rmtree(root / PACKED)
        (small / "filler").write_bytes(
            bytes(shutil.disk_usage(small).free - random.Random(seed).randrange(8192, 65536))
        )
        urls = {name: f"s3://{place.bucket}/{name}" for name in ("public", "private", "copies")}
        config = ReleaseConfig(**urls, seal_to=[new_identity()[1]], parallel=2, limits=limits)
        publish = partial(create, Root(root), config, "1.0.0", announce=lambda _: None, study=True)
        refused = says("the disk is full", publish) and place.is_intact()
        (small / "filler").unlink()
        publish()
    return refused and place.is_intact(["0.9", "1.0.0"])


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
        "SIGKILL": (4 * trials, killed),
        "SIGKILL of sscl release create": (4 * trials, killed_release),
        "two publishers at once": (4 * trials, two_publishers),
    }
    cases |= {fault: (trials, partial(line, fault)) for fault in FAULTS}
    alone: tuple[Trial, ...] = (no_bucket, wrong_secret, no_permission, expired_token, wrong_clock)
    alone += (full_disk, disk_that_fills, full_disk_of_the_publisher)
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
