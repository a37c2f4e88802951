"""A stage that a flow started ends when the flow is killed, instead of training on with nobody waiting."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

PARENT = "SSCL_PARENT"  # process whose end ends this one
POLL_SECONDS = 2.0


def end_with_parent() -> None:
    """Watch the process that ``$SSCL_PARENT`` names, if any, from a thread; checkpoints make the work resumable."""
    named = os.environ.get(PARENT, "")
    if named.isdigit():
        began = _began(int(named))
        threading.Thread(target=_watch, args=(int(named), began), daemon=True).start()


def _watch(process: int, began: str | None) -> None:
    while began is not None and _began(process) == began:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _began(process: int) -> str | None:
    """When a process began, in ticks since the machine's start: another one of the same number began later."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
