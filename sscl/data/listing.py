"""Which files a source reads on this machine, so that a change of them is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sscl.config import DataConfig


def known_folder(name: str) -> Path:
    """Where a published dataset lies: ``$SSCL_DATA/<name>``; without the variable ``data/<name>``."""
    return Path(os.environ.get("SSCL_DATA") or "data") / name


def listing(config: DataConfig, base: Path = Path()) -> list[tuple[str, int, int]]:
    """Relative path, bytes and time of change (ns) of every file of a dataset on disk, sorted.

    Empty for one that is fetched, whose content is checked.

    Args:
        config: source and path.
        base: what a relative path starts from.
    """
    name = config.source.replace("_", "-")
    folder = base / Path(config.path).expanduser() if config.path else base / known_folder(name)
    found = []
    for path in files_under(folder):
        if path.is_file():
            stat = path.stat()
            found.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def files_under(
    folder: Path,
    skipped: Callable[[str], bool] = lambda name: False,
    unreadable: Callable[[OSError], None] | None = None,
) -> Iterator[Path]:
    """The files in a folder and in those in it, also linked ones, each real folder once.

    Args:
        folder: where to begin.
        skipped: says of a file's or folder's name whether it is left out.
        unreadable: told of a folder that cannot be read; ``None`` to pass it over.
    """
    seen = set()
    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not skipped(name)]
        yield from (Path(place, name) for name in files if not skipped(name))
