"""Workers are forked from one server, share nothing, and end with it and with who asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sscl.sandbox import servers
from sscl.sandbox.process import Sandbox, SandboxError
from tests.conftest import ROOT
from tests.sandbox.test_process import MEMORY, ended, tiny_onnx

pytestmark = pytest.mark.slow
IMAGES = np.ones((2, 3), dtype=np.float32)


def test_every_sandbox_is_a_process_of_its_own() -> None:
    first, second = (Sandbox("onnx", tiny_onnx(), 30, MEMORY) for _ in range(2))
    assert first._worker.pid != second._worker.pid
    first.close()
    assert ended(first._worker.pid)
    assert second.run(IMAGES)[0][0][1].tolist() == IMAGES.tolist()


def test_a_worker_has_no_way_to_its_server_or_to_other_workers() -> None:
    others = [Sandbox("onnx", tiny_onnx(), 30, MEMORY) for _ in range(2)]
    sandbox = Sandbox("onnx", tiny_onnx(), 30, MEMORY)
    pipes = {f"pipe:[{os.fstat(stream.fileno()).st_ino}]" for stream in (sandbox._worker.stdin, sandbox._worker.stdout)}
    opened = {os.readlink(entry) for entry in Path(f"/proc/{sandbox._worker.pid}/fd").iterdir()}
    assert pipes <= opened
    assert not {name for name in opened - pipes if name.startswith(("socket:", "pipe:"))}
    assert len(others) == 2


def test_after_a_server_ended_another_is_started() -> None:
    sandbox = Sandbox("onnx", tiny_onnx(), 30, MEMORY)
    process = servers._running["onnx"].process
    process.kill()
    process.wait()
    with pytest.raises(SandboxError, match="its process ended"):
        sandbox.run(IMAGES)
    assert ended(sandbox._worker.pid)
    assert Sandbox("onnx", tiny_onnx(), 30, MEMORY).run(IMAGES)[0][0][1].tolist() == IMAGES.tolist()


def test_nothing_is_left_when_who_asked_is_killed() -> None:
    program = (
        "import time; from sscl.sandbox import process, servers; from tests.sandbox.test_process import *\n"
        "sandbox = process.Sandbox('onnx', tiny_onnx(), 30, MEMORY)\n"
        "print(sandbox._worker.pid, servers._running['onnx'].process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        pids = [int(pid) for pid in asking.stdout.readline().split()]
        asking.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    assert all(ended(pid) for pid in pids)
