"""Stage ``package``: the released set as the files that strangers get."""

from __future__ import annotations

from pathlib import Path

from sscl.config import PackageConfig
from sscl.package.pack import pack


def run(package: PackageConfig, data: Path, commitment: Path, out: Path) -> None:
    """Write shards, card, metadata and checksums of the dataset in ``data``; only the pixels reveal marked images."""
    pack(data, commitment, package, out)
