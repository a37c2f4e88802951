"""Shards of a large dataset as Prefect tasks: what they return is a path and a digest, never data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task, unmapped

from sscl.artifacts import read_json
from sscl.config import Config
from sscl.errors import InputError
from sscl.layout import Root
from sscl.package.files import File
from sscl.params import build
from sscl.release import large
from sscl.release.config import ReleaseConfig
from sscl.release.create import passed, send
from sscl.release.objects import Objects
from tasks.release import release_section, show_gate
from tasks.results import OUT
from tasks.retries import PATIENT


@task(name="plan-shards")
def plan_shards(root: str) -> tuple[str, int]:
    """Draw which images are marked; the plan's folder, and how many shards there are."""
    folder, shards = large.plan(Root(Path(root) / OUT), _config(root))
    return str(folder.path), len(shards)


def _config(root: str) -> Config:
    return build(read_json(Root(Path(root) / OUT).metrics)["config"])


@task(name="mark-shard", tags=["shards"], task_run_name="mark-shard-{number}", **PATIENT)
def mark_shard(folder: str, number: int) -> dict[str, Any]:
    """Mark, pack and digest one shard; done once, whoever asks, and again after a worker died."""
    return asdict(large.mark(Root(Path(folder)), number))


@task(name="upload-file", task_run_name="upload-{key}", **PATIENT)
def upload_file(url: str, key: str, path: str, sha256: str) -> bool:
    """Whether the file was sent; it is not if it is there already."""
    return Objects(url).put(key, Path(path), sha256)


def upload_by_tasks(public: Objects, folder: str, files: Sequence[File], package: Path, parallel: int) -> int:
    """One mapped task a file, on the flow's workers; they decide how many at a time."""
    keys = [f"{folder}/{file.path}" for file in files]
    paths = [str(package / file.path) for file in files]
    sent = upload_file.map(unmapped(public.url), keys, paths, [file.sha256 for file in files])
    return sum(sent.result())


def gated(version: str, *, root: str, log: Callable[[str], None]) -> ReleaseConfig:
    """How to publish a version that may be: version, keys and the gate, on the sample's figures."""
    config = release_section(Path(root))
    show = partial(show_gate, version=version)
    passed(Root(Path(root) / OUT), config, version, announce=log, show=show, study=False)
    return config


def publish_shards(
    plan: str,
    shards: Sequence[dict[str, Any]],
    version: str,
    *,
    root: str,
    log: Callable[[str], None],
    differing: bool = False,
) -> dict[str, Any]:
    """Assemble and publish, if the gate still allows it; called by the flow, so that its uploads are tasks."""
    folder, out = Path(root), Root(Path(root) / OUT)
    config = gated(version, root=root, log=log)
    if large.plan(out, _config(root))[0].path != Path(plan):
        raise InputError(f"{plan}: the pipeline was run again while shards were marked; run this again")
    candidate = large.assemble(Root(Path(plan)), [File(**shard) for shard in shards])
    manifest = send(
        candidate,
        config.public,
        config,
        version=version,
        announce=log,
        checkout=folder,
        upload=upload_by_tasks,
        differing=differing,
    ).manifest
    return {"name": manifest.name, "version": version, "digest": manifest.digest}
