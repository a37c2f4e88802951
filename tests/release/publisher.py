"""An owner who publishes four small files; ``python -m tests.release.publisher FOLDER BUCKET BYTES`` is one to kill."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from sscl.artifacts import digest
from sscl.package.files import File, files_of
from sscl.release import reader
from sscl.release.manifest import FORMAT, Manifest, content_digest
from sscl.release.objects import Objects
from sscl.release.publish import Outcome, publish

SHARD = "data/train-{:05d}-of-00004.parquet"


class Publisher:
    """One owner's package and manifest."""

    def __init__(self, folder: Path, bucket: str, content: str = "x", version: str = "1.0", dataset: str = "0") -> None:
        self.package, self.sealed = folder / "package", folder / "secret-0.age"
        (self.package / "data").mkdir(parents=True)
        for number in range(4):
            (self.package / SHARD.format(number)).write_text(content * (number + 1))
        self.sealed.write_bytes(b"sealed " + content.encode())
        self.public, self.private = Objects(f"s3://{bucket}/public"), Objects(f"s3://{bucket}/private")
        files = files_of(self.package)
        self.manifest = Manifest(
            FORMAT, "d", version, "now", content_digest(files), dataset, "1", {}, [asdict(file) for file in files]
        )

    def publish(self, sleep: Callable[[float], None] = lambda _: None, differing: bool = False) -> Outcome:
        sealed = File(str(self.sealed), self.sealed.stat().st_size, digest(self.sealed))
        return publish(
            self.public,
            self.private,
            self.manifest,
            package=self.package,
            sealed=sealed,
            parallel=2,
            sleep=sleep,
            differing=differing,
        )


def intact(endpoint_objects: Objects) -> bool:
    """Nothing is visible, or a release of which every file is right."""
    return all(reader.verify(endpoint_objects, manifest, 2) == [] for manifest in reader.published(endpoint_objects))


if __name__ == "__main__":
    one = Publisher(Path(sys.argv[1]), sys.argv[2], "x" * int(sys.argv[3]))
    print("ready", flush=True)
    one.publish()
