"""The only place that knows DVC's insides: is a stage current, what is its key, and reproduce it.

DVC keeps the one cache; Prefect's task cache is keyed by DVC's own key, so both drivers agree on what is done.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.stage.cache import _get_stage_hash

from sscl import forkserver
from sscl.__main__ import PRELOAD
from sscl.errors import InputError, SSCLError
from sscl.progress import WATCH

POLL_SECONDS = 1.0
LOCK_SECONDS = 60.0


class BusyError(SSCLError):
    """Another process works on the same stage; worth another try."""


class Pipeline:
    """The DVC pipeline of one checkout.

    Args:
        root: the folder of ``dvc.yaml``.

    Raises:
        InputError: there is no DVC pipeline.
    """

    def __init__(self, root: Path) -> None:
        if not (root / "dvc.yaml").is_file() or not (root / ".dvc").is_dir():
            raise InputError(f"{root.resolve()}: no DVC pipeline here; run the flow from the checkout's folder")
        self.root = root.resolve()
        in_git = any((folder / ".git").exists() for folder in (self.root, *self.root.parents))
        if not in_git and "no_scm" not in (self.root / ".dvc/config").read_text():
            raise InputError(
                f"{self.root}: no git repository, which DVC wants; `git init`, or `dvc config core.no_scm true`"
            )

    def key(self, name: str) -> str:
        """Digest of the stage's command, dependencies and parameters as DVC would lock them now.

        Raises:
            InputError: a dependency is missing: run the stages before it first.
        """
        with self._locked() as repo:
            stage = repo.stage.load_one(str(self.root / "dvc.yaml"), name)
            missing = [dep.def_path for dep in stage.deps if not dep.exists]
            if missing:
                raise InputError(f"{missing[0]}: missing, stage {name!r} needs it; run the stages before it first")
            stage.save_deps()
            digest: str = _get_stage_hash(stage)
            return digest

    def is_current(self, name: str) -> bool:
        """Whether DVC would skip the stage: outputs unchanged; command, dependencies and parameters as locked."""
        with self._locked() as repo:
            stage = repo.stage.load_one(str(self.root / "dvc.yaml"), name)
            return not stage.status()

    def manifest(self, name: str) -> dict[str, Any]:
        """What the stage made, by path: content hash and size. Small and free of secrets."""
        with self._locked() as repo:
            stage = repo.stage.load_one(str(self.root / "dvc.yaml"), name)
            outs = {o.def_path: {"md5": o.hash_info.value, "size": o.meta.size} for o in stage.outs}
            return {"stage": name, "outs": outs}

    def reproduce(self, name: str, timeout: float, on_progress: Callable[[dict[str, Any]], None] | None = None) -> str:
        """Have DVC bring the stage up to date (from its caches if it can); returns the last lines that were printed.

        A process of its own, because Prefect cannot stop a thread: after ``timeout`` seconds it is ended.

        Raises:
            BusyError: DVC's lock is taken.
            InputError, SSCLError: the stage failed, with the stage's own message.
        """
        with tempfile.TemporaryDirectory() as folder:
            watch = Path(folder) / "progress.json"
            log = Path(folder) / "log.txt"
            with log.open("wb") as file:
                process = subprocess.Popen(
                    [sys.executable, "-m", "dvc", "repro", "--single-item", name],
                    cwd=self.root,
                    env=self._environment(watch),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    process_group=0,  # what DVC starts ends with it
                )
                try:
                    _follow(process, watch, time.monotonic() + timeout, on_progress)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGTERM)
                        process.wait(timeout=30)
            printed = log.read_text(errors="replace")
        if process.returncode != 0:
            raise _failure(name, printed)
        return "\n".join(printed.splitlines()[-5:])

    @contextmanager
    def _locked(self) -> Iterator[Repo]:
        """DVC's repository with its lock held, which others hold for moments only."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            with Repo(str(self.root)) as repo, ExitStack() as stack:
                try:
                    stack.enter_context(lock_repo(repo))
                except LockError:
                    if time.monotonic() > deadline:
                        raise BusyError("DVC's lock is taken; is another run at work?") from None
                    continue
                yield repo
                return

    def warm_up(self) -> None:
        """Begin to load what stages import, while something else is waited for."""
        environment = self._environment(self.root)
        if forkserver.wanted({**environment, "DVC_STAGE": ""}):
            with suppress(OSError):
                forkserver.start(PRELOAD, environment)

    def _environment(self, watch: Path) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, "PATH": path, WATCH: str(watch), "DVC_NO_ANALYTICS": "1"}


def _follow(
    process: subprocess.Popen[bytes],
    watch: Path,
    deadline: float,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> None:
    seen = None
    while True:
        try:
            process.wait(timeout=POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise SSCLError(
                    "the stage ran into its time limit and was ended; run the flow again to resume"
                ) from None
        if on_progress and watch.is_file():
            text = watch.read_text()
            if text != seen:
                seen = text
                on_progress(json.loads(text))


def _failure(name: str, printed: str) -> SSCLError:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    if re.search(r"is busy|Unable to acquire lock|is currently used", printed):
        return BusyError(f"{name}: DVC is busy with another process")
    message = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "no output")
    kind = InputError if "exited with 2" in printed else SSCLError
    return kind(f"{name}: {message.removeprefix('error: ').removeprefix('ERROR: ')}")
