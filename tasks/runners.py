"""Prefect's task runners by one parameter: threads here, or Dask's or Ray's workers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Annotated, Any

import typer
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner

from sscl.errors import ConfigError

RUNNERS: dict[
    str, tuple[str, str, Callable[[int], dict[str, Any]]]
] = {  # parameter -> module and class, and how it is told the number of workers here
    "thread": ("prefect.task_runners", "ThreadPoolTaskRunner", lambda n: {"max_workers": n}),
    "dask": (
        "prefect_dask",
        "DaskTaskRunner",
        lambda n: {"cluster_kwargs": {"n_workers": n, "threads_per_worker": 1, "dashboard_address": ":0"}},
    ),
    "ray": ("prefect_ray", "RayTaskRunner", lambda n: {"init_kwargs": {"num_cpus": n, "include_dashboard": False}}),
}
Runner = Annotated[str, typer.Option("--runner", help="thread, dask or ray.")]
Workers = Annotated[int, typer.Option(help="Tasks at a time, on this machine.", min=1)]
Address = Annotated[str | None, typer.Option(help="Of an existing Dask or Ray cluster, instead of workers here.")]


def require_server(why: str) -> None:
    """Raises ``ConfigError`` that begins with ``why`` if no server is named; a temporary one would not do."""
    if PREFECT_API_URL.value() is None:
        raise ConfigError(f"{why}; `prefect server start`, then export PREFECT_API_URL=http://127.0.0.1:4200/api")


def require_answer() -> None:
    """Raises ``ConfigError`` if a server is named and does not answer."""
    if PREFECT_API_URL.value() is None:
        return
    try:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
    except Exception as wrong:  # an address that is none
        error = wrong
    if error is not None:
        remedy = "`prefect server start`, or unset it: a flow then starts a temporary server"
        raise ConfigError(f"PREFECT_API_URL: {PREFECT_API_URL.value()} does not answer ({error}); {remedy}") from None


def runner(name: str, workers: int, address: str | None = None) -> TaskRunner[Any]:
    """A task runner by its parameter.

    Args:
        name: ``thread``, ``dask`` or ``ray``.
        workers: how many to start on this machine.
        address: of a cluster instead, e.g. ``tcp://scheduler:8786`` or ``ray://head:10001``.

    Raises:
        ConfigError: an unknown name, its extra is not installed, or its workers would have no server to report to.
    """
    if name not in RUNNERS:
        raise ConfigError(f"runner: {name!r} does not exist, choose one of {', '.join(RUNNERS)}")
    if name != "thread":
        require_server(f"runner: {name} needs a Prefect server that its workers reach")
    if name == "thread" and address:
        raise ConfigError(f"address: {address!r} needs --runner dask or ray")
    module, kind, arguments = RUNNERS[name]
    given: dict[str, Any] = {"address": address} if address else arguments(workers)
    try:
        found: Callable[..., TaskRunner[Any]] = getattr(importlib.import_module(module), kind)
    except ImportError:
        raise ConfigError(f"runner: {name} is not installed; pip install -c constraints.txt -e '.[{name}]'") from None
    return found(**given)
