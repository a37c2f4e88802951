"""What DVC does for flows: is a stage current, what is its key, and reproduce it.

A stage's key is the library's own content key, so Prefect's task cache, DVC's and the library's agree on what is done.
Of DVC, what it documents is used: ``dvc.lock``, ``dvc status --json`` and ``dvc repro``.
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from sscl import forkserver
from sscl.__main__ import PRELOAD
from sscl.artifacts import digest, key_of, read_json, write_json
from sscl.errors import InputError, SSCLError
from sscl.layout import CODE, Root
from sscl.orphans import PARENT
from sscl.params import document, load
from sscl.progress import WATCH
from sscl.provenance import code_digest
from sscl.runner import slot_of
from sscl.slots import Slot
from sscl.stages.table import STAGES
from tasks.results import OUT

DVC = (sys.executable, "-m", "dvc")
POLL_SECONDS = 1.0


class BusyError(SSCLError):
    """Another process works on the same stage, or the disk or network failed it; worth another try."""


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
        """The stage's content key: parameters, digests of its inputs, and its code, as they are now.

        Raises:
            InputError: an input is missing: run the stages before it first.
        """
        return self._slot(name).key

    def _slot(self, name: str) -> Slot:
        return slot_of(STAGES[name], load(self.root / "params.yaml"), self.root / OUT, self.root)

    def is_current(self, name: str) -> bool:
        """Whether DVC would skip the stage: its outputs are there, unchanged, and what ``dvc.lock`` has was made
        from what is here now."""
        with suppress(InputError):
            slot = self._slot(name)
            if self._state(name, slot.key) == self._noted(name):
                return True
            return (slot.manifest() or {}).get("key") == slot.key and self._agrees(name)
        return False

    def _state(self, name: str, key: str) -> dict[str, Any]:
        """What decides whether the stage, whose content key is ``key``, is current.

        Raises:
            InputError: an input, an output or DVC's entry is missing.
        """
        outputs = {path: digest(self.root / OUT / path) for path in STAGES[name].outputs.values()}
        return {"key": key, "outputs": outputs, "locked": key_of(entry=self._locked(name))}

    def _noted(self, name: str) -> dict[str, Any] | None:
        """The state in which DVC last found the stage up to date."""
        with suppress(InputError):
            found: dict[str, Any] = read_json(self._note(name))
            return found
        return None

    def _note(self, name: str) -> Path:
        return Root(self.root / OUT).state / "dvc" / f"{name}.json"

    def _agrees(self, name: str) -> bool:
        """Whether DVC finds the stage up to date, as after a ``dvc repro`` by hand; noted for every stage at once."""
        given = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            [*DVC, "status", "--json"], cwd=self.root, env=given, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return False
        changed = json.loads(done.stdout)
        for stage in STAGES:
            if stage not in changed:
                with suppress(InputError):
                    self._remember(stage)
        return name not in changed

    def _remember(self, name: str) -> None:
        """Note the state, if the outputs were made under the stage's present key: DVC does not see an edit of its code
        before the stage ``code`` has run again."""
        slot = self._slot(name)
        if (slot.manifest() or {}).get("key") == slot.key:
            self._note(name).parent.mkdir(parents=True, exist_ok=True)
            write_json(self._note(name), self._state(name, slot.key))

    def _locked(self, name: str) -> dict[str, Any]:
        """The stage's entry of ``dvc.lock``.

        Raises:
            InputError: there is none.
        """
        path = self.root / "dvc.lock"
        try:
            found: dict[str, Any] = document(path.read_bytes())["stages"][name]
        except (OSError, yaml.YAMLError, TypeError, KeyError):
            raise InputError(f"{path}: says nothing about stage {name!r}; run it first") from None
        return found

    def manifest(self, name: str) -> dict[str, Any]:
        """What the stage made, by path: content hash and size. Small and free of secrets."""
        outs = {out["path"]: {"md5": out["md5"], "size": out["size"]} for out in self._locked(name)["outs"]}
        return {"stage": name, "outs": outs}

    def reproduce(self, name: str, timeout: float, on_progress: Callable[[dict[str, Any]], None] | None = None) -> str:
        """Have DVC bring the stage up to date (from its caches if it can); returns the last lines that were printed.

        A process of its own, because Prefect cannot stop a thread: after ``timeout`` seconds it is ended.

        Raises:
            BusyError: DVC's lock is taken.
            InputError, SSCLError: the stage failed, with the stage's own message.
        """
        printed = self._repro(name, [*self._stale_code(name), name], timeout, on_progress)
        if self._is_stale(name):  # source images, the content of a key, a time stamp: DVC does not see these
            printed = self._repro(name, ["--force", name], timeout, on_progress)
        self._remember(name)
        return "\n".join(printed.splitlines()[-5:])

    def _is_stale(self, name: str) -> bool:
        """Whether the outputs are those that the stage made under another content key."""
        slot = self._slot(name)
        noted = slot.manifest()
        if noted is None or noted.get("key") == slot.key:
            return False
        return bool(noted["digests"] == [digest(path) for path in slot.outs])

    def _repro(
        self, name: str, targets: list[str], timeout: float, on_progress: Callable[[dict[str, Any]], None] | None
    ) -> str:
        with tempfile.TemporaryDirectory() as folder:
            watch = Path(folder) / "progress.json"
            log = Path(folder) / "log.txt"
            with log.open("wb") as file:
                process = subprocess.Popen(
                    [*DVC, "repro", "--single-item", *targets],
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
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(timeout=30)
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
            printed = log.read_text(errors="replace")
            if process.returncode != 0:
                raise _failure(name, watch, printed)
        return printed

    def _stale_code(self, name: str) -> list[str]:
        """The stage ``code`` if it has to run before the named one. It would block other stages that are at work."""
        verb = STAGES[name].verb
        noted = self.root / OUT / CODE / verb
        now = code_digest(f"sscl.stages.{verb}")
        return [] if noted.is_file() and noted.read_text().strip() == now else [CODE]

    def warm_up(self) -> None:
        """Begin to load what stages import, while something else is waited for."""
        environment = self._environment(self.root)
        if forkserver.wanted({**environment, "DVC_STAGE": ""}):
            with suppress(OSError):
                forkserver.start(PRELOAD, environment)

    def _environment(self, watch: Path) -> dict[str, str]:
        path, first = os.environ.get("PATH", ""), f"{Path(sys.executable).parent}{os.pathsep}"
        path = path if path.startswith(first) else f"{first}{path}"  # one path, one fork server
        ours = {WATCH: str(watch), PARENT: str(os.getpid())}
        return {**os.environ, "PATH": path, **ours, "DVC_NO_ANALYTICS": "1"}


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
            state = json.loads(text)
            if text != seen and "error" not in state:
                seen = text
                on_progress(state)


def _failure(name: str, watch: Path, printed: str) -> SSCLError:
    """What the stage said itself; else what DVC said last."""
    said = json.loads(watch.read_text()) if watch.is_file() else {}
    if said.get("passing"):
        return BusyError(f"{name}: {said['error']}")
    if "error" in said:
        return (InputError if said["bad_input"] else SSCLError)(f"{name}: {said['error']}")
    if re.search(r"is busy|Unable to acquire lock|is currently used", printed):
        return BusyError(f"{name}: DVC's lock is taken; is another run at work?")
    if re.search(rf"exited with (-{signal.SIGKILL:d}|{forkserver.KILLED})\b", printed):
        return SSCLError(
            f"{name}: killed, most often for lack of memory: free some, or lower batch_size, and run the flow again"
        )
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return SSCLError(f"{name}: {lines[-1].removeprefix('ERROR: ') if lines else 'no output'}")
