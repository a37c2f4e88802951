"""Run stages in order, those that do not depend on each other at once as far as the task runner allows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from sscl.stages.table import STAGES
from tasks.console import LINES
from tasks.stages import stage_task

# Two trainings at once would share the cores, and the one device of `compute.device`.
ONE_AT_A_TIME: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)


def waves(names: Iterable[str]) -> list[list[str]]:
    """Group stages so that each wave only needs outputs of earlier ones; inputs that no named stage makes are there."""
    waiting = list(names)
    made_by = {path: name for name in waiting for path in STAGES[name].outputs.values()}
    found: list[list[str]] = []
    while waiting:
        ready = [n for n in waiting if not any(made_by.get(path) in waiting for path in STAGES[n].inputs.values())]
        found.append(ready)
        waiting = [n for n in waiting if n not in ready]
    return found


def run_chain(names: Iterable[str], root: Path) -> dict[str, Any]:
    """Submit each wave and wait for it; the manifests by stage. The first failure ends the flow with its message."""
    manifests: dict[str, Any] = {}
    for wave in waves(names):
        futures = {name: stage_task(name, root).submit(name, str(root)) for name in wave}
        for name, future in futures.items():
            manifests[name] = future.result()
            if future.state.name == "Cached":
                LINES.ended(name, "up to date")
    return manifests
