"""What readers do with releases: list, pull, verify. No secret and no write permission is needed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sscl.artifacts import digest, write_atomically
from sscl.audit.canonical import digest_of
from sscl.errors import InputError, SSCLError, printable
from sscl.foreign import content_of
from sscl.layout import COMMITMENT
from sscl.package.files import COMMITMENTS, File
from sscl.release.manifest import (
    VERSION,
    Manifest,
    ManifestError,
    content_digest,
    folder_of,
    manifest_of,
    read_manifest,
)
from sscl.release.objects import LARGEST, Objects, TamperedError

BESIDE = f"{COMMITMENTS}/{COMMITMENT}"  # the commitment, beside the data
MANIFEST = "release.json"  # the manifest, beside the files that were pulled


def published(
    objects: Objects, name: str | None = None, refused: Callable[[str], None] = lambda reason: None
) -> Iterator[Manifest]:
    """Every visible release, oldest first; of one dataset if ``name`` is given.

    A manifest that is not one, or that contradicts itself, hides no other: ``refused`` is told why.
    """
    found = [item for item in objects.list(f"{name}/versions/" if name else "") if "/versions/" in item.key]
    for item in sorted(found, key=lambda item: (item.modified, item.key)):
        dataset, _, file = item.key.rpartition("/versions/")
        version = file.removesuffix(".json")
        if version == file or not VERSION.fullmatch(version):
            continue  # a folder's marker, or somebody else's file
        try:
            manifest = read_manifest(objects, dataset, version)
        except (ManifestError, TamperedError) as error:
            refused(str(error))
            continue
        if manifest:
            yield manifest


def get(objects: Objects, name: str, version: str, signer: str | None = None) -> Manifest:
    """The manifest.

    Args:
        signer: the owner's key, hexadecimal, that must have signed it; ``None`` if any will do.

    Raises:
        InputError: that release is not visible, or is signed by another key or by none.
    """
    manifest = read_manifest(objects, name, version)
    if manifest is None:
        known = ", ".join(m.version for m in published(objects, name)) or "none"
        raise InputError(f"{objects.url}: no release {name} {version}; published versions: {known}")
    pin(manifest, signer, f"{objects.url}/{name} {version}")
    return manifest


def pin(manifest: Manifest, signer: str | None, place: str) -> None:
    """Raises ``InputError`` if another key, or none, signed the manifest."""
    if signer is not None and manifest.signer != signer.lower():
        raise InputError(
            f"{place}: signed by {manifest.signer or 'nobody'}, expected {printable(signer)}; do not use it"
        )


def pull(objects: Objects, manifest: Manifest, out: Path, parallel: int) -> int:
    """Download what is missing to ``out``; how many files came. Run again after any failure: it goes on.

    Raises:
        TamperedError: a file is not the manifest's; it is not kept.
        InputError: ``out`` holds something else, or another pull is at work there.
    """
    ours = f".{MANIFEST}.tmp-"
    others = [path for path in out.iterdir() if not path.name.startswith(ours)] if out.is_dir() else []
    if others and _noted(out).get("digest") != manifest.digest:
        raise InputError(f"{out}: not empty and not this release; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SSCLError(f"{out}: {error.strerror}; choose another folder") from None
    with _alone(out):
        return _pull(objects, manifest, out, parallel)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One pull at a time in a folder: two would write into the same unfinished files."""
    folder = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out}: another pull is at work there; wait for it, or choose another folder") from None
        yield
    finally:
        os.close(folder)


