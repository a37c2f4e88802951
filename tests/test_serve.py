"""Schedules: what prefect.yaml says is what is served, and a real server makes scheduled runs of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows.serve import FLOWS, deployments
from sscl.errors import ConfigError, InputError
from tasks.audit import read_suspects
from tests.conftest import ROOT, environment

ENTRIES: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def test_every_deployment_is_served_as_written() -> None:
    made = {deployment.name: deployment for deployment in deployments(ROOT / "prefect.yaml")}
    assert list(made) == [entry["name"] for entry in ENTRIES]
    for entry in ENTRIES:
        served = made[entry["name"]]
        crons = [{"cron": s.schedule.cron, "timezone": s.schedule.timezone} for s in served.schedules or []]
        assert crons == entry.get("schedules", [])
        assert served.parameters == entry["parameters"]
        assert served.concurrency_limit == entry["concurrency_limit"]["limit"] == 1
        assert served.concurrency_options.collision_strategy == entry["concurrency_limit"]["collision_strategy"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_parameters_are_the_flows(entry: dict[str, Any]) -> None:
    flow = FLOWS[entry["entrypoint"].rpartition(":")[2]]
    assert (ROOT / entry["entrypoint"].rpartition(":")[0]).is_file()
    needed = {"version": "1.0.0"} if entry["name"] == "release" else {}
    flow.validate_parameters(entry["parameters"] | needed)


def test_an_unknown_flow_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("deployments: [{name: x, entrypoint: 'flows/x.py:x'}]")
    with pytest.raises(ConfigError, match="deployment x: no flow 'x', choose one of audits, benchmark, release"):
        deployments(tmp_path / "p.yaml")


@pytest.mark.parametrize("text", ["", "a: 1", "- b", "- {oracle: x}", "- {suspect: x, token: y}", "["])
def test_what_is_not_a_list_of_suspects(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match="expected a list such as"):
        read_suspects(tmp_path / "s.yaml")


def test_a_list_of_suspects(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("- suspect: m.onnx\n- {suspect: 'http://host/x', oracle: api.yaml}\n")
    assert read_suspects(tmp_path / "s.yaml") == [
        {"suspect": "m.onnx"},
        {"suspect": "http://host/x", "oracle": "api.yaml"},
    ]


@pytest.mark.slow
def test_a_real_server_schedules_them(tmp_path: Path) -> None:
    """`sscl serve` against `prefect server start`: SCHEDULED runs of both crons appear; newer packages lose them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    extra = {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    extra |= {"PREFECT_API_URL": url, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    command = ["prefect", "server", "start", "--port", str(port)]
    with subprocess.Popen(command, env=environment(**extra), **quiet) as server:
        try:
            wait(lambda: httpx.get(f"{url}/health").status_code == 200)
            with subprocess.Popen(["sscl", "serve"], env=environment(**extra), **quiet) as serving:
                try:
                    wait(lambda: {"nightly-audit", "weekly-benchmark"} <= scheduled(url))
                finally:
                    serving.terminate()
        finally:
            server.terminate()


def scheduled(url: str) -> set[str]:
    """Deployments that have scheduled runs."""
    known = {row["id"]: row["name"] for row in httpx.post(f"{url}/deployments/filter", json={}).json()}
    wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = httpx.post(f"{url}/flow_runs/filter", json=wanted).json()
    return {known.get(run["deployment_id"], "") for run in runs}


def wait(until: Any) -> None:
    """Up to three minutes."""
    for _ in range(180):
        try:
            if until():
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    pytest.fail("it did not happen in three minutes")
