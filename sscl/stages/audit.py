"""Stage ``audit``: is this model trained on the release? The committed exact test, with evidence."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sscl.artifacts import read_json, write_json
from sscl.audit.examine import examine, prepare
from sscl.compute import Compute
from sscl.config import ComputeConfig
from sscl.layout import BUNDLE, COMMITMENT, FINDING, MODEL, OPENING
from sscl.suspects import Context, open_oracle

UNTESTED = "This method has no exact test: there is nothing random that an innocent model cannot know."


def run(*, compute: ComputeConfig, watermark: Path, commitment: Path, opening: Path, model: Path, out: Path) -> None:
    """Write finding and (unsigned) bundle of the model in ``model``, or of each in a folder of its own there."""
    resolved, exact = Compute.set_up(compute), "groups" in read_json(opening / OPENING)
    case = prepare(watermark, opening / OPENING, commitment / COMMITMENT) if exact else None
    out.mkdir(parents=True)
    for file in sorted(model.rglob(MODEL)):
        folder = out / file.parent.relative_to(model)
        folder.mkdir(exist_ok=True)
        if case is None:
            write_json(folder / FINDING, {"decision": "inconclusive", "reason": UNTESTED, "p_value": None})
            continue
        oracle = open_oracle(str(file), Context(case.suspects_classes, resolved))
        finding, audit = examine(case, oracle, folder / BUNDLE)
        said = {name: audit[name] for name in ("confirmatory", "suspect", "guarantees", "word")}
        write_json(folder / FINDING, {**asdict(finding), **said})
