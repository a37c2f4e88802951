"""Publishing as a Prefect task; nothing that it shows or returns is secret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from sscl.layout import Root
from sscl.release.config import ReleaseConfig, load_release
from tasks.results import OUT
from tasks.retries import PATIENT

if TYPE_CHECKING:
    from sscl.release.gate import Check

FAILED_GATE = "sscl.gate.failed"  # what an automation listens for


def release_section(folder: Path, overrides: Iterable[str] = (), profile: str | None = None) -> ReleaseConfig:
    """The section of the checkout's ``params.yaml``; the signing key's path is relative to the checkout."""
    config = load_release(folder / "params.yaml", overrides, profile)
    return replace(config, sign=config.sign and str(folder / config.sign))


def show_gate(checks: list[Check], version: str) -> None:
    """The gate's figures in the UI, and an event for automations if it fails."""
    rows = [{"figure": c.name, "value": c.figure, "limit": c.limit, "passed": str(c.passed)} for c in checks]
    create_table_artifact(rows, key="quality-gate", description=version)
    if failed := [str(c) for c in checks if not c.passed]:
        resource = {"prefect.resource.id": "sscl.release", "version": version}
        emit_event(FAILED_GATE, resource, payload={"figures": failed})


@task(
    name="publish-release",
    tags=["gpu"],
    **PATIENT,
)
def publish_release(version: str, root: str, differing: bool = False) -> dict[str, Any]:
    """Gate, pack, seal, publish; the gate's figures show in the Prefect UI whether they pass or not."""
    from sscl.release.create import create

    folder = Path(root)
    config = release_section(folder)
    lines: list[str] = []
    outcome = create(
        Root(folder / OUT),
        config,
        version,
        announce=lines.append,
        show=lambda checks: show_gate(checks, version),
        checkout=folder,
        differing=differing,
    )
    create_markdown_artifact("\n".join(f"- {line}" for line in lines), key="release", description=version)
    manifest = outcome.manifest
    return {"name": manifest.name, "version": version, "digest": manifest.digest, "sent": outcome.sent}
