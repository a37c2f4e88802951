"""Publishing as a Prefect task; nothing that it shows or returns is secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import Task, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.events import emit_event
from prefect.tasks import exponential_backoff

from sscl.errors import InputError
from sscl.release import gate
from sscl.release.config import load_release
from sscl.release.create import GateError, create
from sscl.release.publish import TakenError
from tasks.results import OUT

FAILED_GATE = "sscl.gate.failed"  # what an automation listens for


def _passes_by_itself(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """A busy server may answer later; bad input, a failed gate and a taken version stay."""
    return not isinstance(state.result(raise_on_failure=False), InputError | GateError | TakenError)


@task(
    name="publish-release",
    tags=["gpu"],
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=30),
    retry_jitter_factor=0.5,
    retry_condition_fn=_passes_by_itself,
)
def publish_release(version: str, root: str) -> dict[str, Any]:
    """Gate, pack, seal, publish; the gate's figures show in the Prefect UI whether they pass or not."""
    folder = Path(root)
    config = load_release(folder / "params.yaml")
    checks = gate.check(folder / OUT, config.limits)
    if failed := [str(c) for c in checks if not c.passed]:
        emit_event(
            FAILED_GATE, {"prefect.resource.id": "sscl.release", "release": config.name}, payload={"figures": failed}
        )
    rows = [{"figure": c.name, "value": c.figure, "limit": c.limit, "passed": str(c.passed)} for c in checks]
    create_table_artifact(rows, key="quality-gate", description=f"{config.name} {version}")
    lines: list[str] = []
    outcome = create(folder / OUT, config, version, lines.append, checkout=folder)
    create_markdown_artifact("\n".join(f"- {line}" for line in lines), key="release", description=version)
    manifest = outcome.manifest
    return {"name": manifest.name, "version": version, "digest": manifest.digest, "sent": outcome.sent}
