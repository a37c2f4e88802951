"""This process's fork servers, one a runtime: started when first needed, ended with this process."""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path

import sscl
from sscl.sandbox.server import NO_SANDBOX, REQUEST

START_SECONDS = 60.0  # for a server to import its libraries, on a busy machine
END_SECONDS = 10.0  # for a killed worker to be gone


class Worker:
    """A process of its own: what it reads and writes, and a descriptor by which it is held.

    Attributes:
        stdin, stdout: the pipes.
        process: the pidfd.
    """

    def __init__(self, process: int, stdin: BufferedWriter, stdout: BufferedReader) -> None:
        self.process, self.stdin, self.stdout = process, stdin, stdout
        self._owner = os.getpid()

    def kill(self) -> None:
        """Have it killed; nothing happens if it ended."""
        with suppress(OSError):
            signal.pidfd_send_signal(self.process, signal.SIGKILL)

    def close(self) -> None:
        """Kill it, and let go of it. A fork of who asked only lets go."""
        if self._owner == os.getpid():
            self.kill()
            ended = select.poll()
            ended.register(self.process, select.POLLIN)
            ended.poll(END_SECONDS * 1000)
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):  # what was left to send
                (stream if self._owner == os.getpid() else stream.raw).close()  # a thread may have held its lock
        process, self.process = self.process, -1
        os.close(process)


class _Server:
    """A fork server, and the socket by which it is asked. It ends when the socket is closed."""

    def __init__(self, runtime: str) -> None:
        # No secret of this process is in its environment, and none of its files is open there.
        given = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "LANG") if name in os.environ}
        root = str(Path(sscl.__file__).parent.parent)
        given |= {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
        given |= {"TORCHINDUCTOR_CACHE_DIR": "/"}  # a folder that is there, and that nothing can be written to
        given |= {"ORT_DISABLE_TELEMETRY": "1"}
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

    def fork(self, memory: int) -> Worker:
        """A new worker.

        Raises:
            OSError: it could not be started; ``EOFError``, ``ConnectionError``: the server has ended.
        """
        with ExitStack() as kept, ExitStack() as passed:
            source, stdin = _pipe(passed, kept)
            stdout, sink = _pipe(kept, passed)
            errors = passed.enter_context(open(os.devnull, "wb", buffering=0))
            answer, theirs = socket.socketpair()
            passed.enter_context(theirs)
            with answer:
                answer.settimeout(START_SECONDS)
                files = [source.fileno(), sink.fileno(), errors.fileno(), theirs.fileno()]
                socket.send_fds(self.control, [REQUEST.pack(memory)], files)
                passed.close()  # else a server that ended would still seem to hold them
                answered, processes, _, _ = socket.recv_fds(answer, 1, 1)
            if not answered:
                raise EOFError("its server ended")
            if not processes:
                raise OSError("no memory or process is left")
            os.set_inheritable(processes[0], False)
            kept.pop_all()
            return Worker(processes[0], stdin, stdout)

    def end(self) -> None:
        """End it at once; its workers are killed with it."""
        self.control.close()
        self.process.kill()
        self.process.wait()


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[BufferedReader, BufferedWriter]:
    reader, writer = os.pipe()
    source, sink = os.fdopen(reader, "rb"), os.fdopen(writer, "wb")
    reading.enter_context(source)
    writing.enter_context(sink)
    return source, sink


_lock = threading.Lock()
_running: dict[str, _Server] = {}


def forked(runtime: str, memory: int) -> Worker:
    """A new worker.

    Args:
        runtime: name of what opens the model.
        memory: bytes that it may use.

    Raises:
        OSError, EOFError: it could not be started.
    """
    if sys.platform != "linux":
        raise OSError(NO_SANDBOX)
    with _lock:
        if runtime in _running:
            with suppress(EOFError, ConnectionError):
                return _running[runtime].fork(memory)
            _running.pop(runtime).end()
        _running[runtime] = _Server(runtime)
        return _running[runtime].fork(memory)


@atexit.register
def _end() -> None:
    while _running:
        _running.popitem()[1].end()


def _forget() -> None:
    """A fork of this process has servers of its own; these end when this process lets go of them."""
    global _lock
    _lock = threading.Lock()
    for server in _running.values():
        server.control.close()
        server.process.returncode = 0  # not a child of the fork: nothing is waited for
    _running.clear()


os.register_at_fork(after_in_child=_forget)
