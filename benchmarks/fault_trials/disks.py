"""Disks that are full, or fill."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

from benchmarks.fault_trials.base import Place, pipeline, says
from sscl.layout import PACKED, Root
from sscl.release import reader
from sscl.release.config import Limits, ReleaseConfig, load_release
from sscl.release.create import create
from sscl.release.sealed import new_identity
from tests.conftest import mounted
from tests.release.publisher import Publisher


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
