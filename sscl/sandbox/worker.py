"""The sandbox's own process: a fork that confines itself, then opens a model and answers until its input ends."""

from __future__ import annotations

import ctypes.util
import os
import tempfile
from typing import IO

import numpy as np

from sscl.sandbox.confine import confine
from sscl.sandbox.frames import BrokenError, receive, send
from sscl.sandbox.runtimes.base import RUNTIMES

NO_SANDBOX = "this machine cannot confine it: Linux 5.13 with Landlock and libseccomp is needed; serve it as an API"


def main(name: str, memory: int) -> None:
    """Answer on standard output; what libraries print goes to standard error.

    Args:
        name: of the runtime, whose module has been imported.
        memory: bytes that the model may use.
    """
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        confine(memory)
    except Exception as error:
        send(stream, {"error": f"{NO_SANDBOX} ({type(error).__name__}: {error})"})
        return
    tempfile.tempdir = "/nonexistent"  # libraries ask for its name; nothing can be written
    ctypes.util.find_library = lambda name: None  # it would start a compiler; who asks knows the usual name
    with os.fdopen(0, "rb") as source:
        _answer(name, source, stream)


def _answer(name: str, source: IO[bytes], stream: IO[bytes]) -> None:
    _, content = receive(source)
    try:
        model = RUNTIMES.registered(name).load(content)
        send(stream, {"shape": model.shape, "dtype": model.dtype})
        while True:
            try:
                header, sent = receive(source)
            except BrokenError:
                return
            images = np.frombuffer(sent, dtype=header["dtype"]).reshape(header["shape"])
            outputs = [(n, np.ascontiguousarray(value)) for n, value in model.run(images)]
            tables = [(n, v.astype(np.float64)) for n, v in outputs if v.ndim == 2 and v.dtype.kind in "fiub"][:16]
            others = [f"{n} {v.dtype} {v.shape}"[:100] for n, v in outputs if v.ndim != 2][:16]
            told = [{"name": n[:100], "shape": list(v.shape)} for n, v in tables]
            send(stream, {"outputs": told, "others": others}, b"".join(v.tobytes() for _, v in tables))
    except MemoryError:
        send(stream, {"error": "it needs more memory than it may have"})
    except BaseException as error:
        lines = (str(error).strip() or type(error).__name__).splitlines()
        send(stream, {"error": lines[-1][:300]})  # the first lines say where, the last says what
