"""SIGKILL at random moments, and two publishers at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import typer

from benchmarks.fault_trials.base import Place, pipeline
from sscl.artifacts import load_tensors
from sscl.layout import WATERMARK
from sscl.release import reader
from sscl.release.errors import TakenError
from sscl.release.sealed import new_identity
from tests.conftest import EASY
from tests.release.proxy import proxying
from tests.release.publisher import Publisher

LARGE = 7_000_000  # bytes of the smallest of four files; the larger ones are sent in parts


def killed(seed: int, place: Place, upstream: str) -> bool:
    """SIGKILL at a random moment of a publishing that a slow line stretches to some seconds."""
    with proxying(upstream, "latency", share=0.5, seed=seed) as proxy:
        environment = {**os.environ, "AWS_ENDPOINT_URL": proxy.url, "PYTHONPATH": str(Path.cwd())}
        command = [
            sys.executable,
            "-m",
            "tests.release.publisher",
            str(place.folder / "owner"),
            place.bucket,
            str(LARGE),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.Random(seed).uniform(0.0, 5.0))
            alive = process.poll() is None
            process.send_signal(signal.SIGKILL)
    if not alive:
        raise typer.BadParameter(f"trial {seed}: the publisher had ended before it was killed; a slower line is needed")
    return place.completes("x" * LARGE)


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
