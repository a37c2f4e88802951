"""Files that come from a stranger: looked at before they are opened, so that none of them reads for ever."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from sscl.errors import InputError


def regular(path: Path, largest: int, expected: str) -> Path:
    """The path, if a regular file of at most ``largest`` bytes is there; a device or a pipe may never end.

    Args:
        expected: what should be there, for the message.

    Raises:
        InputError: missing, unreadable, something else, or larger.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise InputError(f"{path}: {reason}; expected {expected}") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: not a regular file; expected {expected}")
    if found.st_size > largest:
        raise InputError(f"{path}: {found.st_size:,} bytes; {expected} has at most {largest:,}")
    return path


def content_of(path: Path, largest: int, expected: str) -> bytes:
    """The content of such a file.

    Raises:
        InputError: as ``regular``, or it cannot be read.
    """
    try:
        with regular(path, largest, expected).open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected {expected}") from None
    if len(content) > largest:
        raise InputError(f"{path}: it grows while it is read; {expected} has at most {largest:,} bytes")
    return content


def digest_of_file(path: Path, expected: str) -> str:
    """SHA-256 of such a file of any size, hexadecimal.

    Raises:
        InputError: as ``regular``, or it cannot be read.
    """
    try:
        with regular(path, 1 << 62, expected).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected {expected}") from None
