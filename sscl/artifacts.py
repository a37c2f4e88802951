"""Files on disk: written whole or not at all, named by the digest of their content; keys of what they come from."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from sscl.errors import InputError, SSCLError

if TYPE_CHECKING:
    from torch import Tensor  # imported where it is used: commands that only move files start faster without

SHA256 = re.compile(r"[0-9a-f]{64}")
PRIVATE = "private"  # the folder under an output root that nobody else may read
DISK_ERRORS = {  # and what they mean to a person
    errno.ENOSPC: "the disk is full; free some space, nothing that was there is lost",
    errno.EDQUOT: "your quota on this disk is used up; free some space, nothing that was there is lost",
    errno.EIO: "the disk failed to read or write",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.EACCES: "no permission to write there; choose another --out",
    errno.EPERM: "no permission to write there; choose another --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another --out",
    errno.EEXIST: "a file is in the way; choose another --out",
}


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
    metadata = read_header(path)[1]
    return load_weights(path), metadata


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of any safetensors file, whoever wrote it.

    Raises:
        InputError: missing, not safetensors, or with NaN or infinite values.
    """
    import torch

    with _reading(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(f"{path}: {key} has NaN or infinite values; train it again or restore a good copy")
    return tensors


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
    except (SafetensorError, OSError, json.JSONDecodeError, RecursionError) as error:
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
    return SSCLError(f"{path}: {DISK_ERRORS.get(error.errno or 0, error.strerror or str(error))}")
