"""From a finished pipeline to a published release: gate, pack, seal, publish."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sscl.artifacts import STATE, Slot, building, digest, key_of, read_json
from sscl.errors import InputError
from sscl.params import build
from sscl.provenance import code_digest
from sscl.release import gate, recipients, sealed
from sscl.release.config import ReleaseConfig
from sscl.release.manifest import FORMAT, Manifest, content_digest, manifest_key
from sscl.release.objects import Objects
from sscl.release.package import File, files_of, pack
from sscl.release.places import COMMITTED, METRICS, OPENED, RELEASED, SECRET
from sscl.release.publish import Outcome, publish
from sscl.stages.names import COMMITMENT

PACKED = "public/package"


def create(
    root: Path,
    config: ReleaseConfig,
    version: str,
    announce: Callable[[str], None],
    show: Callable[[list[gate.Check]], None] = lambda checks: None,
    checkout: Path = Path(),
    recipient: str | None = None,
    study: bool = False,
) -> Outcome:
    """Publish the watermarked dataset under ``root``; run again after any failure, it goes on where it was.

    Args:
        root: output root of a finished pipeline.
        config: the section ``release``.
        version: e.g. 1.0.0.
        announce: told what is done, for people.
        show: given the gate's figures before they are judged.
        checkout: the git repository with ``dvc.lock`` that the manifest names.
        recipient: publish a copy under a key of its own, as ``NAME-for-RECIPIENT`` under ``release.copies``: beside the
            release for everybody it would tell which images are marked. The gate is that release's.
        study: whether a secret that follows from the public seed will do.

    Raises:
        GateError: a figure is above its limit.
        InputError: no finished pipeline, an impossible version, no key to seal to.
        SSCLError: S3 refuses, or another publisher was first; nothing of this release is visible.
    """
    manifest_key(config.name, version)
    public = Objects(config.copies if recipient else config.public)
    private = Objects(config.private)
    run = build(read_json(root / METRICS)["config"])
    if run.key_file is None and not study:
        raise InputError("key_file: null, so anybody can derive the secret from the seed; `sscl keygen --release FILE`")
    checks = gate.check(root, config.limits)
    for check in checks:
        announce(f"gate: {check} {'passed' if check.passed else 'FAILED'}")
    show(checks)
    gate.judge(checks)
    if recipient:
        root = recipients.protect(root, run, recipient)
        config = replace(config, name=f"{config.name}-for-{recipient}")
    package = packed(root, config)
    files = files_of(package)
    announce(f"packed: {len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB")
    manifest = Manifest(
        format=FORMAT,
        name=config.name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        digest=content_digest(files),
        dataset=digest(root / RELEASED),
        commitment=read_json(root / COMMITTED / COMMITMENT)["sha256"],
        source=_source(checkout),
        files=[asdict(file) for file in files],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / sealed.name_for(config.seal_to)
        sealed.seal(root, (SECRET, OPENED), config.seal_to, path)
        secret = File(str(path), path.stat().st_size, digest(path))
        outcome = publish(public, private, manifest, package, secret, config.parallel)
    announce(f"published: {config.name} {version}, {outcome.sent} files sent")
    return outcome


def packed(root: Path, config: ReleaseConfig) -> Path:
    """The folder with the release's files, made unless it is there."""
    inputs = {name: digest(root / name) for name in (RELEASED, COMMITTED)}
    places = ("public", "private", "copies", "seal_to", "parallel", "limits")
    about = {key: value for key, value in asdict(config).items() if key not in places}
    slot = Slot(
        "package", (root / PACKED,), key_of(inputs=inputs, about=about, code=code_digest(__name__)), root / STATE
    )
    with building(slot, overwrite=True) as temporaries:
        if temporaries is not None:
            pack(root / RELEASED, root / COMMITTED, config, temporaries[0])
    return slot.outs[0]


def _source(checkout: Path) -> dict[str, Any]:
    """What of the repository the release came from; empty outside one."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() or None if done.returncode == 0 else None

    lock = checkout / "dvc.lock"
    return {
        "git": git("rev-parse", "HEAD"),
        "uncommitted": bool(git("status", "--porcelain", "--untracked-files=no")),
        "tag": git("describe", "--tags", "--exact-match"),
        "dvc_lock": digest(lock) if lock.is_file() else None,
    }
