"""What a stage reads from outside the output root.

Paths do not count: keys, weights and modules count by content, datasets by file names, sizes and modification times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sscl.artifacts import digest, key_of
from sscl.config import STARTS, Config, TrainConfig, dump
from sscl.data.listing import listing
from sscl.errors import InputError
from sscl.functions import file_of, names_function
from sscl.seeds import secret_digest
from sscl.stages.table import EVERYTHING, Stage

TRAININGS = ("surrogate", "user")


def settings(config: Config, stage: Stage) -> dict[str, Any]:
    """The sections that a stage reads, without paths: two drivers may start a stage from different folders."""
    raw = dump(config)
    raw["key_file"] = config.key_file is not None
    raw["data"]["path"] = config.data.path is not None
    for name in TRAININGS:
        if raw[name]["start"] not in STARTS:
            raw[name]["start"] = "file"
    return {section: raw[section] for section in stage.sections}


def contents(config: Config, stage: Stage, base: Path) -> dict[str, str]:
    """Digests of the files that a stage reads, or of a dataset's list of files. Relative paths start from ``base``.

    Empty for the report, which reads none of them.

    Raises:
        InputError: a file is missing.
    """
    found: dict[str, str] = {}
    if stage.sections == EVERYTHING:
        return found
    if "key_file" in stage.sections and config.key_file:
        found["key_file"] = str(secret_digest(str(base / config.key_file)))
    if "data" in stage.sections:
        found["files"] = key_of(files=listing(config.data, base))
    for name in set(TRAININGS) & set(stage.sections):
        found |= {f"{name}.{part}": value for part, value in of_training(getattr(config, name), base).items()}
    return found


def of_training(training: TrainConfig, base: Path = Path()) -> dict[str, str]:
    """Digests of the weights that a training starts from, and of the file of a network of the user's own.

    Raises:
        InputError: a file is missing.
    """
    found = {}
    if training.start not in STARTS:
        weights = base / training.start
        if not weights.is_file():
            raise InputError(f"{weights}: no such file; expected the weights that `start` names")
        found["start"] = digest(weights)
    return found | ({"model": digest(file_of(training.model))} if names_function(training.model) else {})
