"""The fork server of one runtime: it imports the runtime's libraries once, and forks a worker for every model.

Importing PyTorch takes seconds, and the images of every mark go to a worker of their own. The server holds no secret,
reads no model, and lives as long as its control socket is open.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress

from sscl.sandbox.runtimes.base import RUNTIMES
from sscl.sandbox.worker import main

REQUEST = struct.Struct("!q")  # bytes of memory; comes with three descriptors: input, output and leash
NUMBER = struct.Struct("!i")  # told on the leash: the worker's process id, then its exit code
INTERVAL = 0.05  # seconds between two looks at whether a worker ended


def serve(name: str, control: socket.socket) -> None:
    """Fork a worker for every request, until the control socket is closed.

    A worker is killed when its leash is: when a byte comes, or its other end is closed.
    """
    importlib.import_module(f"sscl.sandbox.runtimes.{name}")
    for library in ("landlock", "pyseccomp", *RUNTIMES.registered(name).libraries):
        with suppress(ImportError):  # what is missing is said by the worker
            importlib.import_module(library)
    gc.collect()
    gc.freeze()
    workers: dict[socket.socket, int] = {}
    while True:
        ready, _, _ = select.select([control, *workers], [], [], INTERVAL if workers else None)
        for leash, pid in list(workers.items()):
            if killed := leash in ready:
                os.kill(pid, signal.SIGKILL)
            if (ended := os.waitpid(pid, 0 if killed else os.WNOHANG))[0]:
                _tell(leash, os.waitstatus_to_exitcode(ended[1]))
                del workers[leash]
                leash.close()
        if control in ready:
            message, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 3)
            if not message:
                return
            (memory,) = REQUEST.unpack(message)
            leash = socket.socket(fileno=descriptors[2])
            pid = os.fork()
            if not pid:
                _become(name, memory, descriptors, (control, leash, *workers))
            for descriptor in descriptors[:2]:
                os.close(descriptor)
            workers[leash] = pid
            _tell(leash, pid)


def _tell(leash: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody listens any more
        leash.send(NUMBER.pack(number))


def _become(name: str, memory: int, descriptors: list[int], others: tuple[socket.socket, ...]) -> None:
    """Be the worker, which has its input and output and nothing else of the server's; never returns."""
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors[:2]):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for other in others:
            other.close()
        main(name, memory)
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
