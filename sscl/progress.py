"""Progress of long steps: a rich bar on a terminal, and a JSON file for whoever watches from another process."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

WATCH = "SSCL_PROGRESS_FILE"
_settings = {"quiet": False}


def set_quiet(quiet: bool) -> None:
    """Turn the bars off (``--quiet``, ``--json``); they are off under CI and without a terminal anyway."""
    _settings["quiet"] = quiet


class Step:
    """One running step; call ``advance`` as units are done."""

    def __init__(self, label: str, total: int, unit: str, bar: Progress | None, watch: Path | None) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self._bar, self._watch = bar, watch
        self._started = time.monotonic()
        self._written = 0.0
        self._task = bar.add_task(label, total=total, rate="") if bar else None

    def advance(self, units: int = 1) -> None:
        self.done += units
        elapsed = max(time.monotonic() - self._started, 1e-6)
        rate = self.done / elapsed
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, rate=f"{rate:,.0f} {self.unit}/s")
        if self._watch and (elapsed - self._written > 0.5 or self.done >= self.total):
            self._written = elapsed
            state = {"label": self.label, "done": self.done, "total": self.total, "rate": rate, "unit": self.unit}
            with suppress(OSError):  # a full disk of temporary files ends no training
                _write(self._watch, state)


def _write(watch: Path, state: dict[str, Any]) -> None:
    temporary = watch.with_suffix(".tmp")
    temporary.write_text(json.dumps(state))
    temporary.replace(watch)


def failed(message: str, bad_input: bool, passing: bool = False) -> None:
    """Tell whoever watches why this command fails, and whether another try may help."""
    if watched := os.environ.get(WATCH):
        with suppress(OSError):
            _write(Path(watched), {"error": message, "bad_input": bad_input, "passing": passing})


@contextmanager
def step(label: str, total: int, unit: str = "images") -> Iterator[Step]:
    """A context in which ``advance`` shows progress with rate and time left.

    Args:
        label: what is being done, e.g. ``"train surrogate"``.
        total: how many units there are.
        unit: plural name of a unit.
    """
    watched = os.environ.get(WATCH)
    watch = Path(watched) if watched else None
    if _settings["quiet"] or os.environ.get("CI") or not sys.stderr.isatty():
        yield Step(label, total, unit, None, watch)
        return
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield Step(label, total, unit, bar, watch)
