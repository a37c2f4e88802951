"""From a finished pipeline to a published release: gate, pack, seal, publish."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sscl.artifacts import digest, read_json
from sscl.audit.bundle import load_key
from sscl.audit.opening import commitment_digest
from sscl.config import Config
from sscl.errors import InputError
from sscl.layout import OPENED, WATERMARK, Root
from sscl.package.files import File, files_of
from sscl.package.pack import pack
from sscl.params import build
from sscl.release import gate, recipients, sealed
from sscl.release.config import ReleaseConfig
from sscl.release.manifest import FORMAT, Manifest, content_digest, manifest_key
from sscl.release.objects import Objects
from sscl.release.publish import Outcome, Upload, publish, upload_here
from sscl.runner import note_of, run_stage
from sscl.stages.table import STAGES
from sscl.statistics import words


@dataclass(frozen=True)
class Candidate:
    """What passed the gate and is packed.

    Attributes:
        root: its secret and its commitment are there, as in an output root.
        name: of the dataset, in URLs.
        files: of the release, under ``root``'s package.
        dataset: digest of the watermarked dataset.
    """

    root: Root
    name: str
    files: list[File]
    dataset: str


def create(
    root: Root,
    config: ReleaseConfig,
    version: str,
    *,
    announce: Callable[[str], None],
    show: Callable[[list[gate.Check]], None] = lambda checks: None,
    checkout: Path = Path(),
    recipient: str | None = None,
    study: bool = False,
    differing: bool = False,
) -> Outcome:
    """Publish the watermarked dataset under ``root``; run again after any failure, it goes on where it was.

    Args:
        root: output root of a finished pipeline.
        config: the section ``release``.
        version: e.g. 1.0.0.
        announce: told what is done, for people.
        show: given the gate's figures before they are judged.
        checkout: the git repository with ``dvc.lock`` that the manifest names.
        recipient: publish a copy under a word of its own, as ``NAME-for-RECIPIENT`` under ``release.copies``: beside
            the release for everybody it would tell which images are marked. The gate is that release's.
        study: whether a secret that follows from the public seed will do.
        differing: whether it may stand beside a version with other images or marks, from which both sets of marks show.

    Raises:
        GateError: a figure is above its limit.
        InputError: no finished pipeline, an impossible version, no key to seal to, or a version that differs is there.
        SSCLError: S3 refuses, or another publisher was first; nothing of this release is visible.
    """
    run = passed(root, config, version, announce=announce, show=show, study=study)
    if recipient:
        root = recipients.protect(root, run, recipient)
        run = replace(run, package=replace(run.package, name=f"{run.package.name}-for-{recipient}"))
    ensure_packed(root, run)
    candidate = Candidate(root, run.package.name, files_of(root.packed), digest(root.released))
    place = config.copies if recipient else config.public
    return send(candidate, place, config, version=version, announce=announce, checkout=checkout, differing=differing)


def ensure_packed(root: Root, run: Config) -> None:
    """Have the package of the release under ``root``; one that came by ``dvc pull`` is made again and compared.

    Raises:
        InputError: it is of another release.
    """
    if note_of(STAGES["package"], root.path) or not root.packed.exists():
        run_stage(STAGES["package"], run, root.path, overwrite=True)
        return
    with tempfile.TemporaryDirectory(dir=root.path) as folder:
        fresh = pack(root.released, root.committed, run.package, Path(folder) / "package")
    if fresh != files_of(root.packed):
        raise InputError(f"{root.packed}: not of the release that is here; run `dvc repro package`")


def passed(
    root: Root,
    config: ReleaseConfig,
    version: str,
    *,
    announce: Callable[[str], None],
    show: Callable[[list[gate.Check]], None],
    study: bool,
) -> Config:
    """The configuration of the pipeline under ``root``, if it may be published as ``version``; raises as ``create``."""
    run = build(read_json(root.metrics)["config"])
    require_publishable(run, config, version, study=study)
    require_reachable(root, config)
    if run.audit.version != version:
        announce(f"note: the commitment is for version {run.audit.version} (audit.version), and evidence will say so")
    checks = gate.check(root, config.limits)
    for check in checks:
        announce(f"gate: {check} {'passed' if check.passed else 'FAILED'}")
    show(checks)
    gate.judge(checks)
    return run


def require_publishable(run: Config, config: ReleaseConfig, version: str, *, study: bool = False) -> None:
    """Raise ``InputError`` for what no pipeline run would mend: an impossible version, or keys that are missing."""
    manifest_key(run.package.name, version)
    if run.key_file is None and not study:
        raise InputError("key_file: null, so anybody can derive the secret from the seed; `sscl keygen --release FILE`")
    sealed.keys_of(config.seal_to)
    if config.sign is not None:
        load_key(Path(config.sign))


def require_reachable(root: Root, config: ReleaseConfig) -> None:
    """Raise ``InputError`` if no rehearsal could pass the gate's limit of p."""
    opening, limit = read_json(root.opening), config.limits.p_value
    if "mark_count" not in opening:
        return  # a method without an exact test, which the gate refuses itself
    marks, classes = opening["mark_count"], opening["groups"]
    if (lowest := words.floor(marks, classes)) > limit:
        raise InputError(
            f"release.limits.p_value: {limit:g}, and {marks} marks on {classes} classes give no p below {lowest:.3g}; "
            "raise it, as you raised audit.alpha"
        )


