"""How tasks are tried again, and how long they may take."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff

from sscl.errors import BudgetError, InputError, SSCLError, SuspectError, may_pass
from sscl.release.errors import GateError, TakenError
from tasks.pipeline import BusyError

TIMEOUT_SECONDS = {True: 48 * 3600, False: 4 * 3600}  # by Stage.gpu: a hung stage must not hold its slot for ever


def _passes_by_itself(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """A busy or silent server may answer later; bad input, a wrong answer, a spent budget, a fault of ours stay."""
    error, stays = (
        state.result(raise_on_failure=False),
        InputError | GateError | TakenError | SuspectError | BudgetError,
    )
    passes = isinstance(error, SSCLError) or (isinstance(error, BaseException) and may_pass(error))
    return passes and not isinstance(error, stays)


def busy_or_io(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """A busy lock or an I/O error may pass; bad input, a failed training and a time limit would fail again."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, TaskRunTimeoutError):  # an OSError
        return False
    return isinstance(error, BusyError) or (isinstance(error, BaseException) and may_pass(error))


STAGE: dict[str, Any] = {
    "retries": 8,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": busy_or_io,
}
PATIENT: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=30),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _passes_by_itself,
}
