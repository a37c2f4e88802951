"""Every command that README and docs show: blocks are run as they are written, in a checkout with tiny parameters."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
import typer
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from sscl.cli import app
from sscl.release.objects import Objects
from sscl.release.sealed import new_identity
from tests.conftest import BARE, EASY, ROOT, environment, free_port, once, shell

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PROGRAMS = ("sscl", "python", "dvc", "make", "prefect", "git", "source", "export")
PLACES = {"FILE", "DIR", "NAME", "STAGE", "URL-OF-THE-REPOSITORY"}  # what a reader puts in


def blocks(page: str) -> list[str]:
    """The fenced blocks of a page that are commands."""
    found = re.findall(r"^```\w*\n(.*?)^```", (ROOT / page).read_text(), flags=re.S | re.M)
    return [block for block in found if re.match(rf"({'|'.join(PROGRAMS)}) (?! )", block)]


def inline(page: str) -> list[str]:
    """Commands within the text of a page."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.S | re.M)
    found = (" ".join(code.split()).removeprefix("time ") for code in re.findall(r"`([^`]+)`", text))
    return [code for code in found if re.match(rf"({'|'.join(PROGRAMS)}) ", code)]


# What stands for a reader's own thing -> what is there in this test. Port numbers are filled in.
STAND_INS = {
    "127.0.0.1:4200": "127.0.0.1:{prefect}",
    "prefect server start": "true",  # it runs already
    "http://host/predict": "http://127.0.0.1:{suspect}/predict",
    "--oracle api.yaml": "--oracle examples/api.yaml",
    "5555": "{moto}",
    "model.onnx": "out/models/malicious/model.safetensors",
    "\nsscl serve\n": "\nsscl serve &\nuntil prefect deployment inspect release/release; do sleep 1; done &> log\n",
    "prefect worker start --pool sscl": "prefect worker start --pool sscl --run-once",
    "--runner dask --workers 8": "--runner thread --workers 2",
    "--runner dask --workers 2": "--runner thread --workers 2",
    "URL-OF-THE-REPOSITORY": "$PWD",
    "git commit": "git -c user.name=t -c user.email=t@example.org commit",
    "--rev v1.0.0": "--rev v1.0.0 -o consumed",
}
RUN_BY_CI = {("README.md", 0)}  # make demo, make test
WALK_THROUGH = ("docs/release.md", 0)
ALSO = {  # what another clone sees of the release of the walk-through
    WALK_THROUGH: """
mkdir stranger; cp -r .venv params.yaml stranger; cd stranger
sscl release list --from s3://public-datasets/releases
sscl release pull mnist-protected 1.0.0 --from s3://public-datasets/releases --out got
sscl release verify --folder got; (cd got && sha256sum --quiet -c SHA256SUMS)
""",
}


def talks_to_prefect(page: str, number: int) -> bool:
    """The walk-through starts a server of its own, as a newcomer's does."""
    talks = re.search(r"prefect|flows\.|sscl serve", blocks(page)[number])
    return talks is not None and (page, number) != WALK_THROUGH


@pytest.fixture(scope="session")
def released(common: Path, reproduced: Path) -> Path:
    """A checkout in which the pipeline has run under a secret key; every profile is the tiny one and every benchmark
    has two cells. Read only.
    """
    with once(common / "released") as mine:
        if mine:
            release(Path(shutil.copytree(reproduced, common / "released.part", symlinks=True)))
            (common / "released.part").rename(common / "released")
    return common / "released"


def release(workspace: Path) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["profiles"] = {name: {key: {} for key in params["profiles"]["demo"]} for name in params["profiles"]}
    params["release"]["limits"] = {entry.partition("=")[0].rpartition(".")[2]: 1000.0 for entry in EASY}
    params["release"]["seal_to"] = [new_identity()[1]]
    params |= {"key_file": "private/release.key"}
    params["package"]["name"] = "mnist-protected"
    (workspace / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    cells = [{"profiles": ["demo"], "methods": ["badnets"], "attacks": ["none", "strip"]}]
    (workspace / "benchmark.yaml").write_text(yaml.safe_dump(dict.fromkeys(("tiny", "small", "paper"), cells)))
    shell(workspace, "sscl", "keygen", "--release", "private/release.key")
    shell(workspace, "dvc", "repro")


PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the same for all: one fork server
QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PATH": PATH}


@contextmanager
def serving(folder: Path, port: int, path: str, *command: str, **extra: str) -> Iterator[int]:
    """A server that is started in ``folder`` and answers at ``path``; yields its port."""
    given = environment(**QUIET, **extra)
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=given, stdout=silent, stderr=silent, process_group=0) as process:
        try:
            answering(f"http://127.0.0.1:{port}{path}")
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Prefect's server: what commands need in their environment to talk to it."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    command = ("prefect", "server", "start", "--port", str(port))
    with serving(home, port, "/api/health", *command, PREFECT_HOME=str(home), **BARE):
        yield {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}