def _pull(objects: Objects, manifest: Manifest, out: Path, parallel: int) -> int:
    for file in manifest.content():
        if link := next((folder for folder in _above(out, file) if folder.is_symlink()), None):
            raise InputError(f"{link}: a link, and what is pulled stays in {out}; remove it, or choose another folder")
    write_atomically(out / MANIFEST, manifest.encoded())
    needed = sum(file.size for file in manifest.content() if not _is_there(out / file.path, file))
    free = shutil.disk_usage(out).free
    if free < needed:
        raise SSCLError(f"{out}: {free / 1e6:.1f} MB free, {needed / 1e6:.1f} MB are missing; free some space")
    folder = folder_of(manifest.name, manifest.digest)

    def fetch(file: File) -> bool:
        path = out / file.path
        if path.is_file() and digest(path) == file.sha256:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        objects.download(f"{folder}/{file.path}", path, file.sha256, file.size)
        return True

    with ThreadPoolExecutor(parallel) as pool:
        count = sum(pool.map(fetch, manifest.content()))
    if wrong := _another_commitment(out, manifest):
        raise TamperedError(f"{out}: {wrong[0]}")
    return count


def _above(out: Path, file: File) -> list[Path]:
    """The folders between ``out`` and the file."""
    return [out / part for part in Path(file.path).parents if part != Path()]


def _is_there(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def verify(objects: Objects, manifest: Manifest, parallel: int) -> list[str]:
    """Read every file in the bucket; what is wrong, one line each."""
    folder = folder_of(manifest.name, manifest.digest)

    def wrong(file: File) -> str | None:
        try:
            objects.check(f"{folder}/{file.path}", file.sha256, file.size)
        except TamperedError:
            return f"{file.path}: its SHA-256 is not the manifest's"
        except SSCLError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(parallel) as pool:
        found = [line for line in pool.map(wrong, manifest.content()) if line]
    if not found and any(file.path == BESIDE for file in manifest.content()):
        found = _misnamed(objects.read(f"{folder}/{BESIDE}") or b"", manifest)
    return found


def check_folder(folder: Path, signer: str | None = None, named: tuple[str, str] | None = None) -> list[str]:
    """Hold a pulled folder against its manifest, offline; what is wrong, one line each.

    Args:
        folder: with the manifest and its files.
        signer: the owner's Ed25519 key, hexadecimal; ``None`` for any.
        named: dataset and version that the folder should be; ``None`` for any.

    Raises:
        InputError: nothing was pulled there, or another key than ``signer`` signed it.
    """
    try:
        manifest = manifest_of(content_of(folder / MANIFEST, LARGEST, "a release's manifest"))
        files = {file.path: file for file in manifest.content()}
        _ = manifest.signer  # raises if the signature is another
        pin(manifest, signer, str(folder))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise InputError(f"{folder / MANIFEST}: not a manifest; `sscl release pull` writes it") from None
    found = []
    if named and named != (manifest.name, manifest.version):
        found.append(f"{MANIFEST}: of {printable(f'{manifest.name} {manifest.version}')}, not of {' '.join(named)}")
    if content_digest(list(files.values())) != manifest.digest:
        found.append(f"{MANIFEST}: its digest is not that of its files")
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    } - {MANIFEST}
    found += [f"{printable(path)}: not a file of the release" for path in sorted(there - set(files))]
    for file in files.values():
        path = folder / file.path
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            found.append(f"{printable(file.path)}: missing")
        elif digest(path) != file.sha256:
            found.append(f"{printable(file.path)}: its SHA-256 is not the manifest's")
    return found or _another_commitment(folder, manifest)


def _another_commitment(folder: Path, manifest: Manifest) -> list[str]:
    path = folder / BESIDE
    return _misnamed(content_of(path, LARGEST, "a commitment"), manifest) if path.is_file() else []


def _misnamed(commitment: bytes, manifest: Manifest) -> list[str]:
    """A commitment beside the data that is not the one that the manifest names: readers would date different ones."""
    try:
        if digest_of(json.loads(commitment)) == manifest.commitment:
            return []
    except (ValueError, RecursionError):
        pass
    return [f"{BESIDE}: not the commitment that the manifest names; tell the owner"]


def _noted(folder: Path) -> dict[str, Any]:
    """The manifest beside pulled files; empty if there is none."""
    try:
        found = json.loads(content_of(folder / MANIFEST, LARGEST, "a manifest"))
    except (InputError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
