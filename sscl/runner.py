"""Runs stages in an output root: reuse by content key, build atomically, resume after a kill."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sscl.artifacts import digest, key_of
from sscl.config import Config
from sscl.errors import ConfigError
from sscl.layout import Root
from sscl.outside import contents, settings
from sscl.provenance import code_digest
from sscl.slots import Slot, building, read_note
from sscl.stages.table import EVERYTHING, PIPELINES, Stage


def slot_of(stage: Stage, config: Config, root: Path, base: Path = Path()) -> Slot:
    """The stage's outputs under ``root`` with their key: config sections, digests of the inputs, digest of the code.

    What ``sscl.outside`` says of files from outside the root counts, too; their paths are relative to ``base``. Another
    key in the place of a release's key is another secret.

    Raises:
        InputError: an input is missing.
    """
    inputs = {name: digest(root / path) for name, path in stage.inputs.items()} | contents(config, stage, base)
    if stage.stamped and Root(root).stamp.is_file():
        inputs["stamp"] = digest(Root(root).stamp)
    key = key_of(
        stage=stage.name,
        config=settings(config, stage),
        inputs=inputs,
        code=code_digest(f"sscl.stages.{stage.verb}"),
    )
    outs = tuple(root / path for path in stage.outputs.values())
    return Slot(stage.name, outs, key, Root(root).state, irrevocable=stage.irrevocable and config.key_file is not None)


def note_of(stage: Stage, root: Path) -> dict[str, Any]:
    """What was noted when the stage's outputs under ``root`` were last made; empty if nothing is known."""
    return read_note(Slot(stage.name, (), "", Root(root).state).note) or {}


def run_stage(stage: Stage, config: Config, root: Path, overwrite: bool = False, *, vouched: bool = False) -> bool:
    """Build one stage's outputs unless they are there; whether it computed anything.

    Args:
        stage: of the table.
        config: the run's.
        root: output root.
        overwrite: replace outputs that another config made.
        vouched: replace outputs whoever made them: DVC tracks them.

    Raises:
        InputError: a missing input, or outputs of another config without ``overwrite``.
        SSCLError: it failed; what was there before still is.
    """
    from sscl.checkpoint import Checkpoint  # with torch, which is not needed to tell what is current

    slot = slot_of(stage, config, root)
    function: Callable[..., None] = importlib.import_module(f"sscl.stages.{stage.verb}").run
    with building(slot, overwrite, vouched) as temporaries:
        if temporaries is None:
            return False
        checkpoint = Checkpoint(slot.checkpoints)
        available: dict[str, Any] = {section: getattr(config, section) for section in stage.sections}
        available |= {name: root / path for name, path in stage.inputs.items()}
        available |= dict(zip(stage.outputs, temporaries, strict=True))
        available |= {"variant": stage.variant, "checkpoint": checkpoint}
        if stage.sections == EVERYTHING:
            available["config"] = config
        available |= {"refusals": slot.state / "refused.csv", "state": slot.state}
        function(**{name: available[name] for name in inspect.signature(function).parameters if name in available})
    for folder in slot.all_checkpoints():
        Checkpoint(folder).discard()
    return True


def require_carrier(config: Config, carrier: str) -> None:
    """Raise ``ConfigError``, before anything is trained, if ``config`` protects something else than ``carrier``."""
    if config.audit.protects != carrier:
        raise ConfigError(
            f"audit.protects: {config.audit.protects}, but this pipeline protects one {carrier}; use `sscl run` for a "
            f"dataset and `sscl run --encoder` for an encoder, or a profile that says {carrier}"
        )


def run_all(
    config: Config,
    root: Path,
    overwrite: bool = False,
    *,
    before: Callable[[Stage], None] | None = None,
    carrier: str = "dataset",
) -> list[str]:
    """Every stage in order; the names of those that computed something.

    Args:
        config, root, overwrite: as for ``run_stage``.
        before: called ahead of each stage.
        carrier: what is to be protected, of ``PIPELINES``.

    Raises:
        ConfigError: the configuration protects something else.
    """
    require_carrier(config, carrier)
    computed = []
    for stage in PIPELINES[carrier].values():
        if before:
            before(stage)
        if run_stage(stage, config, root, overwrite):
            computed.append(stage.name)
    return computed
