"""Artifacts on disk: written whole or not at all, named by the digest of their content, reused by key."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from sscl.errors import InputError, SSCLError
from sscl.permissions import close, close_copies

if TYPE_CHECKING:
    from torch import Tensor  # imported where it is used: commands that only move files start faster without

PRIVATE = "private"  # the folder under an output root that nobody else may read


def write_atomically(path: Path, content: bytes, rights: int = 0o666) -> None:
    """Replace ``path`` by ``content`` so that a reader or a crash sees the old or the new file, never a part.

    The file gets ``rights`` less what the process's umask takes.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, rights)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Sorted, indented JSON, written atomically."""
    write_atomically(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises ``InputError`` if the file is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; run the stage that makes it first (`sscl stage --help` has the order)"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path}: not valid JSON; delete it and run its stage again") from None


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """A safetensors file with JSON metadata under the key ``sscl``; the same content gives the same bytes."""
    import safetensors.torch

    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    content = safetensors.torch.save(plain, metadata={"sscl": json.dumps(dict(metadata), sort_keys=True)})
    write_atomically(path, content)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of ``save_tensors``.

    Raises:
        InputError: missing, not safetensors, not ours, or with NaN or infinite values.
    """
    import torch

    shapes, metadata = read_header(path)
    with _reading(path) as file:
        tensors = {key: file.get_tensor(key) for key in shapes}
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(f"{path}: {key} has NaN or infinite values; train it again or restore a good copy")
    return tensors, metadata


def read_header(path: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Shapes and metadata of ``save_tensors``; the tensors are not read.

    Raises:
        InputError: missing, not safetensors, or not ours.
    """
    with _reading(path) as file:
        metadata = json.loads((file.metadata() or {}).get("sscl", "null"))
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - not a dict
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: safetensors without sscl's metadata; expected a file that sscl wrote")
    return shapes, metadata


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage that makes it first") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); make it again") from None


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a directory's sorted relative names and file digests."""
    total = hashlib.sha256()
    if path.is_file():
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                total.update(chunk)
        return total.hexdigest()
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; run the stage that makes it first")
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file_path.relative_to(path).as_posix()}\0{digest(file_path)}\n".encode())
    return total.hexdigest()


def key_of(**parts: Any) -> str:
    """SHA-256 of the parts as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def disk_error(path: Path, error: OSError) -> SSCLError:
    """An ``OSError`` as one line for a person."""
    reasons = {
        errno.ENOSPC: "the disk is full; free some space, nothing that was there is lost",
        errno.EROFS: "the file system is read-only; choose another --out",
        errno.EACCES: "no permission to write there; choose another --out",
        errno.EPERM: "no permission to write there; choose another --out",
        errno.ENOTDIR: "a part of the path is a file, not a folder; choose another --out",
        errno.EEXIST: "a file is in the way; choose another --out",
    }
    return SSCLError(f"{path}: {reasons.get(error.errno or 0, error.strerror or str(error))}")


@dataclass(frozen=True)
class Slot:
    """The outputs of one stage.

    Attributes:
        stage: its name.
        outs: paths of the outputs.
        key: what they are made from.
        state: folder of manifests, locks and checkpoints.
        irrevocable: whether outputs that are made now stay as they are, whatever a builder would make later.
    """

    stage: str
    outs: tuple[Path, ...]
    key: str
    state: Path
    irrevocable: bool = False

    @property
    def checkpoints(self) -> Path:
        """Folder for this key's resumable state."""
        return self.state / "checkpoints" / f"{self.stage}-{self.key[:16]}"

    @property
    def note(self) -> Path:
        """The file of the manifest."""
        return self.state / "stages" / f"{self.stage}.json"

    def manifest(self) -> dict[str, Any] | None:
        """What was noted when the outputs were made: key, digests, seconds; ``None`` if nothing is known."""
        return read_note(self.note)

    def clear(self) -> None:
        """Remove what is left of a note by a builder that was killed while it wrote it."""
        for leftover in self.note.parent.glob(f".{self.note.name}.tmp-*"):
            leftover.unlink(missing_ok=True)

    def is_private(self, path: Path) -> bool:
        """Whether nobody else may read the path, which is under the output root."""
        return PRIVATE in path.relative_to(self.state.parent).parts

    def is_done(self) -> bool:
        """Whether the outputs are there, made by this very key, and unchanged since."""
        manifest = self.manifest()
        if manifest is None or manifest.get("key") != self.key or not all(p.exists() for p in self.outs):
            return False
        return bool(manifest["digests"] == [digest(p) for p in self.outs])

    def check_free(self, overwrite: bool, vouched: bool) -> None:
        """Raise ``InputError`` if something is in the way that may not be replaced; what is not ours never may."""
        taken, manifest = next((p for p in self.outs if p.exists()), None), self.manifest()
        if taken and (manifest or {}).get("irrevocable", self.irrevocable):
            raise InputError(
                f"{taken}: not what {self.stage} would make now (it was changed, or settings, data or code were), and "
                "a new one would void what rests on it; restore it, or move the folder away to start afresh"
            )
        if taken is None or vouched:
            return
        if manifest is None and self.note.exists():
            raise InputError(f"{self.note}: damaged; delete it and what it is about ({taken}), and run the stage again")
        if manifest is None:
            raise InputError(f"{taken}: already there and not made by sscl; choose another --out or move it away")
        if manifest.get("key") != self.key and not overwrite:
            raise InputError(
                f"{taken}: made by another config or code; choose another --out, or replace it with --overwrite"
            )


