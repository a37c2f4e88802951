"""Schedules: what prefect.yaml says is what is served, and a real server makes scheduled runs of it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import typer
import yaml
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.events.schemas.automations import AutomationCore
from prefect.futures import wait as wait_for
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS,
    temporary_settings,
)
from prefect.states import Failed
from prefect.task_engine import TaskRunTimeoutError

from flows.command import running
from flows.serve import FLOWS, deployments, limit_gpu, main
from sscl.errors import BudgetError, ConfigError, InputError, SSCLError
from sscl.release.errors import GateError, TakenError
from tasks.audit import announce_verdict, read_suspects, run_audit
from tasks.benchmark import measure
from tasks.release import publish_release
from tasks.retries import PATIENT, busy_or_io
from tests.conftest import ROOT, end_services, free_port

ENTRIES: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
AUTOMATIONS: list[dict[str, Any]] = yaml.safe_load((ROOT / "automations.yaml").read_text())["automations"]


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


@pytest.mark.slow
def test_what_is_served_loads_no_torch() -> None:
    """Every scheduled run starts a process; what needs seconds to load is loaded by the task that needs it."""
    code = (
        "import flows.evaluate, flows.encoder, flows.serve, sys; print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_flow_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("deployments: [{name: x, entrypoint: 'flows/x.py:x'}]")
    with pytest.raises(ConfigError, match="deployment x: no flow 'x', choose one of audits, benchmark, release"):
        deployments(tmp_path / "p.yaml")


@pytest.mark.parametrize("text", ["", "a: 1", "- b", "- {oracle: x}", "- {suspect: x, token: y}", "["])
def test_what_is_not_a_list_of_suspects(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match="expected a list such as"):
        read_suspects(tmp_path / "s.yaml")


def test_a_suspect_that_is_there_twice_would_replace_its_own_evidence(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("- suspect: http://host/x\n- {suspect: 'http://host/x', oracle: api.yaml}\n")
    with pytest.raises(InputError, match=r"s\.yaml: http://host/x is there twice.*remove one entry"):
        read_suspects(tmp_path / "s.yaml")


def test_a_server_that_is_away_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:9/api"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(typer.Exit), running(debug=False):
        pytest.fail("it went on without its server")
    said = " ".join(capsys.readouterr().err.split())
    assert f"PREFECT_API_URL: {url} does not answer" in said
    assert "`prefect server start`, or unset it" in said


def test_the_example_is_a_list_of_suspects() -> None:
    found = read_suspects(ROOT / "examples/suspects.yaml")
    assert all((ROOT / entry["oracle"]).is_file() for entry in found if "oracle" in entry)
    assert len(found) == 2


def test_a_list_of_suspects(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("- suspect: m.onnx\n- {suspect: 'http://host/x', oracle: api.yaml}\n")
    assert read_suspects(tmp_path / "s.yaml") == [
        {"suspect": "m.onnx"},
        {"suspect": "http://host/x", "oracle": "api.yaml"},
    ]


QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}


@dataclass(frozen=True)
class Server:
    """A Prefect server of this test's own, and the environment that names it."""

    url: str
    environment: dict[str, str]

    def ask(self, method: str, path: str, **body: Any) -> Any:
        for left in reversed(range(5)):
            answer = httpx.request(method, f"{self.url}/{path}", json=body, timeout=30)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or not left:
                break  # else its database was locked, and the client is to ask again, as Prefect's own does
            time.sleep(1)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def run(self, program: str) -> str:
        """What a Python program prints that talks to this server."""
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def here(self) -> Iterator[None]:
        """This process talks to the server, and sends it no logs: some would arrive after it has stopped."""
        with temporary_settings({PREFECT_API_URL: self.url, PREFECT_LOGGING_TO_API_ENABLED: False}):
            end_services()
            try:
                yield
            finally:
                end_services()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """``sscl serve``, until the context ends."""
        with subprocess.Popen(["sscl", "serve"], env=self.environment, **QUIET) as process:
            try:
                yield
            finally:
                process.terminate()

    def deployment(self, name: str) -> str:
        """Its id, once it is there."""
        wait(lambda: any(row["name"] == name for row in self.ask("POST", "deployments/filter")))
        return str(next(row["id"] for row in self.ask("POST", "deployments/filter") if row["name"] == name))

    def scheduled(self, deployment: str) -> int:
        """How many runs wait for their time."""
        wanted = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        runs = self.ask("POST", "flow_runs/filter", flow_runs=wanted)
        return sum(run["deployment_id"] == deployment for run in runs)


