"""A worker of the sandbox: opens a model, and answers until its input ends. It is confined before it reads anything."""

from __future__ import annotations

import os
from typing import IO

import numpy as np

from sscl.sandbox.frames import BrokenError, receive, send
from sscl.sandbox.runtimes.base import RUNTIMES


def main(name: str) -> None:
    """Answer on standard output; what libraries print goes to standard error.

    Args:
        name: of the runtime, whose module has been imported.
    """
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        with os.fdopen(0, "rb", closefd=False) as source:
            _answer(name, source, stream)
    except MemoryError:
        send(stream, {"error": "it needs more memory than it may have"})
    except BaseException as error:
        lines = (str(error).strip() or type(error).__name__).splitlines()
        send(stream, {"error": lines[-1][:300]})  # the first lines say where, the last says what


def _answer(name: str, source: IO[bytes], stream: IO[bytes]) -> None:
    _, content = receive(source)
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
