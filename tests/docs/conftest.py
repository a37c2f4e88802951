"""A checkout for the documentation's blocks, the servers that they talk to, and how one is run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from sscl.release.objects import Objects
from tests.conftest import BARE, ROOT, answering, free_port
from tests.docs.pages import ALSO, STAND_INS, blocks


@contextmanager
def serving(folder: Path, port: int, path: str, *command: str, **extra: str) -> Iterator[int]:
    """A server that is started in ``folder`` and answers at ``path``; yields its port."""
    given = {**os.environ, **extra}
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=given, stdout=silent, stderr=silent, process_group=0) as process:
        try:
            answering(f"http://127.0.0.1:{port}{path}")
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def prefect(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Prefect's server: what commands need in their environment to talk to it."""
    home, port = Path(shutil.copytree(prefect_home, tmp_path_factory.mktemp("prefect") / "home")), free_port()
    command = ("prefect", "server", "start", "--port", str(port))
    with serving(home, port, "/api/health", *command, PREFECT_HOME=str(home), **BARE):
        yield {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}


@pytest.fixture(scope="module")
def suspect(reproduced: Path) -> Iterator[int]:
    """The port of an API with a guilty model behind it."""
    port = free_port()
    model = "out/models/malicious/model.safetensors"
    command = ("python", "-m", "tests.script", str(ROOT / "examples/suspect_server.py"), model, "--port", str(port))
    with serving(reproduced, port, "/", *command):
        yield port


@pytest.fixture
def block(
    reproduced: Path, suspect: int, s3: str, prefect_home: Path, tmp_path: Path
) -> Callable[..., tuple[Path, str]]:
    """Runs a page's block, in more environment if need be: the checkout that it had, and what it printed."""

    def run(page: str, number: int, **more: str) -> tuple[Path, str]:
        shutil.copytree(prefect_home, tmp_path / "prefect")
        place = Path(shutil.copytree(reproduced, tmp_path / "checkout", symlinks=True))
        for bucket in ("public-datasets", "owner-secrets", "licensed-copies"):
            boto3.client("s3").create_bucket(Bucket=bucket)
            objects = Objects(f"s3://{bucket}")
            for item in list(objects.list("")):  # of the block before
                objects.client.delete_object(Bucket=bucket, Key=item.key)
        if "keygen --release" in blocks(page)[number]:
            (place / "private/release.key").unlink()
            for folder in ("public", "private"):  # nothing is committed to yet
                shutil.rmtree(place / "out" / folder / "commitment")
        text = blocks(page)[number] + ALSO.get((page, number), "")
        extra = {"SSCL_FORKSERVER": "1", "PREFECT_HOME": str(tmp_path / "prefect"), **more}
        ports = {"prefect": urlsplit(extra.get("PREFECT_API_URL", "")).port, "suspect": suspect, "moto": free_port()}
        for theirs, ours in STAND_INS.items():
            text = text.replace(theirs, ours.format(**ports))
        given = {**os.environ, **extra}
        script = f"set -e; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{text}\n"
        command: list[str] = ["bash", "-c", script]
        with (
            open(tmp_path / "printed", "w+") as printed,  # a pipe would wait for whatever is left in the background
            subprocess.Popen(command, cwd=place, env=given, stdout=printed, stderr=printed) as process,
        ):
            code = process.wait(timeout=600)  # minutes where other tests want the cores, too
        said = (tmp_path / "printed").read_text()
        assert code == 0, text + said[-4000:]
        return place, said

    return run
