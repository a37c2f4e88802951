"""How tasks that talk to somebody else's server are tried again."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from sscl.errors import InputError
from sscl.release.errors import GateError, TakenError


def _passes_by_itself(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """A busy or silent server may answer later; bad input, a failed gate and a taken version stay."""
    return not isinstance(state.result(raise_on_failure=False), InputError | GateError | TakenError)


PATIENT: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=30),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _passes_by_itself,
}
