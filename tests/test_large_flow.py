"""Shards on a real Dask cluster with two workers; one of them is killed in the middle of a shard."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.large import large
from sscl.artifacts import read_json, write_json
from sscl.config import Config, dump
from sscl.errors import InputError
from sscl.layout import Root
from sscl.package.files import files_of
from sscl.release import large as shards
from sscl.release.objects import Objects
from sscl.release.sealed import new_identity
from tasks.runners import runner
from tests.conftest import ROOT
from tests.kept import assert_not_kept, database_dump


@pytest.fixture
def checkout(finished: Path, config: Config, tmp_path: Path) -> Path:
    """A finished pipeline of which every shard has 20 images, with a secret that does not follow from the seed."""
    root = tmp_path / "checkout"
    shutil.copytree(finished, root / "out")
    (tmp_path / "release.key").write_bytes(os.urandom(32))
    changed = replace(config, key_file=str(tmp_path / "release.key"), package=replace(config.package, shard_images=20))
    metrics = read_json(Root(root / "out").metrics)
    write_json(Root(root / "out").metrics, {**metrics, "config": dump(changed)})
    return root


class Killer(threading.Thread):
    """Kills the first worker that it sees in the middle of a shard."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.killed = folder, None

    def run(self) -> None:
        for _ in range(60_000):
            for path in self.folder.glob(".*.tmp-*"):
                self.killed = int(re.findall(r"tmp-(\d+)-", path.name)[0])
                os.kill(self.killed, signal.SIGKILL)
                return
            time.sleep(0.001)


@pytest.mark.slow
def test_a_killed_workers_shard_is_made_again_identically(checkout: Path, server: None, same_environment: None) -> None:
    config = shards.build(read_json(Root(checkout / "out").metrics)["config"])
    out, planned = shards.plan(Root(checkout / "out"), config)
    straight = [shards.mark(out, number) for number in range(len(planned))]
    shutil.rmtree(out.path)
    killer = Killer(out.packed / "data")
    killer.start()
    found = large.with_options(task_runner=runner("dask", 2))(root=str(checkout))
    assert killer.killed is not None
    assert killer.killed != os.getpid()
    assert found == {"shards": len(planned), "folder": str(out.path)}
    assert shards.assemble(out, straight).files == files_of(out.packed)


@pytest.mark.slow
def test_a_version_that_cannot_be_published_is_refused_before_shards_are_marked(
    checkout: Path, server: None, same_environment: None
) -> None:
    shutil.copy(ROOT / "params.yaml", checkout)
    with pytest.raises(InputError, match=r"release\.seal_to: no public key"):
        large("1.0.0", str(checkout))
    assert not Root(checkout / "out").large.exists()


@pytest.mark.slow
def test_shards_are_published_by_tasks(checkout: Path, server: None, bucket: str, tmp_path: Path) -> None:
    """The gate's figures are the sample's; a stranger pulls and verifies what many uploads made."""
    from sscl.release import reader

    text = (ROOT / "params.yaml").read_text()
    sealed_to = new_identity()[1]
    changes: dict[str, Any] = {
        f"{name}: s3://": f"{name}: s3://{bucket}/x/" for name in ("public", "private", "copies")
    }
    changes |= {"seal_to: []": f"seal_to: [{sealed_to}]"}
    for limit in ("ba_drop", "lpips", "auroc", "p_value"):
        text = re.sub(rf"(    {limit}: )\S+", r"\g<1>1000.0", text)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (checkout / "params.yaml").write_text(text)
    published = large("1.0.0", str(checkout))
    objects = Objects(f"s3://{bucket}/x/public-datasets/releases")
    (manifest,) = reader.published(objects)
    assert (manifest.name, manifest.digest) == (published["name"], published["digest"])
    assert reader.pull(objects, manifest, tmp_path / "got", 2) == len(manifest.files)
    assert reader.check_folder(tmp_path / "got") == []
    assert large("1.0.0", str(checkout)) == published
    assert_not_kept(database_dump(), Path(published["folder"]))
