"""Where a trial happens, and what must hold after it."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sscl.artifacts import read_json
from sscl.errors import SSCLError
from sscl.layout import Root
from sscl.params import load
from sscl.release import reader
from sscl.release.gate import figures
from sscl.release.objects import Objects
from sscl.runner import run_all
from tests.conftest import TINY, shapes, store
from tests.release.publisher import Publisher, intact

Trial = Callable[[int, "Place", str], bool]  # of a seed, a place and the server's address; says whether all went well


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


@cache
def pipeline() -> Path:
    """An output root in which the whole pipeline has run on a tiny dataset."""
    folder = Path(tempfile.mkdtemp(prefix="sscl-faults-"))
    source = store(folder / "source", shapes(240, seed=1), shapes(90, seed=2))
    run_all(load(Path("params.yaml"), "demo", (*TINY, f"data.path={source}")), folder / "out")
    root = Root(folder / "out")
    figures(root, read_json(root.metrics))
    return folder / "out"
