"""A cell of the comparison as a Prefect task; pieces and rows are kept in the benchmark's folder, never in Prefect."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner
from prefect.tasks import exponential_backoff

from sscl.benchmark import results, tables
from sscl.benchmark.plan import Cell
from sscl.benchmark.run import Bench
from sscl.errors import ConfigError

RUNNERS = {  # parameter -> module and class, and how it is told the number of workers
    "thread": ("prefect.task_runners", "ThreadPoolTaskRunner", lambda n: {"max_workers": n}),
    "dask": (
        "prefect_dask",
        "DaskTaskRunner",
        lambda n: {"cluster_kwargs": {"n_workers": n, "threads_per_worker": 1, "dashboard_address": None}},
    ),
    "ray": ("prefect_ray", "RayTaskRunner", lambda n: {"init_kwargs": {"num_cpus": n, "include_dashboard": False}}),
}


def runner(name: str, workers: int) -> TaskRunner[Any]:
    """A task runner by its parameter.

    Raises:
        ConfigError: an unknown name, its extra is not installed, or its workers would have no server to report to.
    """
    if name not in RUNNERS:
        raise ConfigError(f"runner: {name!r} does not exist, choose one of {', '.join(RUNNERS)}")
    if name != "thread" and PREFECT_API_URL.value() is None:
        raise ConfigError(
            f"runner: {name} needs a Prefect server that its workers reach; `prefect server start`, then "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    module, kind, arguments = RUNNERS[name]
    try:
        found: TaskRunner[Any] = getattr(importlib.import_module(module), kind)(**arguments(workers))
    except ImportError:
        raise ConfigError(f"runner: {name} is not installed; pip install -c constraints.txt -e '.[{name}]'") from None
    return found


@task(
    name="benchmark-cell",
    tags=["gpu"],
    task_run_name="{label}",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_jitter_factor=0.5,
)
def measure(label: str, cell: dict[str, Any], out: str, params: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The cell's row; computed once, whoever asks."""
    wanted = Cell(**{**cell, "overrides": tuple(cell["overrides"])})
    return Bench(Path(out), Path(params), tuple(overrides)).row(wanted)


def publish(rows: list[dict[str, Any]], out: Path) -> None:
    """Files in ``out``, and the tables in the Prefect UI."""
    create_markdown_artifact(tables.markdown(results.save(rows, out)), key="benchmark", description=str(out))
