"""Several requests at a time, and a way to end them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import httpx

T = TypeVar("T")
STEP = 0.1  # seconds after which a request notices that all are to end


def together(
    pool: ThreadPoolExecutor, works: Sequence[Callable[[], T]], passing: type[Exception], stop: threading.Event
) -> list[T | Exception]:
    """What each of ``works`` returns or raises, in order; they run at the same time.

    Args:
        pool: has a thread for each.
        works: raise ``passing`` for what is worth another try.
        passing: any other error sets ``stop``.
        stop: tells the others that nobody waits for them any more.
    """
    started = [pool.submit(work) for work in works]
    waiting: set[Future[T]] = set(started)
    while waiting:
        ended, waiting = wait(waiting, return_when=FIRST_EXCEPTION)
        if any(not isinstance(future.exception(), passing | None) for future in ended):
            stop.set()
    return [future.exception() or future.result() for future in started]  # type: ignore[misc]


def in_time(seconds: float, work: Callable[[], T], stop: threading.Event) -> T:
    """What ``work`` returns or raises, if it ends in time; headers that never end are bounded by nothing else.

    Raises:
        httpx.ReadTimeout: it does not, or ``stop`` was set. Its thread is left alone.
    """
    found: list[T | Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    end = time.monotonic() + seconds
    while thread.is_alive() and not stop.is_set() and (left := end - time.monotonic()) > 0:
        thread.join(min(STEP, left))
    if not found:
        raise httpx.ReadTimeout("the reply did not end in time")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]
