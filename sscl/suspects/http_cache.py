"""Answers that were paid for, kept on disk: append-only, so that a broken-off audit repeats no query. For threads."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sscl.artifacts import disk_error
from sscl.permissions import close


class ResponseCache:
    """JSON lines ``{"image": sha256, "status": int, "body": text, "at": time}``, each fsynced; cut lines are skipped.

    Requests without an answer leave a line too, because they may have been paid for.

    Args:
        path: the file; ``None`` keeps answers in memory only.

    Attributes:
        requests: how many were sent, in all runs.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.requests = 0
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        close(path.parent)  # replies show the marks' effects
        content = path.read_bytes() if path.is_file() else b""
        for line in content.splitlines():
            self.requests += 1
            try:
                row = json.loads(line)
                self._known[row["image"]] = row
            except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
                continue
        if content and not content.endswith(b"\n"):
            self._write(b"\n")

    def get(self, image: str) -> dict[str, Any] | None:
        """The kept answer to the image with this SHA-256."""
        return self._known.get(image)

    @staticmethod
    def row(image: str, status: int, body: str) -> dict[str, Any]:
        """A reply of now, not kept."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return {"image": image, "status": status, "body": body, "at": at}

    def put(self, image: str, status: int, body: str) -> dict[str, Any]:
        """Keep an answer; it is on disk when this returns."""
        row = self.row(image, status, body)
        self._append(json.dumps(row).encode() + b"\n")
        self._known[image] = row
        return row

    def lost(self) -> None:
        """Note a request that no answer came of."""
        self._append(b'{"unanswered": true}\n')

    def _append(self, line: bytes) -> None:
        with self._lock:
            self.requests += 1
            self._write(line)

    def _write(self, content: bytes) -> None:
        if self._path is None:
            return
        try:
            with open(self._path, "ab", opener=partial(os.open, mode=0o600)) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_error(self._path, error) from error
