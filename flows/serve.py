"""Every deployment in one process: nightly audits, the weekly benchmark, releases on demand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
import yaml
from prefect import serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound

from flows.audits import audits
from flows.benchmark import benchmark
from flows.release import release
from sscl.cli.common import Debug, reporting
from sscl.errors import ConfigError
from tasks.runners import require_answer, require_server

FLOWS: dict[str, Any] = {"audits": audits, "benchmark": benchmark, "release": release}
SCHEDULE = Path("prefect.yaml")


def deployments(path: Path = SCHEDULE) -> list[RunnerDeployment]:
    """What ``prefect.yaml`` says, for one process instead of a work pool.

    Raises:
        ConfigError: a flow that is not one of ours.
    """
    made = []
    for entry in yaml.safe_load(path.read_text())["deployments"]:
        name = entry["entrypoint"].rpartition(":")[2]
        if name not in FLOWS:
            raise ConfigError(f"{path}: deployment {entry['name']}: no flow {name!r}, choose one of {', '.join(FLOWS)}")
        schedules = [CronSchedule(**schedule) for schedule in entry.get("schedules", [])]
        made.append(
            FLOWS[name].to_deployment(
                entry["name"],
                schedules=schedules or None,
                parameters=entry.get("parameters", {}),
                concurrency_limit=ConcurrencyLimitConfig(**entry["concurrency_limit"]),
                description=entry["description"],
                tags=entry.get("tags", []),
            )
        )
    return made


def limit_gpu() -> None:
    """At most one training at a time over all flows, unless a limit is set already."""
    with get_client(sync_client=True) as client:
        try:
            client.read_concurrency_limit_by_tag("gpu")
        except ObjectNotFound:
            client.create_concurrency_limit("gpu", 1)


def main(start: Callable[..., None] = serve) -> None:
    """Serve every deployment of prefect.yaml until stopped.

    Raises:
        ConfigError: no server is named (a temporary one would schedule nothing), or it does not answer.
    """
    require_server("PREFECT_API_URL: not set, and a temporary server schedules nothing")
    require_answer()
    limit_gpu()
    start(*deployments(), limit=1, pause_on_shutdown=False)  # a night that was missed is made up for


def command(debug: Debug = False) -> None:
    """Serve every deployment of prefect.yaml until stopped; PREFECT_API_URL names the server."""
    with reporting(debug):
        main()


if __name__ == "__main__":
    typer.run(command)
