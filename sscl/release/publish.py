"""Publish a packed release: files, then the claim, then the manifest, so that a reader sees all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sscl.errors import InputError, SSCLError
from sscl.package.files import File
from sscl.release.errors import TakenError
from sscl.release.manifest import LARGEST, Manifest, folder_of, manifest_key, read_manifest
from sscl.release.objects import Object, Objects
from sscl.release.reader import published

SETTLE = 3.0  # seconds; more than the clocks of one service's gateways differ, and than a listing's resolution


Upload = Callable[[Objects, str, Sequence[File], Path, int], int]


@dataclass(frozen=True)
class Outcome:
    """What publishing did: the manifest that is there now, and how many files were sent."""

    manifest: Manifest
    sent: int


def upload_here(public: Objects, folder: str, files: Sequence[File], package: Path, parallel: int) -> int:
    """Send what is missing, ``parallel`` files at a time; how many were sent."""

    def send(file: File) -> bool:
        return public.put(f"{folder}/{file.path}", package / file.path, file.sha256)

    with ThreadPoolExecutor(parallel) as pool:
        return sum(pool.map(send, files))


def publish(
    public: Objects,
    private: Objects,
    manifest: Manifest,
    *,
    package: Path,
    sealed: File,
    parallel: int,
    sleep: Callable[[float], None] = time.sleep,
    upload: Upload = upload_here,
    differing: bool = False,
) -> Outcome:
    """Upload what is missing and make the release visible. Run again after any failure: it goes on.

    Args:
        public, private: where the files and the sealed secret go.
        manifest: of this release.
        package: folder of its files.
        sealed: the encrypted secret; ``path`` is a file on this machine, its name says for whom it is.
        parallel: uploads at a time.
        sleep: waits for the claims of others to be listed.
        upload: sends the files, here or on workers.
        differing: whether it may stand beside a version with other images or other marks.

    Raises:
        InputError: a published version has other images or other marks, and ``differing`` is not given; or so many
            files that nobody reads the manifest.
        TakenError: another content is published, or claimed first, under this version.
        SSCLError: the server refuses or cannot be reached; nothing of the release is visible.
    """
    if len(manifest.encoded()) > LARGEST:
        raise InputError(
            f"{manifest.name} {manifest.version}: its manifest of {len(manifest.files):,} files has more than "
            f"{LARGEST >> 20} MiB, which nobody reads; pack larger shards (package.shard_images)"
        )
    there = read_manifest(public, manifest.name, manifest.version)
    if there:
        _same(there, manifest, public)
    else:
        _first(public, manifest)
        if not differing:
            _alike(public, manifest)
    folder = folder_of(manifest.name, manifest.digest)
    secret = f"{folder}/{Path(sealed.path).name}"
    if private.sha256(secret) is None:  # sealed anew in every run; an earlier one for the same keys is as good
        private.put(secret, Path(sealed.path), sealed.sha256)
    if there:
        return Outcome(there, 0)
    sent = upload(public, folder, manifest.content(), package, parallel)
    _claim(public, manifest, sleep)
    if not differing:
        _alike(public, manifest)  # again: another version may have come in the meantime
    if not public.write(manifest_key(manifest.name, manifest.version), manifest.encoded(), new=True):
        found = read_manifest(public, manifest.name, manifest.version)
        if found is None:
            raise SSCLError(f"{public.url}: the manifest was refused and is not there; run again")
        return Outcome(_same(found, manifest, public), sent)
    return Outcome(manifest, sent)


def _alike(public: Objects, manifest: Manifest) -> None:
    """An image that differs between two versions is marked in one of them, and everybody can read both."""
    for other in published(public, manifest.name, _stop):
        if other.dataset != manifest.dataset:
            raise InputError(
                f"{manifest.name} {other.version} has other images or other marks: who compares the two sees which are "
                "marked. Publish the same marked set, or say --differing if that may be seen"
            )


def _stop(reason: str) -> None:
    raise InputError(reason)


def _first(public: Objects, manifest: Manifest) -> None:
    """Whoever would lose the version sends nothing: its files would stay, and tell its marks."""
    prefix = _claims(manifest)
    first = min(public.list(prefix), key=_order, default=None)
    if first and first.key != f"{prefix}{manifest.digest}":
        raise _taken(manifest, first)


def _claims(manifest: Manifest) -> str:
    return f"{manifest.name}/claims/{manifest.version}/"


def _taken(manifest: Manifest, first: Object) -> TakenError:
    return TakenError(
        f"{manifest.name} {manifest.version}: claimed at {first.modified:%Y-%m-%d %H:%M:%S} for other content "
        f"({first.key.rpartition('/')[2][:12]}); publish another version"
    )


def _claim(public: Objects, manifest: Manifest, sleep: Callable[[float], None]) -> None:
    """Take the version, or raise ``TakenError``: the earliest claim wins, by the server's clock.

    ``If-None-Match`` alone is not enough: some servers do not serialise it. A claim is never written twice, so its time
    stands; after waiting longer than clocks differ, every claim that could be earlier is in the listing, and all
    publishers see the same first one.
    """
    prefix = _claims(manifest)
    mine = f"{prefix}{manifest.digest}"
    if public.sha256(mine) is None:
        public.write(mine, manifest.digest.encode(), new=True)
    sleep(SETTLE)
    first = min(public.list(prefix), key=_order, default=None)
    if first is None:
        raise SSCLError(f"{public.url}/{mine}: the claim is not listed; run again")
    if first.key != mine:
        raise _taken(manifest, first)


def _order(claim: Object) -> tuple[float, str]:
    return claim.modified.timestamp(), claim.key


def _same(there: Manifest, manifest: Manifest, public: Objects) -> Manifest:
    if there.digest != manifest.digest:
        raise TakenError(
            f"{public.url}: {manifest.name} {manifest.version} is published with other content "
            f"({there.digest[:12]}, since {there.created}); publish another version"
        )
    return there
