"""What a release's list of files says of each."""

from __future__ import annotations

from dataclasses import dataclass

DATA = "data"  # folder of the shards


@dataclass(frozen=True)
class File:
    """One file of a release: relative path, bytes, SHA-256."""

    path: str
    size: int
    sha256: str
