"""Where a result came from: the code that a stage runs, the versions, the machine."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import threading
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
_parsing = threading.Lock()  # Python 3.11 keeps one depth for all threads that build trees: SystemError without it
REPORTED = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "lpips",
    "safetensors",
    "pillow",
    "pyarrow",
    "prefect",
    "dvc",
)


@cache
def modules_of(module: str) -> frozenset[Path]:
    """Files of ``sscl`` that ``module`` imports, directly or not, itself included. Read from the source, not run.

    A registry's package counts with all of its modules, because it finds its members by listing them. The templates of
    pages that lie beside a module count with it.
    """
    seen: set[Path] = set()
    waiting = list(_files(module))
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting += _needs(path) if path.suffix == ".py" else ()
    return frozenset(seen)


@cache
def code_digest(module: str) -> str:
    """SHA-256 over the files of ``modules_of``: another code is another key."""
    total = hashlib.sha256()
    for path in sorted(modules_of(module)):
        total.update(f"{path.relative_to(PACKAGE)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, and Python's."""
    found = {"python": platform.python_version(), "sscl": _version("sscl-bw")}
    return found | {name: _version(name) for name in REPORTED}


def machine() -> dict[str, str | int]:
    """The machine; timings are meaningless without it."""
    import torch

    from sscl.compute import native_bf16

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "device": device,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "native_bf16": native_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "system": platform.system(),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@cache
def _files(name: str) -> tuple[Path, ...]:
    """The file of a module of ours (or of the one that holds the name) and those of the packages above it."""
    parts = name.split(".")
    if parts[0] != "sscl":
        return ()
    stems = [PACKAGE.joinpath(*parts[1:end]) for end in range(2, len(parts) + 1)]
    candidates = [c for stem in stems for c in (stem.with_suffix(".py"), stem / "__init__.py")]
    found = [c for c in candidates if c.is_file()]
    return (*found, *(page for path in found for page in sorted(path.parent.glob("*.html"))))


@cache
def _needs(path: Path) -> frozenset[Path]:
    """Files of ours that a file imports, and those that a registry in it finds by listing its package."""
    with _parsing:
        tree = ast.parse(path.read_text())
    names: set[str] = set()
    found: set[Path] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Registry" and len(node.args) == 2:
            package = ast.literal_eval(node.args[1])
            found.update(PACKAGE.joinpath(*package.split(".")[1:]).glob("*.py"))
    return frozenset(found.union(*(_files(name) for name in names)))
