"""The fork server of one runtime: confined, it imports the libraries once, and forks a worker for every model.

Importing PyTorch takes seconds, and the images of every mark go to a worker of their own. The server reads no model,
and learns nothing of its workers, not even how they ended: through it, one could tell the next what it saw. It lives as
long as its control socket is open.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import struct
import sys
from contextlib import suppress

from sscl.sandbox.confine import confine, confine_more
from sscl.sandbox.frames import receive, send

REQUEST = struct.Struct(
    "!q"
)  # bytes of memory; comes with descriptors: input, output, errors, and a socket to answer on
NO_SANDBOX = "this machine cannot confine it: Linux 5.13 with Landlock and libseccomp is needed; serve it as an API"


def serve(name: str, control: socket.socket) -> None:
    """Fork a worker for every request, until the control socket is closed; answer with a descriptor of the process."""
    missing = ""
    try:
        confine()
    except Exception as error:
        missing = _refusal(error)
    else:
        prepare(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets a worker that ended
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 4)
        if len(message) != REQUEST.size or len(descriptors) != 4:
            return
        with _socket(descriptors.pop()) as answer, suppress(OSError):  # nobody may wait any more
            try:
                pid = os.fork()
            except OSError:
                answer.send(b"\0")
            else:
                if not pid:
                    _become(name, REQUEST.unpack(message)[0], descriptors, missing)
                process = os.pidfd_open(pid)
                try:
                    socket.send_fds(answer, [b"\0"], [process])
                finally:
                    os.close(process)
        for descriptor in descriptors:
            os.close(descriptor)


def _socket(descriptor: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)


def _refusal(error: Exception) -> str:
    return f"{NO_SANDBOX} ({type(error).__name__}: {error})"


def prepare(name: str) -> None:
    """Import what workers of a runtime need."""
    import ctypes.util
    import tempfile

    tempfile.tempdir = "/nonexistent"  # libraries ask for its name; nothing can be written
    ctypes.util.find_library = lambda name: None  # it would start a compiler; who asks knows the usual name
    # One file, not the whole registry: the other runtimes' libraries would cost seconds.
    importlib.import_module(f"sscl.sandbox.runtimes.{name}")
    importlib.import_module("sscl.sandbox.worker")
    from sscl.sandbox.runtimes.base import RUNTIMES

    for library in RUNTIMES.registered(name).libraries:
        with suppress(Exception, SystemExit):  # the worker says what is wrong
            importlib.import_module(library)


def _become(name: str, memory: int, descriptors: list[int], missing: str) -> None:
    """Be the worker, which has nothing of the server's but its memory; never returns."""
    code = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not missing:
            try:
                confine_more(memory)
            except Exception as error:
                missing = _refusal(error)
        if missing:
            with os.fdopen(0, "rb") as source, os.fdopen(1, "wb") as stream:
                receive(source)
                send(stream, {"error": missing})
        else:
            from sscl.sandbox.worker import main

            main(name)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1], _socket(int(sys.argv[2])))