def read_note(path: Path) -> dict[str, Any] | None:
    """What a stage noted about its outputs; ``None`` if the file is missing or damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"stage", "key", "digests", "seconds"} <= set(found) else None


@contextmanager
def building(slot: Slot, overwrite: bool = False, vouched: bool = False) -> Iterator[tuple[Path, ...] | None]:
    """Yields temporary siblings to write into, which replace ``slot.outs`` at the end; ``None`` if all is there.

    One builder at a time (a file lock, released by the kernel even on SIGKILL). An exception or a kill leaves what was
    there before, but for a kill between the last renames, after which outputs are built again. Leftovers of a killed
    builder are removed by the next.

    Raises:
        InputError: the outputs were made by another config and ``overwrite`` is not given, by somebody else, or are
            irrevocable and were changed.
        SSCLError: the place cannot be written to.
    """
    try:
        for folder in {p.parent for p in slot.outs} | {slot.state / "stages", slot.state / "locks"}:
            folder.mkdir(parents=True, exist_ok=True)
            if folder.parent == slot.state:
                slot.state.chmod(0o700)  # checkpoints of secret generators, an API's replies
            for inside in (folder, *folder.parents):
                if not slot.is_private(inside):
                    break
                inside.chmod(0o700)
        lock = open(slot.state / "locks" / f"{slot.stage}.lock", "w")  # noqa: SIM115 - closed below, by `with lock`
    except OSError as error:
        raise disk_error(Path(error.filename or slot.outs[0]), error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        slot.clear()
        if slot.is_done():
            yield None
            return
        slot.check_free(overwrite, vouched)
        yield from _build(slot)


def _build(slot: Slot) -> Iterator[tuple[Path, ...]]:
    started = time.monotonic()
    temporaries = tuple(p.with_name(f".{p.name}.tmp-{os.getpid()}") for p in slot.outs)
    for out in slot.outs:
        for leftover in out.parent.glob(f".{out.name}.tmp-*"):
            _remove(leftover)
    try:
        yield temporaries
        for temporary, out in zip(temporaries, slot.outs, strict=True):
            if slot.is_private(out):
                close(temporary)
                close_copies(out)
            _sync(temporary)
        manifest = {
            "stage": slot.stage,
            "key": slot.key,
            "digests": [digest(p) for p in temporaries],
            "seconds": round(time.monotonic() - started, 2),
            "irrevocable": slot.irrevocable,
        }
        # The manifest comes before the renames: with it, missing outputs mean "build again", never "not ours".
        write_json(slot.note, manifest)
        _swap(temporaries, slot.outs)
    except OSError as error:
        raise disk_error(Path(error.filename or slot.outs[0]), error) from error
    finally:
        for temporary in temporaries:
            _remove(temporary)


def _swap(temporaries: tuple[Path, ...], outs: tuple[Path, ...]) -> None:
    """Put new outputs in the place of old ones by renames; if one fails, the old ones are back. Then remove these."""
    aside = [temporary.with_name(f"{temporary.name}-old") for temporary in temporaries]
    try:
        for temporary, out, old in zip(temporaries, outs, aside, strict=True):
            if out.exists() or out.is_symlink():
                os.replace(out, old)
            os.replace(temporary, out)
    except BaseException:
        for out, old in zip(outs, aside, strict=True):
            if old.exists() or old.is_symlink():
                _remove(out)
                os.replace(old, out)
        raise
    for old in aside:
        _remove(old)


def _sync(path: Path) -> None:
    for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if item.is_file():
            with open(item, "rb") as file:
                os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
