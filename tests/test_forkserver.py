"""A command started by fork does what it would do by itself: output, folder, environment, exit code, signals, kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sscl import forkserver
from tests.conftest import ROOT

# Prints its process's parent, so that a test sees whether it was forked, then does as its arguments say.
TOOL = """
import os, sys, time

def main():
    print("ran in", os.getcwd(), sys.argv[1:], os.environ.get("GREETING"), "heavy" in sys.modules, flush=True)
    if sys.argv[1] == "fail":
        sys.exit(3)
    if sys.argv[1] == "break":
        raise RuntimeError("broken")
    if sys.argv[1] == "wait":
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
"""
CLIENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
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
        self.environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder), "SSCL_FORKSERVER": "1"}

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLIENT, *arguments]
        given: dict[str, Any] = {"cwd": self.folder, "env": {**self.environment, **extra}, "text": True}
        return subprocess.Popen(command, stdout=subprocess.PIPE, **given)

    def run(self, *arguments: str, **extra: str) -> tuple[int, str]:
        with self.start(*arguments, **extra) as process:
            printed, _ = process.communicate(timeout=30)
        return process.returncode, printed

    def sockets(self) -> list[Path]:
        return [path for path in (self.folder / f"sscl-{os.getuid()}").iterdir() if path.suffix != ".lock"]

    def child(self) -> int:
        """The process id of the ``wait`` that is under way."""
        for _ in range(100):
            if (self.folder / "pid").is_file() and (text := (self.folder / "pid").read_text()):
                (self.folder / "pid").unlink()
                return int(text)
            time.sleep(0.1)
        pytest.fail("it did not start")


@pytest.fixture
def caller() -> Iterator[Caller]:
    # In /tmp, because a socket's path may have 107 bytes. A server that finds another may still be about to end.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Caller(Path(folder))


def gone(process: int) -> bool:
    for _ in range(50):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_fork_has_the_callers_folder_arguments_environment_and_exit_code(caller: Caller) -> None:
    assert caller.run("a", "b")[1] == f"ran in {caller.folder} ['a', 'b'] None True\n"
    assert caller.run("fail")[0] == 3
    assert caller.run("break")[0] == 1


def test_another_environment_is_another_server(caller: Caller) -> None:
    caller.run("a")
    assert caller.run("a", GREETING="hello")[1].split()[-2:] == ["hello", "True"]
    assert len(caller.sockets()) == 2


def test_many_at_once_share_one_server(caller: Caller) -> None:
    processes = [caller.start(str(number)) for number in range(5)]
    printed = [process.communicate(timeout=30)[0] for process in processes]
    assert printed == [f"ran in {caller.folder} ['{number}'] None True\n" for number in range(5)]
    assert len(caller.sockets()) == 1


def test_a_server_that_gave_way_to_one_that_failed_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends without an error if another holds the lock, and that one may not come up."""
    place, started = tmp_path / "socket", list[subprocess.Popen[bytes]]()
    with socket.socket(socket.AF_UNIX) as listener:

        def start(preload: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
            if started:
                listener.bind(str(place))
                listener.listen()
            started.append(subprocess.Popen(["true"]))
            return started[-1]

        monkeypatch.setattr(forkserver, "start", start)
        connection = forkserver._connected(place, "json")
    assert [process.wait() for process in started] == [0, 0]
    assert connection is not None
    connection.close()


def test_without_a_server_the_caller_does_the_work(caller: Caller) -> None:
    (caller.folder / "slow.py").write_text("raise ImportError")
    assert caller.run("a") == (0, "by itself\n")


def test_another_code_is_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    before = forkserver.address("slow", os.environ)
    monkeypatch.setattr(forkserver, "_code", lambda: [["sscl/train.py", 1, 2]])
    assert forkserver.address("slow", os.environ) != before


def test_what_differs_between_stages_does_not_make_another_server() -> None:
    given = {"DVC_STAGE": "prepare", "SSCL_PROGRESS_FILE": "/tmp/x"}
    assert forkserver.address("slow", {**os.environ, **given}) == forkserver.address("slow", os.environ)
    assert forkserver.address("slow", {**os.environ, "OMP_NUM_THREADS": "7"}) != forkserver.address("slow", os.environ)


def test_python_by_another_name_has_the_same_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A script's first line may say python3.11 where a shell said python: the warm-up was for nothing."""
    before = forkserver.address("slow", os.environ)
    other = tmp_path / "python3"
    other.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(other))
    assert forkserver.address("slow", os.environ) == before
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    assert forkserver.address("slow", os.environ) != before


def test_a_caller_that_ignores_a_signal_has_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    before = forkserver.address("slow", os.environ)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    assert forkserver.address("slow", os.environ) != before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_fork(number: signal.Signals, caller: Caller) -> None:
    caller.run("a")
    with caller.start("wait") as process:
        child = caller.child()
        process.send_signal(number)
        assert process.wait(timeout=10) == 128 + number
    assert gone(child)


def test_a_killed_caller_takes_the_fork_with_it(caller: Caller) -> None:
    caller.run("a")
    with caller.start("wait") as process:
        child = caller.child()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert gone(child)


def test_a_killed_fork_is_a_failure(caller: Caller) -> None:
    caller.run("a")
    with caller.start("wait") as process:
        os.kill(caller.child(), signal.SIGKILL)
        assert process.wait(timeout=10) == forkserver.KILLED


def test_a_killed_servers_child_is_no_obstacle(caller: Caller) -> None:
    """The defect: it kept the server's lock, so the next command waited for half a minute and worked by itself."""
    caller.run("a")
    with caller.start("wait") as process:
        os.kill(parent_of(caller.child()), signal.SIGKILL)
        assert caller.run("a") == (0, f"ran in {caller.folder} ['a'] None True\n")
        process.send_signal(signal.SIGTERM)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_killed_servers_socket_is_no_obstacle(caller: Caller) -> None:
    caller.run("a")
    (place,) = caller.sockets()
    place.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    place.with_suffix(".lock").unlink()
    assert caller.run("a") == (0, f"ran in {caller.folder} ['a'] None True\n")


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"sscl-{os.getuid()}").mkdir()
    (tmp_path / f"sscl-{os.getuid()}").chmod(0o777)
    with pytest.raises(PermissionError, match="not a folder of this user alone"):
        forkserver.address("slow", {})
    assert forkserver.run("tool:main", [], "slow") is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, False), ({"DVC_STAGE": "x"}, True), ({"DVC_STAGE": "x", "SSCL_FORKSERVER": "0"}, False)],
)
def test_only_what_dvc_runs_is_started_by_fork(given: dict[str, str], wanted: bool) -> None:
    assert forkserver.wanted(given) is wanted
