"""The ownership code measured: guilty models, their attacks and detectors, and innocents.

    python benchmarks/ownership.py guilty cifar10-small --first 11 --seeds 5 --rate 0.05 --rate 0.02
    python benchmarks/ownership.py guilty cifar10-small --first 6 --seeds 5 --rate 0.05 --rate 0.02 \
        --set generator.ownership_code.visible=0.0025 --set generator.ownership_code.eps=8/255
    python benchmarks/ownership.py guilty cifar10-small --first 1 --seeds 5 --rate 0.05 --rate 0.02 \
        --set generator.ownership_code.visible=0.005 --set generator.ownership_code.eps=11/255
    python benchmarks/ownership.py guilty cifar10 --first 1 --seeds 3
    python benchmarks/ownership.py guilty demo --seeds 10
    python benchmarks/ownership.py guilty demo --seeds 3 --set generator.ownership_code.eps=48/255  # 32/255, 24/255
    python benchmarks/ownership.py guilty sub-imagenet-small --seeds 3
    python benchmarks/ownership.py guilty sub-imagenet-small --seeds 3 --set user.model=efficientnet_lite0 \
        --set user.start=imagenet --set user.epochs=3
    python benchmarks/ownership.py removal demo
    python benchmarks/ownership.py removal demo --attack dp_sgd --strength 0.5 --strength 1
    python benchmarks/ownership.py removal cifar10-small --seed 11
    python benchmarks/ownership.py removal cifar10 --seed 3 --attack fine_tuning --attack pruning
    python benchmarks/ownership.py removal cifar10-small --seed 0 \
        --set generator.ownership_code.visible=0.005 --set generator.ownership_code.eps=11/255
    python benchmarks/ownership.py removal cifar10-small --seed 12 --attack train_jpeg --attack train_noise \
        --attack train_median --attack train_resize --attack train_blur --attack train_autoencoder
    python benchmarks/ownership.py innocents demo --count 85
    python benchmarks/ownership.py innocents cifar10-small --count 40 \
        --set generator.ownership_code.visible=0.005 --set generator.ownership_code.eps=11/255
    python benchmarks/ownership.py innocents sub-imagenet-small --count 10 --set user.model=efficientnet_lite0 \
        --set user.start=imagenet --set user.epochs=3

The rows of ``cifar10`` with other marks than the default are of a narrower network, of commit 5fdd408, which took
``guilty cifar10 --first 1 --seeds 3``, ``removal cifar10 --seed 1`` and ``innocents cifar10 --count 30``, each with
``--set generator.ownership_code.visible=0.0025 --set generator.ownership_code.eps=8/255``.

Data, models and releases are kept under ``--root`` and shared between commands; a run that was broken off goes on. Rows
go to ``docs/results/code.json``, one a suspect or detector; earlier rows about the same suspect are replaced.
``ownership_tables.py`` prints the tables of the docs from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy import stats
from torch import Tensor

from benchmarks.shared.innocents import innocent, turn_of
from benchmarks.shared.rows import ROOT, Root, Sets, study_of, write
from sscl import seeds
from sscl.attacks import DETECTORS, REMOVALS, Attacker, known_clean, labelled_training
from sscl.audit.trial import Trial, null_of
from sscl.audit.verdict import decide
from sscl.benchmark.measure import suspect_scores
from sscl.benchmark.plan import NONE
from sscl.benchmark.study import Study
from sscl.data.store import first_file
from sscl.detection import detector_scores
from sscl.models import Classifier
from sscl.provenance import machine
from sscl.statistics import words
from sscl.types import ImageSet

RESULTS = Path("docs/results/code.json")
app = typer.Typer(help="Measure the ownership code; see the top of this file.")
Results = Annotated[Path, typer.Option(help="Where the rows go.")]


class Trained(StrEnum):
    """On what a model of a pair was trained."""

    RELEASED = "released"
    CLEAN = "clean"


@app.command()
def guilty(
    profile: str,
    count: Annotated[int, typer.Option("--seeds", help="How many seeds.")] = 3,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    rate: Annotated[list[float] | None, typer.Option(help="Share of marked images.  [default: the profile's]")] = None,
    suspect: Annotated[list[Trained] | None, typer.Option(help="What to train and ask.  [default: both]")] = None,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Results = RESULTS,
) -> None:
    """Models trained on the release and, with the same random numbers, on clean data; detectors at the first rate."""
    asked = suspect or list(Trained)
    command = " ".join(("guilty", profile, *(overrides or ())))
    rows: list[dict[str, Any]] = []
    for seed in range(first, first + count):
        for number, share in enumerate(rate or [None]):
            study = study_of(profile, seed, root, overrides=overrides, rate=share)
            watermark, state = study.secret
            user, word = study.config.user, watermark.targets(state)
            common = {"command": command, "dataset": study.config.data.source, "profile": profile, "seed": seed}
            common |= {"start": getattr(user, "start", "scratch"), "architecture": user.model, "machine": machine()}
            marked, triggered = study.marked, watermark.trigger(study.test.images, state)
            for name in asked:
                data = study.data if name is Trained.CLEAN else study.release / "public"
                opened = study.opened(study.bench.trained(study.config, "user", data))
                scores = suspect_scores(
                    opened, study.test, triggered, targets=word, verify=study.config.verify, compute=study.compute
                )
                row = common | {"suspect": name.value, "innocent": name is Trained.CLEAN, "attack": NONE}
                row |= {"rate": len(marked) / len(study.train), "ba": scores["ba"]} | study.visibility
                for found in study.findings(study.asked(opened), word):
                    rows.append(row | found)
                    shown = ("seed", "rate", "suspect", "access", "p", "p_plain", "p_sequential", "ba", "lpips")
                    print(json.dumps({column: rows[-1][column] for column in shown}), flush=True)
                if name is Trained.RELEASED and number == 0:
                    for detector, score in detections(study, opened, study.released, marked):
                        rows.append(common | {"detector": detector, "auroc_within_class": score})
                        print(seed, detector, score, flush=True)
            write(results, rows)


def detections(study: Study, model: Classifier, released: ImageSet, marked: Tensor) -> Iterator[tuple[str, float]]:
    """AUROC of every detector: of datasets within the marked classes, of queries on what the audit sends."""
    watermark, state = study.secret
    attacker = attacker_of(study, released)
    for name in DETECTORS:
        if DETECTORS[name].looks_at == "dataset":
            found = detector_scores(
                DETECTORS[name], model, attacker, marked=marked, watermark=watermark, state=state, test=study.test
            )
            score = found["auroc_class"]
        else:
            images = torch.cat([study.sent[mark] for mark in sorted(study.sent)])
            labels = study.images.labels.repeat(len(study.sent))
            scores = DETECTORS[name](ImageSet(images, labels, study.test.class_names), model, attacker)
            first = len(study.images)
            larger = stats.mannwhitneyu(scores[first:], scores[:first]).statistic
            score = float(larger / (first * (len(scores) - first)))
        if score is not None:
            yield name, score


def attacker_of(study: Study, released: ImageSet) -> Attacker:
    known = known_clean(len(study.train), study.config.attacks.clean_share, study.seed)
    training = labelled_training(study.config.user)
    file = first_file(study.release / "public")
    return Attacker(study.train.subset(known), released, training, study.compute, study.seed, file)


@app.command()
def removal(
    profile: str,
    attacks: Annotated[list[str] | None, typer.Option("--attack", help="[default: all]")] = None,
    strengths: Annotated[
        list[float] | None, typer.Option("--strength", help="In the attack's unit.  [default: the usual one]")
    ] = None,
    seed: int = 0,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Results = RESULTS,
) -> None:
    """Removal attacks on one model trained on the release."""
    if strengths and len(attacks or ()) != 1:
        raise typer.BadParameter("units differ, so name the one --attack that it is for", param_hint="--strength")
    removals = {name: REMOVALS[name] for name in attacks or REMOVALS}
    command = " ".join(("removal", profile, *(overrides or ())))
    study = study_of(profile, seed, root, overrides=overrides)
    watermark, state = study.secret
    word, released = watermark.targets(state), study.released
    model = study.opened(study.bench.trained(study.config, "user", study.release / "public"))
    triggered, attacker = watermark.trigger(study.test.images, state), attacker_of(study, released)
    rows: list[dict[str, Any]] = []
    wanted = [(name, strength) for name in removals for strength in strengths or [removals[name].usual]]
    for name, strength in wanted:
        attacked = study.compute.place(removals[name](model, attacker, strength))
        score = suspect_scores(
            attacked, study.test, triggered, targets=word, verify=study.config.verify, compute=study.compute
        )
        for found in study.findings(study.asked(attacked), word):
            row = {"command": command, "dataset": study.config.data.source, "profile": profile, "seed": seed}
            row |= {"suspect": "released", "innocent": False, "attack": name, "strength": strength}
            rows.append(row | {"ba": score["ba"], "machine": machine()} | found)
        print(name, strength, json.dumps({n: rows[-2][n] for n in ("p", "p_plain", "delta_p", "ba")}), flush=True)
        write(results, rows)


@app.command()
def innocents(
    profile: str,
    count: int = 40,
    first: int = 0,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Results = RESULTS,
    tries: Annotated[int, typer.Option(help="Words that a dishonest owner tries on a clean model of his own.")] = 200,
) -> None:
    """Models that never saw the release, each asked about a word of its own; and an owner who picks the word.

    Kinds and architectures take turns. Chance lies in the word, so every model has a fresh one.
    """
    command = " ".join(("innocents", profile, *(overrides or ())))
    study = study_of(profile, 0, root, overrides=overrides)
    watermark = study.secret[0]
    marks, groups = watermark.options.marks, study.test.classes
    own = null_of(Trial(study.asked(study.opened(study.surrogate)), study.exact, marks).matrix)
    rows: list[dict[str, Any]] = []
    for number in range(first, first + count):
        kind, architecture = turn_of(study, number)
        key = seeds.secret(1000 + number, None)
        model = innocent(study, kind, architecture, number)
        record = study.asked(model)
        word = torch.from_numpy(words.draw(marks, groups, key.part("word"))[0])
        tried = words.draw(marks, groups, key.part("tried"), tries)
        picked = tried[int(np.argmin([own.p_value(one) for one in tried]))]
        ground = decide(record, study.exact, picked, references=study.references["probabilities"])
        for found in study.findings(record, word):
            row = {"command": command, "dataset": study.config.data.source, "profile": profile, "seed": number}
            row |= {
                "suspect": kind,
                "architecture": architecture,
                "innocent": True,
                "start": study.config.user.start,
                "attack": NONE,
            }
            rows.append(row | {"p_grinding": ground.p_value, "machine": machine()} | found)
        print(kind, architecture, json.dumps({n: rows[-2][n] for n in ("p", "p_plain", "p_published")}), flush=True)
        write(results, rows)


if __name__ == "__main__":
    app()