@pytest.fixture(scope="module")
def standalone(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(fresh(prefect_home, tmp_path_factory.mktemp("prefect") / "home")) as found:
        yield found


def fresh(template: Path, home: Path) -> Server:
    """A server's address and settings, as docs/pipeline.md has them."""
    shutil.copytree(template, home)
    url = f"http://127.0.0.1:{free_port()}/api"
    extra = {"PREFECT_HOME": str(home), "PREFECT_API_URL": url}
    extra |= {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    return Server(url, {**os.environ, **extra})


@contextmanager
def started(server: Server, stop: int = signal.SIGTERM) -> Iterator[Server]:
    """The server, until it is sent ``stop``."""
    command = ["prefect", "server", "start", "--port", str(httpx.URL(server.url).port)]
    with subprocess.Popen(command, env=server.environment, start_new_session=True, **QUIET) as process:
        try:
            wait(lambda: httpx.get(f"{server.url}/health").status_code == 200)
            yield server
        finally:
            os.killpg(process.pid, stop)


@pytest.mark.slow
def test_schedules_catch_up_pause_and_resume(standalone: Server) -> None:
    """SCHEDULED runs of both crons appear; newer packages lose them. A run that was missed is made up for."""
    with standalone.serving():
        audits, weekly = standalone.deployment("nightly-audit"), standalone.deployment("weekly-benchmark")
        wait(lambda: standalone.scheduled(audits) > 0 and standalone.scheduled(weekly) > 0)
        standalone.ask("PATCH", f"deployments/{weekly}", paused=True)
        wait(lambda: standalone.scheduled(weekly) == 0)
        standalone.ask("PATCH", f"deployments/{weekly}", paused=False)
        wait(lambda: standalone.scheduled(weekly) > 0)
    assert standalone.scheduled(audits) > 0  # they wait for the next `sscl serve`
    missed = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": missed}}
    run = standalone.ask("POST", f"deployments/{audits}/create_flow_run", state=state)["id"]
    with standalone.serving():
        wait(lambda: standalone.ask("GET", f"flow_runs/{run}")["state_type"] in ("FAILED", "COMPLETED"))
    message = standalone.ask("GET", f"flow_runs/{run}")["state"]["message"]
    assert "suspects.yaml: expected a list such as" in message  # it ran; there is no list of suspects here


ANNOUNCE = """
from sscl.release.gate import Check
from tasks.audit import announce_verdict
from tasks.release import show_gate
show_gate([Check("ba_drop", 0.2, 0.05), Check("lpips", 0.01, 0.1), Check("auroc", 0.9, 0.7)], "1.0.0")
verdict = {"decision": "trained-on-it", "confirmatory": True, "adjusted": 0.005, "alpha": 0.05}
announce_verdict("http://host/x", {**verdict, "p_value": 0.005, "test": "exact", "queries": 10, "bundle": "x.zip"})
"""
OWNER = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
letter = {"subject": "{{subject}}", "body": "{{body}}"}
print(Webhook(name="owner", url="URL", json_data=letter).save("owner"))
"""


@pytest.mark.slow
def test_automations_write_to_the_owner(standalone: Server) -> None:
    """``automations.yaml`` on a real server, events from the tasks' own code, and the letters that people get."""
    with inbox() as (url, letters):
        owner = standalone.run(OWNER.replace("URL", url))
        for entry in AUTOMATIONS:
            text = yaml.safe_dump(entry).replace("{{ OWNER_BLOCK_ID }}", owner)
            standalone.ask("POST", "automations/", **yaml.safe_load(text))

        def delivered() -> bool:
            standalone.run(ANNOUNCE)
            return len({letter["subject"] for letter in letters}) == len(AUTOMATIONS)

        wait(delivered)
    bodies = {letter["subject"]: letter["body"] for letter in letters}
    assert "ba_drop 0.2 (limit 0.05); auroc 0.9 (limit 0.7)" in bodies["Release held back"]
    assert "lpips" not in bodies["Release held back"]
    assert "http://host/x: p = 0.005. Evidence: x.zip" in bodies["A model was trained on the release"]


@contextmanager
def inbox() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A webhook on this machine, and the JSON that it was sent."""
    letters: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            letters.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/", letters
        http.shutdown()


@pytest.mark.parametrize("entry", AUTOMATIONS, ids=lambda entry: entry["name"])
def test_automations_are_prefects(entry: dict[str, Any]) -> None:
    text = yaml.safe_dump(entry).replace("{{ OWNER_BLOCK_ID }}", str(uuid.uuid4()))
    made = AutomationCore.model_validate(yaml.safe_load(text))
    assert [action.type for action in made.actions] == ["send-notification"]


def test_a_verdict_is_announced_only_if_it_is_confirmatory_and_holds_for_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("tasks.audit.emit_event", lambda *given, **named: sent.append((given, named)))
    verdict = {"decision": "trained-on-it", "confirmatory": True, "adjusted": 0.04, "alpha": 0.05, "p_value": 0.02}
    verdict |= {"test": "exact", "queries": 10, "bundle": "x.zip"}
    changes = ({"decision": "no evidence"}, {"confirmatory": False}, {"adjusted": 0.06})
    for change in changes:
        announce_verdict("suspect", {**verdict, **change})
    assert sent == []
    announce_verdict("suspect", verdict)
    (((event, resource), named),) = sent
    positive = next(entry for entry in AUTOMATIONS if event in entry["trigger"]["expect"])
    body = positive["actions"][0]["body"]
    for used in re.findall(r"event\.(payload|resource)\.(\w+)", body):
        assert used[1] in {"payload": named["payload"], "resource": resource}[used[0]]


@pytest.mark.slow
def test_what_passes_by_itself_is_tried_again_and_the_rest_is_not(standalone: Server) -> None:
    tries: list[str] = []
    stay: dict[str, type[Exception]] = {
        "gate": GateError,
        "input": InputError,
        "taken": TakenError,
        "budget": BudgetError,
        "fault": TypeError,
    }

    def work(kind: str) -> str:
        tries.append(kind)
        if tries.count(kind) < 3:
            raise stay.get(kind, SSCLError)(kind)
        return kind

    patient = task(**{**PATIENT, "retry_delay_seconds": 0})(work)

    @flow
    def every() -> list[Any]:
        return [patient.submit(kind).result(raise_on_failure=False) for kind in ("busy", *stay)]

    with standalone.here():
        found = every()
    assert found[0] == "busy"
    assert {kind: tries.count(kind) for kind in set(tries)} == {"busy": 3, **dict.fromkeys(stay, 1)}


def test_a_time_limit_is_not_tried_again() -> None:
    limited: State[Any] = Failed(data=TaskRunTimeoutError("too long"))
    assert isinstance(limited.data, OSError)
    assert not busy_or_io(Mock(), Mock(), limited)
    assert busy_or_io(Mock(), Mock(), Failed(data=OSError(errno.EIO, "an I/O error")))


def test_serving_needs_a_server() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConfigError, match="PREFECT_API_URL: not set, and a temporary server schedules nothing"),
    ):
        main(lambda *_, **__: pytest.fail("it served"))


@pytest.mark.slow
def test_tasks_on_the_gpu_take_turns(standalone: Server) -> None:
    """Two at once, and the limit of one that ``sscl serve`` sets; ours are tagged."""
    assert all("gpu" in found.tags for found in (measure, publish_release, run_audit))
    spans: list[tuple[float, float]] = []

    @task(tags=["gpu"])
    def train() -> None:
        start = time.monotonic()
        time.sleep(0.3)
        spans.append((start, time.monotonic()))

    @flow
    def both() -> None:
        wait_for([train.submit(), train.submit()])

    quick = {PREFECT_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS: 0.5}
    with standalone.here(), temporary_settings(quick), get_client(sync_client=True) as client:
        limit_gpu()
        limit_gpu()  # a limit that is there stays
        try:
            both()
        finally:
            client.delete_concurrency_limit_by_tag("gpu")
    first, second = sorted(spans)
    assert first[1] <= second[0]


TRAINING = """
import sys, time
from prefect import flow, task
from flows.serve import limit_gpu
@task(tags=["gpu"])
def train():
    print("training", flush=True)
    time.sleep(float(sys.argv[1]))
@flow
def one():
    train()
limit_gpu()
one()
"""


@pytest.mark.slow
def test_a_crash_of_server_and_training_does_not_keep_the_gpu(prefect_home: Path, tmp_path: Path) -> None:
    """The machine went down in the middle of a training; afterwards the next one gets the slot."""
    with (
        started(fresh(prefect_home, tmp_path / "home"), signal.SIGKILL) as server,
        subprocess.Popen(
            [sys.executable, "-c", TRAINING, "600"],
            env=server.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert "training" in process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    with started(server):
        command = [sys.executable, "-c", TRAINING, "0"]
        quick = {**server.environment, "PREFECT_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS": "2"}
        done = subprocess.run(command, env=quick, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert "training" in done.stdout


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
