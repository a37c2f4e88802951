"""Rights on what is private: nobody but its owner reads it, nor the copies that DVC keeps."""

from __future__ import annotations

import configparser
from pathlib import Path


def close(path: Path) -> None:
    """Take everybody's rights but the owner's: 0700 for folders, 0600 for files."""
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if not item.is_symlink():
            item.chmod(0o700 if item.is_dir() else 0o600)


def close_new(root: Path) -> None:
    """Make an output root that only its owner can enter: clean images beside released ones tell which are marked.

    A folder in which there are files already stays as it is; hidden ones, such as DVC's, do not count.
    """
    if not any(path.is_file() for path in root.rglob("[!.]*")):
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)


def close_copies(out: Path) -> None:
    """Make the folders in which DVC keeps copies of a private output, and close them: names there tell nothing, but
    content can be read. Nothing is done outside a checkout."""
    dvc = next((folder / ".dvc" for folder in out.absolute().parents if (folder / ".dvc").is_dir()), None)
    for folder in copies(dvc) if dvc else []:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def copies(dvc: Path) -> list[Path]:
    """Folders on this machine where DVC, whose own folder this is, keeps copies of private outputs."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        config.read([dvc / "config", dvc / "config.local"])
    except (configparser.Error, UnicodeDecodeError):
        config.clear()  # DVC itself says what is wrong with it
    remote = config.get("'remote \"private\"'", "url", fallback="://")
    kept = [config.get("cache", "dir", fallback="cache"), "tmp", *([] if "://" in remote else [remote])]
    return [dvc / folder for folder in kept]
