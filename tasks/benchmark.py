"""A cell of the comparison as a Prefect task; pieces and rows are kept in the benchmark's folder, never in Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.tasks import exponential_backoff

from tasks.retries import busy_or_io


@task(
    name="benchmark-cell",
    tags=["gpu"],
    task_run_name="{label}",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_jitter_factor=0.5,
    retry_condition_fn=busy_or_io,
)
def measure(label: str, cell: dict[str, Any], out: str, params: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The cell's row; computed once, whoever asks."""
    from sscl.benchmark.plan import Cell
    from sscl.benchmark.run import Bench

    wanted = Cell(**{**cell, "overrides": tuple(cell["overrides"])})
    return Bench(Path(out), Path(params), tuple(overrides)).row(wanted)


def publish(rows: list[dict[str, Any]], out: Path) -> None:
    """Files in ``out``, and the tables in the Prefect UI."""
    from sscl.benchmark import results, tables

    create_markdown_artifact(tables.markdown(results.save(rows, out)), key="benchmark", description=str(out))
