"""Faults that pass by themselves, and how long to wait for that."""

from __future__ import annotations

import json

import httpx
import tenacity

LONGEST_WAIT = 60.0


class TransientError(Exception):
    """Worth another try, after ``wait`` seconds if the server said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def passes(body: str) -> bool:
    """Whether a reply with status 200 is cut off, or says that something failed: worth another try."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return True
    return isinstance(document, dict) and bool({"error", "errors", "detail", "message"} & set(document))


_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def waiting(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try: what the server said, else more after each."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, TransientError) and error.wait is not None:
        return min(error.wait, LONGEST_WAIT)
    return _backoff(state)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks for."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
