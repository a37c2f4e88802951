"""Run stages in order, one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.console import LINES
from tasks.stages import stage_task


def run_chain(names: Iterable[str], root: Path) -> dict[str, Any]:
    """Run each stage, in an order in which inputs come first; the manifests by stage.

    The first failure ends the flow with its message.
    """
    manifests: dict[str, Any] = {}
    for name in names:
        future = stage_task(name, root).submit(name, str(root))
        manifests[name] = future.result()
        if future.state.name == "Cached":
            LINES.ended(name, "up to date")
    return manifests
