"""Start commands by fork from a process that has already imported what they need.

Every stage of the pipeline is a process of its own: DVC starts it, a time limit can end it, a kill harms nothing else.
Importing PyTorch takes most of the time of a short one. So the first command that asks for it starts a server in the
background, which imports the libraries once; later commands have the server fork, and the child does the work with the
caller's arguments, folder, environment and terminal.

A server is shared only by commands that would inherit the same things if each had been started by itself: ``address``
lists them. It ends after ``IDLE_SECONDS`` without work. A caller that is killed takes its child with it.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import importlib
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

PACKAGE = Path(__file__).parent
SWITCH = "SSCL_FORKSERVER"  # "0": never; "1": also outside DVC
IDLE_SECONDS = 20.0
START_SECONDS = 120.0  # importing PyTorch took 30 on a busy machine; a server that fails is noticed at once
# Variables that differ from command to command and are read when they are used, not when a library is imported.
VOLATILE = {"DVC_ROOT", "DVC_STAGE", "SSCL_PROGRESS_FILE", "SSCL_PARENT", SWITCH, "PWD", "OLDPWD", "SHLVL", "_"}
IGNORED = ("AWS_", "PREFECT_", "PYTEST_")  # so do all variables that begin like this
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LARGEST = 1 << 22  # bytes of a request
KILLED = 128 + signal.SIGKILL  # the exit code that shells give a killed process


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether a command with this environment should be started by fork: those that DVC runs, unless switched off."""
    switch = environment.get(SWITCH, "")
    return sys.platform == "linux" and switch != "0" and (switch == "1" or "DVC_STAGE" in environment)


def address(preload: str, environment: Mapping[str, str]) -> Path:
    """Where the server listens whose children inherit what a child of this process with ``environment`` would.

    That is the interpreter, the code, the module to import, environment, CPU affinity, priority, limits, ignored
    signals, control group, session and namespaces. The folder belongs to this user alone.

    Raises:
        OSError: the folder is somebody else's.
    """
    folder = Path(tempfile.gettempdir()) / f"sscl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder}: not a folder of this user alone")
    inherited = {
        "executable": [sys.prefix, os.path.realpath(sys.executable)],  # `python` and `python3.11` are one
        "code": _code(),
        "preload": preload,
        "environment": {name: value for name, value in environment.items() if not _volatile(name)},
        "affinity": sorted(os.sched_getaffinity(0)),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "limits": [resource.getrlimit(number) for number in range(resource.RLIMIT_NOFILE + 3)],
        "session": os.getsid(0),
        "ignored": [number for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN],
        "groups": Path("/proc/self/cgroup").read_text(),
        "namespaces": sorted(os.readlink(entry) for entry in Path("/proc/self/ns").iterdir()),
    }
    name = hashlib.sha256(json.dumps(inherited, sort_keys=True).encode()).hexdigest()
    return folder / name[:16]  # a socket's path may have 107 bytes


def _volatile(name: str) -> bool:
    return name in VOLATILE or name.startswith(IGNORED)


def _code() -> list[list[Any]]:
    """Path, size and time of every module of ours: another code is another server."""
    found = []
    for folder, folders, files in os.walk(PACKAGE):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            status = os.stat(os.path.join(folder, name))
            found.append([os.path.join(folder, name), status.st_size, status.st_mtime_ns])
    return found


def run(entry: str, arguments: Sequence[str], preload: str) -> int | None:
    """Have ``entry`` run with ``arguments`` in a fork of the server, which is started if there is none.

    Args:
        entry: ``package.module:function``, called without arguments; its ``SystemExit`` is the exit code.
        arguments: ``sys.argv`` of the child.
        preload: the module that the server imports first; it imports what commands need.

    Returns:
        The exit code, ``KILLED`` if the child was; ``None`` if no server could be reached: the caller does the work
        itself.
    """
    request = {"entry": entry, "argv": list(arguments), "cwd": os.getcwd(), "environment": dict(os.environ)}
    content = json.dumps(request).encode()
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        connection = _connected(address(preload, os.environ), preload)
    except OSError:
        return None
    if connection is None:
        return None
    with connection:
        try:
            socket.send_fds(connection, [struct.pack("!II", len(content), mask)], [0, 1, 2])
            connection.sendall(content)
        except OSError:
            return None
        return _wait(connection)