def send(
    candidate: Candidate,
    place: str,
    config: ReleaseConfig,
    *,
    version: str,
    announce: Callable[[str], None],
    checkout: Path,
    upload: Upload = upload_here,
    differing: bool = False,
) -> Outcome:
    """Seal the secret and publish at ``place``; ``upload`` sends the files, here or on workers."""
    root, files = candidate.root, candidate.files
    announce(f"packed: {len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB")
    committed = read_json(root.commitment)
    manifest = Manifest(
        format=FORMAT,
        name=candidate.name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        digest=content_digest(files),
        dataset=candidate.dataset,
        commitment=commitment_digest(committed),
        source=_source(checkout, root.path),
        files=[asdict(file) for file in files],
    )
    manifest = signed_by_owner(manifest, config.sign, committed.get("signer"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / sealed.name_for(config.seal_to)
        sealed.seal(root.path, (WATERMARK, OPENED), config.seal_to, path)
        secret = File(str(path), path.stat().st_size, digest(path))
        public, private = Objects(place), Objects(config.private)
        outcome = publish(
            public,
            private,
            manifest,
            package=root.packed,
            sealed=secret,
            parallel=config.parallel,
            upload=upload,
            differing=differing,
        )
    announce(f"published: {candidate.name} {version}, {outcome.sent} files sent")
    return outcome


def signed_by_owner(manifest: Manifest, sign: str | None, committed: str | None) -> Manifest:
    """The manifest under the committed key.

    Raises:
        InputError: no key where one was committed to, or another.
    """
    if sign is None:
        if committed:
            raise InputError("release.sign: null, and the commitment names a signer; set it to the file of that key")
        return manifest
    signed = manifest.signed(load_key(Path(sign)))
    if signed.signer != committed:
        raise InputError(f"release.sign: {sign} is not the key of audit.signer that was committed to; use that one")
    return signed


def _source(checkout: Path, root: Path) -> dict[str, Any]:
    """What of the repository the release came from; nothing of ``dvc.lock`` where it names another output root."""
    lock = "dvc.lock"

    def git(*arguments: str) -> str | None:
        if shutil.which("git") is None:
            return None
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() or None if done.returncode == 0 else None

    named = (checkout / lock).is_file() and root.resolve() == (checkout / "out").resolve()
    return {
        "git": git("rev-parse", "HEAD"),
        "uncommitted": bool(git("status", "--porcelain", "--untracked-files=no") or git("status", "--porcelain", lock)),
        "tag": git("describe", "--tags", "--exact-match"),
        "dvc_lock": digest(checkout / lock) if named else None,
    }
