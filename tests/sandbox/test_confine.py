"""What code inside the sandbox cannot do, tried by running it there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow
START = "import sys, os, socket; from sscl.sandbox.confine import *; confine(); confine_more(1 << 30)\n"
# Each must end in an error inside the sandbox. `{file}` is a readable file, `{folder}` a writable folder.
ESCAPES = {
    "read a file": "open({file!r}).read()",
    "write a file": "open({folder!r} + '/new', 'w')",
    "overwrite a file": "open({file!r}, 'r+')",
    "truncate a file": "os.truncate({file!r}, 0)",
    "delete a file": "os.unlink({file!r})",
    "rename a file": "os.rename({file!r}, {file!r} + '2')",
    "link a file": "os.symlink({file!r}, {folder!r} + '/link')",
    "make a folder": "os.mkdir({folder!r} + '/new')",
    "change a mode": "os.chmod({file!r}, 0o777)",
    "change times": "os.utime({file!r})",
    "list a folder": "os.listdir({folder!r})",
    "the parent's environment": "open(f'/proc/{{os.getppid()}}/environ').read()",
    "the parent's memory": "open(f'/proc/{{os.getppid()}}/mem', 'rb')",
    "the checkout": "open({root!r} + '/pyproject.toml').read()",
    "a TCP socket": "socket.socket()",
    "a UDP socket": "socket.socket(type=socket.SOCK_DGRAM)",
    "a Unix socket": "socket.socket(socket.AF_UNIX)",
    "a new process": "os.fork()",
    "another program": "os.execv('/bin/true', ['true'])",
    "kill the parent": "os.kill(os.getppid(), 0)",
    "kill everything": "os.kill(-1, 0)",
    "another user": "os.setuid(65534)",
    "a namespace": "__import__('ctypes').CDLL(None, use_errno=True).unshare(0x10000000) == 0 or 1 / 0",
    "trace the parent": "__import__('ctypes').CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0 or 1 / 0",
    "lift its limits": "__import__('resource').setrlimit(7, (9999, 9999))",
    "the parent's limits": "__import__('resource').prlimit(os.getppid(), 7, (64, 64))",
    "signals by a pipe": "__import__('fcntl').fcntl(0, 8, os.getppid())",
    "any signal by a pipe": "__import__('fcntl').fcntl(0, 10, 9)",
    "memory that is not counted": "__import__('mmap').mmap(-1, 1 << 20)",
    "memory that grows": "__import__('mmap').mmap(-1, 1 << 20, flags=0x122)",
    "much memory": "bytearray(2 << 30)",
}


def inside(code: str) -> subprocess.CompletedProcess[str]:
    program = f"{START}try:\n    {code}\nexcept BaseException as error:\n    print('held:', type(error).__name__)\n"
    program += "else:\n    print('escaped')\n"
    command = [sys.executable, "-P", "-c", program]
    given = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ESCAPES)
def test_it_holds(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    places = {"file": str(tmp_path / "secret"), "folder": str(tmp_path), "root": str(ROOT)}
    done = inside(ESCAPES[name].format(**places))
    assert done.stdout.startswith("held:"), done.stdout + done.stderr
    assert (tmp_path / "secret").read_text() == "secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]


def test_a_file_that_may_be_read_is_not_emptied() -> None:
    """The defect: before Linux 6.2 Landlock allows that, so the filter of system calls has to refuse it."""
    code = "import errno, os\n    os.open('/dev/null', os.O_TRUNC)\nexcept PermissionError as error:\n"
    done = inside(f"{code}    print('refused' if error.errno == errno.EPERM else 'by Landlock')")
    assert done.stdout == "refused\n", done.stdout + done.stderr


def test_the_same_code_works_outside(tmp_path: Path) -> None:
    """Otherwise the tests above would show nothing."""
    (tmp_path / "secret").write_text("secret")
    assert os.listdir(tmp_path) == ["secret"]
    socket.socket().close()
    os.kill(os.getppid(), 0)


def test_numbers_threads_and_what_was_open_work() -> None:
    code = "import numpy, threading; t = threading.Thread(target=print, args=(numpy.ones(3) @ numpy.ones(3),))"
    done = inside(f"{code}; t.start(); t.join()")
    assert done.stdout == "3.0\nescaped\n", done.stderr
