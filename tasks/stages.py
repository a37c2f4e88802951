"""One Prefect task for every stage: its cache key is DVC's, its retries are for what passes by itself."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import Task, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from sscl.stages.table import STAGES
from tasks.console import LINES
from tasks.pipeline import Pipeline
from tasks.retries import STAGE, TIMEOUT_SECONDS


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    return Pipeline(Path(parameters["root"])).key(parameters["name"])


def stage_task(name: str, root: Path) -> Task[..., dict[str, Any]]:
    """The task of one stage, ready to be called or submitted with ``(name, root)``.

    Cached only while the outputs are there: a hit must not vouch for files that are gone. DVC's lock turns away a
    second run of the same stage, which is tried again for some minutes. A lock of Prefect's would outlive a killed run.
    """
    stage = STAGES[name]
    return run_stage.with_options(
        name=name,
        tags=["gpu"] if stage.gpu else [],
        cache_policy=CacheKeyFnPolicy(cache_key_fn=_key),
        refresh_cache=not Pipeline(root).is_current(name),
    )


@task(
    **STAGE,
    persist_result=True,
    result_serializer="json",
    cache_expiration=timedelta(days=365),
)
def run_stage(name: str, root: str) -> dict[str, Any]:
    """Have DVC reproduce one stage; shows progress as an artifact; returns hashes of what it made, never the data."""
    logger = get_run_logger()
    pipeline = Pipeline(Path(root))
    progress = _Progress(name)
    started = time.monotonic()
    LINES.running(name)
    if not pipeline.is_current(name):
        timeout = TIMEOUT_SECONDS[STAGES[name].gpu]
        for line in pipeline.reproduce(name, timeout, progress.update).splitlines():
            logger.debug(line)
        LINES.ended(name, f"{time.monotonic() - started:.1f} s")
    progress.finish()
    return pipeline.manifest(name)


EVERY_SECONDS = 5.0  # between two updates of a progress artifact


class _Progress:
    """The stage's running step as a Prefect progress artifact."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._key = "progress-" + re.sub(r"[^a-z0-9]+", "-", name.lower())
        self._artifact = cast(UUID, create_progress_artifact(0.0, key=self._key, description=name))
        self._logged, self._next = 0, 0.0

    def update(self, state: dict[str, Any]) -> None:
        share = 100 * state["done"] / max(1, state["total"])
        text = f"{state['label']}: {share:.0f} %, {state['rate']:,.0f} {state['unit']}/s"
        if time.monotonic() > self._next:
            self._next = time.monotonic() + EVERY_SECONDS
            self._show(share, text)
        LINES.running(self._name, text)
        if int(share) // 25 > self._logged:
            self._logged = int(share) // 25
            get_run_logger().info(text)

    def finish(self) -> None:
        self._show(100.0, None)

    def _show(self, share: float, text: str | None) -> None:
        """A server that is away for a moment ends no training."""
        with suppress(Exception):
            update_progress_artifact(self._artifact, share, description=text)
