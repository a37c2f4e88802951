"""This process's fork servers, one a runtime: started when first needed, ended with this process."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import sscl
from sscl.sandbox.server import NUMBER, REQUEST

START_SECONDS = 60.0  # for a server to import its libraries, on a busy machine


class Worker:
    """A forked process: what it reads and writes, and the leash by which it is held.

    Attributes:
        pid: its number.
        stdin, stdout: the pipes.
    """

    def __init__(self, leash: socket.socket, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._leash, self.stdin, self.stdout = leash, stdin, stdout
        (self.pid,) = NUMBER.unpack(self._told())

    def kill(self) -> None:
        """Have it killed; nothing happens if it ended."""
        with suppress(OSError):
            self._leash.send(b"k")

    def wait(self) -> int:
        """The exit code, negative for a signal; that of a killed process if its server is gone too."""
        with suppress(OSError, EOFError):
            return int(NUMBER.unpack(self._told())[0])
        return -signal.SIGKILL

    def close(self) -> None:
        """Kill it, and let go of its pipes."""
        self.kill()
        self.wait()
        for stream in (self.stdin, self.stdout, self._leash):
            with suppress(OSError):  # what was left to send
                stream.close()

    def _told(self) -> bytes:
        content = self._leash.recv(NUMBER.size)
        if len(content) != NUMBER.size:
            raise EOFError("the sandbox's server ended")
        return content


class _Server:
    """A fork server, and the socket by which it is asked. It ends when the socket is closed."""

    def __init__(self, runtime: str) -> None:
        # No secret of this process is in its environment, and none of its files is open there.
        given = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "LANG") if name in os.environ}
        root = str(Path(sscl.__file__).parent.parent)
        given |= {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/", "TORCHINDUCTOR_CACHE_DIR": "/"}
        self.owner = os.getpid()
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "sscl.sandbox.server", runtime, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=given,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self.end)

    def usable(self) -> bool:
        """Whether this process started it, and it runs."""
        return self.owner == os.getpid() and self.process.poll() is None

    def end(self) -> None:
        """Let it end; its workers are killed with it."""
        self.control.close()
        if self.owner == os.getpid():
            self.process.wait()


_lock = threading.Lock()
_running: dict[str, _Server] = {}


def forked(runtime: str, memory: int) -> Worker:
    """A new worker.

    Args:
        runtime: name of what opens the model.
        memory: bytes that it may use.

    Raises:
        OSError, EOFError: it could not be forked.
    """
    with _lock:
        if runtime not in _running or not _running[runtime].usable():
            _running[runtime] = _Server(runtime)
        server = _running[runtime]
    source, stdin = os.pipe()
    stdout, sink = os.pipe()
    leash, theirs = socket.socketpair()
    leash.settimeout(START_SECONDS)
    with theirs, os.fdopen(source, "rb"), os.fdopen(sink, "wb"), ExitStack() as stack:
        stack.enter_context(leash)
        streams = stack.enter_context(os.fdopen(stdin, "wb")), stack.enter_context(os.fdopen(stdout, "rb"))
        socket.send_fds(server.control, [REQUEST.pack(memory)], [source, sink, theirs.fileno()])
        worker = Worker(leash, *streams)
        stack.pop_all()
    return worker
