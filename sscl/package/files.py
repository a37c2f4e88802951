"""What a release's list of files says of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

SHA256 = re.compile(r"[0-9a-f]{64}")
DATA, COMMITMENTS = "data", "commitment"  # folders of the shards, and of the commitment with its time stamp


@dataclass(frozen=True)
class File:
    """One file of a release: relative path, bytes, SHA-256."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what a stranger's manifest may say instead."""
        right = isinstance(self.path, str) and type(self.size) is int and self.size >= 0
        if not right or not isinstance(self.sha256, str) or not SHA256.fullmatch(self.sha256):
            raise ValueError("a file is a path, a number of bytes and a SHA-256")
