"""What a flow shows on the terminal: one line a stage, as it ends; on a terminal also how far the running one is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.status import Status

NAME_WIDTH = 32


@dataclass
class Lines:
    """Lines for people; silent until ``shown`` turns it on, as in a deployment, whose log is Prefect's."""

    console: Console | None = None
    _status: Status | None = field(default=None, init=False)

    def say(self, text: str) -> None:
        """A line."""
        if self.console:
            self.console.print(text, highlight=False, markup=False)

    def running(self, name: str, state: str = "") -> None:
        """Replace what is shown of the stage under way; only on a terminal."""
        if self.console and self.console.is_terminal:
            if self._status is None:
                self._status = self.console.status("")
                self._status.start()
            self._status.update(f"{name:<{NAME_WIDTH}} {state}")

    def stop(self) -> None:
        """Show nothing of a running stage any more."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def ended(self, name: str, outcome: str) -> None:
        """The stage's line: seconds, or that there was nothing to do."""
        self.stop()
        self.say(f"{name:<{NAME_WIDTH}} {outcome:>12}")


LINES = Lines()


@contextmanager
def shown(debug: bool) -> Iterator[Lines]:
    """Show lines on standard error instead of Prefect's log, which stays complete in Prefect; with ``debug`` both."""
    LINES.console = Console(stderr=True, soft_wrap=True)
    handlers = (
        [] if debug else [handler for handler in _handlers() if type(handler).__name__ == "PrefectConsoleHandler"]
    )
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.ERROR)
    try:
        yield LINES
    finally:
        LINES.stop()  # a stage that failed did not end
        LINES.console = None
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


def _handlers() -> list[Any]:
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    return [handler for logger in loggers for handler in logger.handlers]
