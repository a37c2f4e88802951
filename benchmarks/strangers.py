"""Suspects that people really have: what strangers do with a release, and whether the exact test still finds it.

    python benchmarks/strangers.py demo --seeds 3
    python benchmarks/strangers.py cifar10-small
    python benchmarks/strangers.py cifar10-small --stranger plain --set user.model=vgg8
    python benchmarks/strangers.py sub-imagenet-small --seeds 3 --set user.model=efficientnet_lite0 \
        --set user.start=imagenet --set user.epochs=3 --stranger plain --stranger head_only --stranger low_rank

Data and releases are kept under ``--root`` and shared with ``ownership.py``; strangers' models are not kept. Rows go to
``docs/results/real.json``, one a suspect and access; earlier rows about the same suspect are replaced. Suspects with
classes of their own are audited with ``audit.statistic: attraction``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from benchmarks.shared.rows import ROOT, Root, Sets, study_of, write
from sscl.audit.commitment import reference_effects
from sscl.audit.protocol import ask
from sscl.audit.record import Record
from sscl.audit.verdict import decide
from sscl.benchmark.study import Study
from sscl.provenance import machine
from sscl.strangers import STRANGERS, Stranger, Workplace
from sscl.suspects import Context, Oracle
from sscl.suspects.classifier import InMemory

RESULTS = Path("docs/results/real.json")


def main(
    profile: str,
    count: Annotated[int, typer.Option("--seeds", help="How many seeds.")] = 1,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    *,
    stranger: Annotated[list[str] | None, typer.Option(help="[default: all]")] = None,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Train and audit every stranger's model."""
    command = " ".join(("strangers", profile, *(overrides or ())))
    for seed in range(first, first + count):
        study = study_of(profile, seed, root, overrides=overrides)
        common = {"command": command, "dataset": study.config.data.source, "profile": profile, "seed": seed}
        common |= {"start": study.config.user.start, "architecture": study.config.user.model, "innocent": False}
        common |= {"attack": "none", "peer": study.method, "rate": len(study.marked) / len(study.train)}
        common |= study.visibility
        with tempfile.TemporaryDirectory() as folder:
            place = Workplace(study.released, study.train, study.config.user, study.compute, study.seed, Path(folder))
            for name in stranger or [name for name in STRANGERS if STRANGERS[name].fits(study.config.user)]:
                found = measured(study, place, STRANGERS[name])
                rows = [common | {"suspect": name, "machine": machine()} | row for row in found]
                told = [{key: row[key] for key in ("access", "p", "delta_p", "ba")} for row in rows]
                print(seed, name, json.dumps(told), flush=True)
                write(results, rows)


def measured(study: Study, place: Workplace, stranger: Stranger) -> Iterator[dict[str, Any]]:
    """Rows of one stranger's model."""
    oracle, taught = stranger.suspect(place), stranger.taught(study.test.classes)
    ba = accuracy(oracle, study, taught)
    if oracle.context.class_names is None:
        yield from ({"ba": ba, **row} for row in of_own_classes(study, oracle, int(taught.max()) + 1))
    else:
        word = study.secret[0].targets(study.secret[1])
        yield from ({"ba": ba, "statistic": "effect", **row} for row in study.findings(study.recorded(oracle), word))


def accuracy(oracle: Oracle, study: Study, taught: Tensor) -> float:
    """Benign accuracy over the test images of classes that the suspect has."""
    labels = taught[study.test.labels]
    images = study.test.images[labels >= 0].permute(0, 2, 3, 1).contiguous().numpy()
    answers = oracle.query(images)
    return float((answers.predictions == labels[labels >= 0].numpy()).mean())


def of_own_classes(study: Study, oracle: Oracle, classes: int) -> Iterator[dict[str, Any]]:
    """Rows of a suspect whose classes are not the owner's: nothing but attraction can be asked of it."""
    config = replace(study.exact, statistic="attraction")
    record = Record(classes, study.test.classes, study.images.labels.tolist())
    ask(oracle, study.sent, config, record=record)
    clean = InMemory(study.opened(study.surrogate), Context(None, study.compute))
    references = reference_effects(study.questions, config, clean)
    word = study.secret[0].targets(study.secret[1]).numpy()
    for access, seen in (("probabilities", record), ("labels", record.labels_only())):
        verdict = decide(seen, config, word, references=references[access])
        row = {"access": access, "statistic": "attraction", "queries": verdict.queries, "p": verdict.p_value}
        yield row | {"p_plain": verdict.p_plain, "p_published": None, "delta_p": None}


if __name__ == "__main__":
    typer.run(main)
