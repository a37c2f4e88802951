"""A command started by fork does what it would do by itself: output, folder, environment, exit code, signals, kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sscl import forkserver
from tests.conftest import ROOT, environment

# Prints its process's parent, so that a test sees whether it was forked, then does as its arguments say.
TOOL = """
import os, sys, time

def main():
    print("ran in", os.getcwd(), sys.argv[1:], os.environ.get("GREETING"), "heavy" in sys.modules, flush=True)
    if sys.argv[1] == "fail":
        sys.exit(3)
    if sys.argv[1] == "wait":
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
"""
CLIENT = """
import sys
from sscl import forkserver
code = forkserver.run("tool:main", sys.argv, "slow")
if code is None:
    print("by itself")
sys.exit(code)
"""


class Caller:
    """Starts commands in a folder of its own, so that no other test's server is theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "slow.py").write_text("import sys\nsys.modules['heavy'] = sys")
        (folder / "tool.py").write_text(TOOL)
        path = f"{folder}{os.pathsep}{ROOT}"
        self.environment = environment(PYTHONPATH=path, TMPDIR=str(folder), SSCL_FORKSERVER="1")

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLIENT, *arguments]
        given: dict[str, Any] = {"cwd": self.folder, "env": {**self.environment, **extra}, "text": True}
        return subprocess.Popen(command, stdout=subprocess.PIPE, **given)

    def run(self, *arguments: str, **extra: str) -> tuple[int, str]:
        with self.start(*arguments, **extra) as process:
            printed, _ = process.communicate(timeout=30)
        return process.returncode, printed

    def forked(self, *arguments: str, **extra: str) -> tuple[int, str]:
        """The first run that a server did."""
        for _ in range(100):
            code, printed = self.run(*arguments, **extra)
            if printed != "by itself\n":
                return code, printed
            time.sleep(0.1)
        pytest.fail("no server appeared")

    def child(self) -> int:
        """The process id of the ``wait`` that is under way."""
        for _ in range(100):
            if (self.folder / "pid").is_file() and (text := (self.folder / "pid").read_text()):
                (self.folder / "pid").unlink()
                return int(text)
            time.sleep(0.1)
        pytest.fail("it did not start")


@pytest.fixture
def caller(tmp_path: Path) -> Caller:
    return Caller(tmp_path)


def gone(process: int) -> bool:
    for _ in range(50):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_fork_has_the_callers_folder_arguments_environment_and_exit_code(caller: Caller) -> None:
    assert caller.run("first") == (0, "by itself\n")  # there is no server yet: nobody waits for it
    assert caller.forked("a", "b")[1] == f"ran in {caller.folder} ['a', 'b'] None True\n"
    assert caller.forked("fail")[0] == 3


def test_another_environment_is_another_server(caller: Caller) -> None:
    caller.forked("a")
    assert caller.run("a", GREETING="hello") == (0, "by itself\n")
    assert caller.forked("a", GREETING="hello")[1].split()[-2:] == ["hello", "True"]


def test_another_code_is_another_server(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in caller.environment.items():
        monkeypatch.setenv(name, value)
    before = forkserver.address("slow")
    monkeypatch.setattr(forkserver, "_code", lambda: [["sscl/train.py", 1, 2]])
    assert forkserver.address("slow") != before


def test_what_differs_between_stages_does_not_make_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    before = forkserver.address("slow")
    monkeypatch.setenv("DVC_STAGE", "prepare")
    monkeypatch.setenv("SSCL_PROGRESS_FILE", "/tmp/x")
    assert forkserver.address("slow") == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_fork(number: signal.Signals, caller: Caller) -> None:
    caller.forked("a")
    with caller.start("wait") as process:
        child = caller.child()
        process.send_signal(number)
        assert process.wait(timeout=10) in (1, 130)
    assert gone(child)


def test_a_killed_caller_takes_the_fork_with_it(caller: Caller) -> None:
    caller.forked("a")
    with caller.start("wait") as process:
        child = caller.child()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert gone(child)


def test_a_killed_fork_is_a_failure(caller: Caller) -> None:
    caller.forked("a")
    with caller.start("wait") as process:
        os.kill(caller.child(), signal.SIGKILL)
        assert process.wait(timeout=10) == 1


def test_a_killed_servers_socket_is_no_obstacle(caller: Caller) -> None:
    caller.forked("a")
    (socket,) = (caller.folder / f"sscl-{os.getuid()}").iterdir()
    socket.unlink()
    import socket as sockets

    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(socket))
    assert caller.run("a") == (0, "by itself\n")
    assert caller.forked("a")[0] == 0


def test_a_folder_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"sscl-{os.getuid()}").mkdir()
    (tmp_path / f"sscl-{os.getuid()}").chmod(0o777)
    with pytest.raises(PermissionError, match="not a folder of this user alone"):
        forkserver.address("slow")
    assert forkserver.run("tool:main", [], "slow") is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, False), ({"DVC_STAGE": "x"}, True), ({"DVC_STAGE": "x", "SSCL_FORKSERVER": "0"}, False)],
)
def test_only_what_dvc_runs_is_started_by_fork(given: dict[str, str], wanted: bool) -> None:
    assert forkserver.wanted(given) is wanted