@pytest.fixture(scope="module")
def suspect(released: Path) -> Iterator[int]:
    """The port of an API with a guilty model behind it."""
    port = free_port()
    model = "out/models/malicious/model.safetensors"
    command = ("python", "-m", "examples.suspect_server", model, "--port", str(port))
    with serving(released, port, "/", *command):
        yield port


def answering(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(url, timeout=1)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"{url} did not answer in time")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "number"),
    [(page, n) for page in PAGES for n in range(len(blocks(page))) if (page, n) not in RUN_BY_CI],
)
def test_a_block_runs_as_it_is_written(
    page: str, number: int, released: Path, suspect: int, s3: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = Path(shutil.copytree(released, tmp_path / "checkout", symlinks=True))
    for bucket in ("public-datasets", "owner-secrets", "licensed-copies"):
        boto3.client("s3").create_bucket(Bucket=bucket)
        objects = Objects(f"s3://{bucket}")
        for item in list(objects.list("")):  # of the block before
            objects.client.delete_object(Bucket=bucket, Key=item.key)
    if "keygen --release" in blocks(page)[number]:
        (place / "private/release.key").unlink()
    text = blocks(page)[number] + ALSO.get((page, number), "")
    extra = {**QUIET, "SSCL_FORKSERVER": "1", "PREFECT_HOME": str(tmp_path / "prefect")}
    if talks_to_prefect(page, number):
        extra |= request.getfixturevalue("prefect")
    ports = {"prefect": urlsplit(extra.get("PREFECT_API_URL", "")).port, "suspect": suspect, "moto": free_port()}
    for theirs, ours in STAND_INS.items():
        text = text.replace(theirs, ours.format(**ports))
    script = f"set -e; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{text}\n"
    command: list[str] = ["bash", "-c", script]
    with (
        open(tmp_path / "printed", "w+") as printed,  # a pipe would wait for whatever is left in the background
        subprocess.Popen(command, cwd=place, env=environment(**extra), stdout=printed, stderr=printed) as process,
    ):
        code = process.wait(timeout=300)
    said = (tmp_path / "printed").read_text()
    assert code == 0, text + said[-4000:]
    if (page, number) == WALK_THROUGH:
        assert said.count("all as published: ") == 2
        assert said.count("VALID") == 2
        assert "mnist-protected 1.0.0  " in said
        assert list((place / "private/unsealed").rglob("generator.safetensors"))
        assert not list((place / "stranger/got").rglob("*.safetensors"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_are_understood(page: str) -> None:
    for command in inline(page):
        program, *arguments = shlex.split(command)
        if program == "sscl":
            understood(get_command(app), arguments)
        elif program == "make":
            shell(ROOT, "make", "-n", *[a for a in arguments if not a.startswith("-")])
        elif program == "python" and arguments[0].startswith("benchmarks/"):
            script(ROOT / arguments[0], arguments[1:])
        elif program == "python":
            assert arguments[0] == "-m"
            assert importlib.util.find_spec(arguments[1]) is not None, command
        else:
            assert program in ("dvc", "prefect", "git"), command


def understood(command: Any, arguments: list[str]) -> None:
    """The verb exists, and so do its options; nothing is run."""
    while arguments and hasattr(command, "commands") and arguments[0] in command.commands:
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if hasattr(command, "commands"):
        assert set(arguments) <= PLACES, arguments
        return
    known = {option for parameter in command.params for option in parameter.opts}
    assert {a.partition("=")[0] for a in arguments if a.startswith("-")} <= known, arguments


def script(path: Path, arguments: list[str]) -> None:
    """The script exists, and so do its options."""
    assert path.is_file(), path
    module = importlib.import_module(f"benchmarks.{path.stem}")
    single = getattr(module, "app", None) or typer.Typer(add_completion=False)
    if not hasattr(module, "app"):
        single.command()(module.main)
    understood(get_command(single), arguments)
    assert CliRunner().invoke(single, ["--help"]).exit_code == 0
