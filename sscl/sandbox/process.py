"""The asking side: has a worker forked, sends it a model and images, and kills it when its time is up."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sscl.errors import printable
from sscl.sandbox.frames import BrokenError, receive, send
from sscl.sandbox.servers import forked

LARGEST_LENGTH = 4096  # of a dimension of a model's input
NOT_STARTED, ENDED, LATE = "its process could not be started", "its process ended", "it did not end within"
ANSWERS = 1 << 28  # bytes of one batch's answers, at most


class SandboxError(Exception):
    """The model could not be opened or did not answer; the message is one line, without control characters."""


class Sandbox:
    """One model in a process of its own.

    Args:
        runtime: name of what opens it.
        content: the file.
        seconds: how long opening it, and each batch, may take.
        memory: bytes that it may use.

    Attributes:
        shape, dtype: what the file says of its input.

    Raises:
        SandboxError: it cannot be opened, or this machine has no sandbox.
    """

    def __init__(self, runtime: str, content: bytes, seconds: float, memory: int) -> None:
        self._seconds = seconds
        try:
            self._worker = forked(runtime, memory)
        except (OSError, EOFError) as error:
            raise SandboxError(f"{NOT_STARTED} ({error})") from None
        self._end = weakref.finalize(self, self._worker.close)
        header, _ = self._exchange({}, content)
        self.shape, self.dtype = _declared(header)

    def run(self, images: np.ndarray) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
        """The outputs that are tables, float64 (N, K) by name, and what other outputs look like.

        Raises:
            SandboxError: the model failed, took too long, or answered with what is none.
        """
        header, payload = self._exchange({"shape": images.shape, "dtype": images.dtype.str}, images.tobytes())
        try:
            shapes = [(str(entry["name"]), tuple(map(int, entry["shape"]))) for entry in header["outputs"]]
            others = [printable(str(other)) for other in header["others"]]
            numbers, found, at = np.frombuffer(payload, dtype=np.float64), [], 0
            for name, shape in shapes:
                count = int(np.prod(shape))
                found.append((printable(name), numbers[at : at + count].reshape(shape)))
                at += count
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            raise SandboxError("it answers with what is no answer") from None
        return found, others

    def close(self) -> None:
        """End the process."""
        self._end()

    def _exchange(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        with self._watched() as timed_out:
            try:
                send(self._worker.stdin, header, payload)
                answer, content = receive(self._worker.stdout, ANSWERS)
            except (BrokenError, OSError) as error:
                self._worker.kill()
                if timed_out.is_set():
                    raise SandboxError(f"{LATE} {self._seconds:g} s") from None
                raise SandboxError(f"{ENDED} ({error})") from None
        if "error" in answer:
            self._worker.kill()
            raise SandboxError(printable(str(answer["error"])))
        return answer, content

    @contextmanager
    def _watched(self) -> Iterator[threading.Event]:
        timed_out = threading.Event()

        def end() -> None:
            timed_out.set()
            self._worker.kill()

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield timed_out
        finally:
            timer.cancel()


def _declared(header: dict[str, Any]) -> tuple[list[int | None] | None, str | None]:
    """What the model says of its input, if that can be."""
    shape, dtype = header.get("shape"), header.get("dtype")
    right = shape is None or (isinstance(shape, list) and len(shape) <= 8)
    if not right or not (dtype is None or isinstance(dtype, str)):
        raise SandboxError("it says of its input what cannot be")
    for length in shape or ():
        if length is not None and (type(length) is not int or not 0 <= length <= LARGEST_LENGTH):
            raise SandboxError(f"its input has a dimension of {printable(str(length), 30)}")
    return shape, dtype
