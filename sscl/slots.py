"""A stage's outputs: built by one process at a time, put in place whole or not at all, and reused by key."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sscl.artifacts import DISK_ERRORS, PRIVATE, digest, disk_error, write_json
from sscl.errors import InputError
from sscl.permissions import close, close_copies, close_new


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

    def all_checkpoints(self) -> list[Path]:
        """The folders of all keys: what runs that were broken off left, with other settings or code."""
        return list((self.state / "checkpoints").glob(f"{self.stage}-{'[0-9a-f]' * 16}"))

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
    there before. The next builder finishes the renames of one that was killed between them, or builds again, and
    removes leftovers. A new output root is closed to other users.

    Raises:
        InputError: the outputs were made by another config and ``overwrite`` is not given, by somebody else, or are
            irrevocable and were changed.
        SSCLError: the place cannot be written to.
    """
    try:
        close_new(slot.state.parent)
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
        if slot.is_done() or _finish(slot):
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
        if error.filename is None and error.errno not in DISK_ERRORS:  # of the network, say
            raise
        raise disk_error(Path(error.filename or slot.outs[0]), error) from error
    finally:
        for temporary in temporaries:
            _remove(temporary)


def _swap(temporaries: tuple[Path, ...], outs: tuple[Path, ...]) -> None:
    """Put new outputs in the place of old ones by renames; if one fails, all is as before. Then remove the old ones."""
    aside = [temporary.with_name(f"{temporary.name}-old") for temporary in temporaries]
    try:
        for temporary, out, old in zip(temporaries, outs, aside, strict=True):
            if out.exists() or out.is_symlink():
                os.replace(out, old)
            os.replace(temporary, out)
    except BaseException:
        for temporary, out, old in zip(temporaries, outs, aside, strict=True):
            if old.exists() or old.is_symlink():
                _remove(out)
                os.replace(old, out)
            elif not temporary.exists():
                _remove(out)
        raise
    for old in aside:
        _remove(old)


def _finish(slot: Slot) -> bool:
    """Whether the renames of a builder that was killed between them could be completed: what binds is not torn."""
    noted = slot.manifest()
    if noted is None or noted["key"] != slot.key:
        return False
    moves = []
    for out, wanted in zip(slot.outs, noted["digests"], strict=False):
        if not (out.exists() and digest(out) == wanted):
            left = next((left for left in out.parent.glob(f".{out.name}.tmp-*") if digest(left) == wanted), None)
            if left is None:
                return False
            moves.append((left, out))
    if len(moves) == len(slot.outs):  # none was moved, so all are as before, and are built again
        return False
    for left, out in moves:
        _remove(out)
        os.replace(left, out)
    return True


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
