"""Workers are forked from one server, share nothing, and end with it and with who asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from benchmarks.hostile_inputs.model_files import exported
from sscl.sandbox import servers
from sscl.sandbox.process import Sandbox, SandboxError
from sscl.sandbox.runtimes import RUNTIMES
from tests.conftest import ROOT
from tests.sandbox.test_process import MEMORY, ended, pid_of, tiny_onnx

pytestmark = pytest.mark.slow
IMAGES = np.ones((2, 3), dtype=np.float32)
# What a model of one mark might leave for that of the next one: flags of a descriptor, and the memory of the server.
LEAVES = """
import fcntl, os, sys
flags = fcntl.fcntl(2, 3)
frame, found = sys._getframe(), {}
while frame:
    found.update({name: value for name, value in frame.f_locals.items() if isinstance(value, int) and value == 77})
    frame = frame.f_back
if flags & os.O_APPEND or found:
    raise ValueError("it remembers")
fcntl.fcntl(2, 4, flags | os.O_APPEND)
os._exit(77)
"""


def answering() -> Sandbox:
    return Sandbox("onnx", tiny_onnx(), 30, MEMORY)


def asking(program: str) -> subprocess.Popen[str]:
    """A process that has a sandbox, and then does what the program says."""
    start = "import os, sys, time\nfrom sscl.sandbox import servers\nfrom tests.sandbox.test_servers import *\n"
    start += "sandbox = answering()\nprint(pid_of(sandbox._worker), servers._running['onnx'].process.pid, flush=True)\n"
    return subprocess.Popen([sys.executable, "-c", start + program], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def opened(process: Path) -> set[str]:
    """What a process has open, looked at again if it was closing something."""
    for _ in range(1000):
        with suppress(FileNotFoundError):
            return {os.readlink(entry) for entry in (process / "fd").iterdir()}
    pytest.fail(f"{process} never rests")


def test_every_sandbox_is_a_process_of_its_own() -> None:
    first, second = answering(), answering()
    one, other = pid_of(first._worker), pid_of(second._worker)
    assert one != other
    first.close()
    assert ended(one)
    assert not ended(other, tries=1)
    assert second.run(IMAGES)[0][0][1].tolist() == IMAGES.tolist()


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_a_worker_shares_nothing_with_its_server_or_other_workers(runtime: str) -> None:
    """The defect: onnxruntime keeps a database for its telemetry open, and a part of it is shared memory."""
    workers = [servers.forked(runtime, MEMORY) for _ in range(2)]
    server = Path(f"/proc/{servers._running[runtime].process.pid}")
    try:
        assert {name for name in opened(server) if name.startswith("/")} == {"/dev/null"}
        assert " rw-s " not in (server / "maps").read_text()
        for worker in workers:
            pipes = {f"pipe:[{os.fstat(stream.fileno()).st_ino}]" for stream in (worker.stdin, worker.stdout)}
            place = Path(f"/proc/{pid_of(worker)}")
            for _ in range(100):  # it has just been forked, and reads nothing before it is ready
                kept = opened(place) - pipes - {"/dev/null"}
                if not kept and "Seccomp_filters:\t2" in (place / "status").read_text():
                    break
                time.sleep(0.1)
            assert kept == set()
            assert "Seccomp_filters:\t2" in (place / "status").read_text()
            assert re.search(rf"^Max data size +{MEMORY} +{MEMORY} ", (place / "limits").read_text(), flags=re.M)
            assert " rw-s " not in (place / "maps").read_text()
    finally:
        for worker in workers:
            worker.close()


def test_a_model_leaves_nothing_for_the_next_one() -> None:
    """The defects: all workers had one descriptor of /dev/null, whose flags stay; and how one ended was remembered."""
    content = exported(LEAVES)
    for _ in range(3):
        with pytest.raises(SandboxError, match="its process ended"):
            Sandbox("exported", content, 60, MEMORY)


def test_a_worker_does_not_see_the_others() -> None:
    """The defect: workers of one server could open each other's pipes in /proc, and answer for each other."""
    other = servers.forked("exported", MEMORY)
    look = (
        "import os\nfor pid in range(os.getpid() - 50, os.getpid() + 50):\n    if pid == os.getpid(): continue\n"
        "    try: os.readlink(f'/proc/{pid}/fd/0')\n    except OSError: continue\n"
        "    raise ValueError(f'it sees {pid}')\nraise ValueError('it sees nobody')\n"
    )
    try:
        with pytest.raises(SandboxError, match="it sees nobody"):
            Sandbox("exported", exported(look), 60, MEMORY)
    finally:
        other.close()


def test_after_a_server_ended_another_is_started() -> None:
    sandbox = answering()
    process, worker = servers._running["onnx"].process, pid_of(sandbox._worker)
    process.kill()
    process.wait()
    with pytest.raises(SandboxError, match="its process ended"):
        sandbox.run(IMAGES)
    assert ended(worker)
    started = time.monotonic()
    assert answering().run(IMAGES)[0][0][1].tolist() == IMAGES.tolist()
    assert time.monotonic() - started < servers.START_SECONDS / 2, "it waited for an answer of the dead one"


def test_a_server_that_cannot_start_is_an_error_at_once(no_servers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: who asked waited for a minute, since it held the socket open on which the answer was to come."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SandboxError, match="its process could not be started"):
        answering()


def test_nothing_is_left_when_who_asked_is_killed() -> None:
    with asking("time.sleep(60)") as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    assert all(ended(pid) for pid in pids)


def test_a_fork_of_who_asked_keeps_nothing_alive_and_ends_nothing() -> None:
    """The defects: who asked waited at its end for its forks, and one that ended took the sandbox with it."""
    program = (
        "if not os.fork(): sys.exit()\nos.wait()\nassert len(sandbox.run(IMAGES)[0]) == 1\n"
        "if not os.fork(): time.sleep(90); os._exit(0)\n"
    )
    with asking(program) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert process.wait(timeout=60) == 0
        assert all(ended(pid) for pid in pids)
        process.stdout.close()


def test_a_fork_does_not_keep_a_server_whose_owner_is_killed() -> None:
    program = "if not os.fork(): time.sleep(30); os._exit(0)\nprint(flush=True)\ntime.sleep(60)"
    with asking(program) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.stdout.readline()  # it has forked
        process.send_signal(signal.SIGKILL)
        assert all(ended(pid) for pid in pids)
        process.stdout.close()


def test_failures_leave_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = answering()
    sandbox.close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(SandboxError):
            Sandbox("onnx", b"", 30, MEMORY)
    monkeypatch.setattr("sscl.sandbox.servers.socket.send_fds", lambda *_: (_ for _ in ()).throw(OSError("broken")))
    for _ in range(3):
        with pytest.raises(SandboxError, match="could not be started"):
            answering()
    monkeypatch.undo()
    answering().close()
    assert len(os.listdir("/proc/self/fd")) == before
