"""What a killed flow leaves behind: nothing that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

CHILD = """
import time
from sscl.orphans import end_with_parent

end_with_parent()
print("at work", flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
given = {**os.environ, "SSCL_PARENT": str(os.getpid())}
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=given, start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.slow
def test_a_stage_ends_with_the_flow_that_started_it() -> None:
    """The defect: it trained on, beside the next one."""
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it goes on")