def start(preload: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the server for commands with this environment; it ends at once if there is one.

    It runs in the background, where this process's input, output and terminal signals do not reach it.
    """
    command = [sys.executable, "-m", "sscl.forkserver", str(address(preload, environment)), preload]
    quiet: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen(command, env=dict(environment), cwd=PACKAGE.parent, process_group=0, **quiet)


def _connected(place: Path, preload: str) -> socket.socket | None:
    """A connection to the server, which is started where there is none; ``None`` if it does not come up."""
    started: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(place))
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
        started = started or start(preload, os.environ)
        ended = started.poll()
        if ended:
            return None
        if ended == 0:  # another was there or is starting; it may yet fail
            started = None
        time.sleep(0.02 if started else 0.5)
    return None


def _wait(connection: socket.socket) -> int | None:
    """The child's exit code; signals go on to the child."""
    accepted, ended = False, KILLED

    def forward(number: int, _: object) -> None:
        nonlocal ended
        ended = 128 + number
        with suppress(OSError):
            connection.send(bytes([number]))

    previous = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        while answer := connection.recv(1):
            if accepted:
                return answer[0]
            accepted = True
    except OSError:
        pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return ended if accepted else None


def serve(place: Path, preload: str) -> None:
    """Import ``preload``, then fork for whoever connects, until nothing was to do for ``IDLE_SECONDS``.

    Raises:
        RuntimeError: the code was changed meanwhile.
    """
    held = place.with_suffix(".lock")
    with open(held, "w") as lock, suppress(FileNotFoundError):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another is there, or is starting
        environment = dict(os.environ)  # some libraries add to it
        importlib.import_module(preload)
        gc.collect()
        gc.freeze()  # what is loaded stays: a fork's garbage collector does not go through it, nor copy its pages
        if address(preload, environment) != place:
            raise RuntimeError("what was imported may be the code of before or of after a change")
        place.unlink(missing_ok=True)  # left by a server that was killed
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
            listener.listen(16)
            try:
                _loop(listener, lock)
            finally:
                place.unlink()
                held.unlink()


def _loop(listener: socket.socket, lock: IO[str]) -> None:
    children: set[int] = set()
    idle_since = time.monotonic()
    while children or time.monotonic() - idle_since < IDLE_SECONDS:
        ready, _, _ = select.select([listener], [], [], 1.0)
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)
                idle_since = time.monotonic()
        if ready:
            connection, _ = listener.accept()
            with connection:
                children.add(_fork(connection, listener, lock))


def _fork(connection: socket.socket, listener: socket.socket, lock: IO[str]) -> int:
    """The child's process id; the child itself never returns. The lock is the server's: it ends with it."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        listener.close()
        lock.close()
        code = _work(connection)
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        with suppress(OSError):
            connection.send(bytes([code & 0xFF]))
        os._exit(code & 0xFF)


def _work(connection: socket.socket) -> int:
    """Become what was asked for: arguments, folder, environment, input and output of the caller."""
    header, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    size, mask = struct.unpack("!II", header)
    if size > LARGEST or len(descriptors) != 3:
        return 1
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            return 1
        content += part
    request = json.loads(content)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.umask(mask)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    connection.send(b"\0")
    threading.Thread(target=_listen, args=(connection,), daemon=True).start()
    module, _, function = request["entry"].partition(":")
    try:
        getattr(importlib.import_module(module), function)()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()  # as the interpreter would; this process ends without it
        return 1
    return 0


def _listen(connection: socket.socket) -> None:
    """Signals that the caller was sent; when the caller is gone, so is this process."""
    with suppress(OSError):
        while number := connection.recv(1):
            os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
