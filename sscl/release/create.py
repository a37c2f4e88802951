"""From a finished pipeline to a published release: gate, pack, seal, publish."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sscl.artifacts import STATE, Slot, building, digest, key_of, load_tensors, read_json
from sscl.errors import SSCLError
from sscl.params import build
from sscl.provenance import code_digest
from sscl.release import gate, recipients, sealed
from sscl.release.config import ReleaseConfig
from sscl.release.manifest import FORMAT, Manifest, content_digest, manifest_key
from sscl.release.objects import Objects
from sscl.release.package import File, files_of, pack
from sscl.release.publish import Outcome, publish
from sscl.stages.names import COMMITMENT, INDICES

PACKED, COMMITTED, OPENING = "public/package", "public/commitment", "private/commitment"


class GateError(SSCLError):
    """The quality gate failed; nothing was published."""


def create(
    root: Path,
    config: ReleaseConfig,
    version: str,
    announce: Callable[[str], None],
    checkout: Path = Path(),
    recipient: str | None = None,
) -> Outcome:
    """Publish the watermarked dataset under ``root``; run again after any failure, it goes on where it was.

    Args:
        root: output root of a finished pipeline.
        config: the section ``release``.
        version: e.g. 1.0.0.
        announce: told what is done, for people.
        checkout: the git repository with ``dvc.lock`` that the manifest names.
        recipient: publish a copy under a key of its own, as ``NAME-for-RECIPIENT``; the gate is the release's.

    Raises:
        GateError: a figure is above its limit.
        InputError: no finished pipeline, an impossible version, no key to seal to.
        SSCLError: S3 refuses, or another publisher was first; nothing of this release is visible.
    """
    manifest_key(config.name, version)
    public, private = Objects(config.public), Objects(config.private)
    checks = gate.check(root, config.limits)
    for check in checks:
        announce(f"gate: {check} {'passed' if check.passed else 'FAILED'}")
    failed = [str(check) for check in checks if not check.passed]
    if failed:
        raise GateError(
            f"quality gate: {'; '.join(failed)}; nothing was published. Mend the release, or release.limits"
        )
    if recipient:
        root = recipients.protect(root, build(read_json(root / gate.METRICS)["config"]), recipient)
        config = replace(config, name=f"{config.name}-for-{recipient}")
    package = packed(root, config)
    files = files_of(package)
    announce(f"packed: {len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB")
    secret = _sealed(root, config)
    manifest = Manifest(
        format=FORMAT,
        name=config.name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        digest=content_digest(files),
        dataset=digest(root / gate.RELEASED),
        commitment=read_json(root / COMMITTED / COMMITMENT)["sha256"],
        source=_source(checkout),
        files=[asdict(file) for file in files],
    )
    outcome = publish(public, private, manifest, package, secret, config.parallel)
    announce(f"published: {config.name} {version}, {outcome.sent} files sent")
    return outcome


def packed(root: Path, config: ReleaseConfig) -> Path:
    """The folder with the release's files, made unless it is there."""
    inputs = {name: digest(root / name) for name in (gate.RELEASED, COMMITTED)}
    inputs["marked"] = digest(root / gate.SECRET / INDICES)
    about = {key: value for key, value in asdict(config).items() if key not in ("public", "private", "limits")}
    slot = Slot(
        "package", (root / PACKED,), key_of(inputs=inputs, about=about, code=code_digest(__name__)), root / STATE
    )
    with building(slot, overwrite=True) as temporaries:
        if temporaries is not None:
            marked = load_tensors(root / gate.SECRET / INDICES)[0]["indices"].tolist()
            pack(root / gate.RELEASED, marked, root / COMMITTED, config, temporaries[0])
    return slot.outs[0]


def _sealed(root: Path, config: ReleaseConfig) -> File:
    """The secret and what opens the commitment, encrypted; on disk beside the secret itself."""
    place = root / STATE / "sealed"
    shutil.rmtree(place, ignore_errors=True)
    for name in (gate.SECRET, OPENING):
        shutil.copytree(root / name, place / "plain" / name)
    sealed.seal(place / "plain", config.seal_to, place / "secret.age")
    shutil.rmtree(place / "plain")
    path = place / "secret.age"
    return File(str(path), path.stat().st_size, digest(path))


def _source(checkout: Path) -> dict[str, Any]:
    """What of the repository the release came from; empty outside one."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() or None if done.returncode == 0 else None

    lock = checkout / "dvc.lock"
    return {
        "git": git("rev-parse", "HEAD"),
        "tag": git("describe", "--tags", "--exact-match"),
        "dvc_lock": digest(lock) if lock.is_file() else None,
    }
