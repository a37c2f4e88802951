"""Watermarks in contrastive learning, measured: encoders, what is built on them, poisons, and innocents.

    python benchmarks/contrastive.py encoder cifar10-encoder --seeds 3
    python benchmarks/contrastive.py dataset cifar10-contrastive --seeds 3
    python benchmarks/contrastive.py poisons cifar10-contrastive --set embed.rate=0.05
    python benchmarks/contrastive.py innocents cifar10-encoder --count 30

Data, models and marks are kept under ``--root`` and shared between commands; a run that was broken off goes on. Rows go
to ``docs/results/contrastive.json``, one a suspect and access; earlier rows about the same suspect are replaced.
``contrastive_tables.py`` prints tables from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from benchmarks.shared.rows import Root, Sets, study_of, write
from sscl import seeds
from sscl.benchmark.encoder_study import (
    LABELLED,
    LINEAR,
    RELEASED_TASKS,
    TASKS,
    TUNED,
    EncoderStudy,
    Ways,
)
from sscl.benchmark.published import Shown, published_tests
from sscl.benchmark.stranger import stranger, stranger_images
from sscl.benchmark.study import Study
from sscl.encoders.removals import REMOVALS, Thief
from sscl.errors import SSCLError
from sscl.keystream import Keystream
from sscl.learning import LEARNERS
from sscl.learning.neighbours import knn_accuracy
from sscl.models import Classifier
from sscl.provenance import machine
from sscl.train import predict
from sscl.watermarks import WATERMARKS
from sscl.watermarks.pairs import verification_pairs

RESULTS = Path("docs/results/contrastive.json")
OVERWRITING = "overwriting"  # by another owner's marks and word
RIVAL = "overwriting, the rival's marks"  # what that owner then finds
POISONS = [name for name in WATERMARKS if WATERMARKS[name].contrastive]
Tasks = Annotated[list[str] | None, typer.Option(help="Downstream tasks.  [default: all that the command has]")]
app = typer.Typer(help="Measure watermarks in contrastive learning; see the top of this file.")


def common(command: str, study: Study, kind: str, *, innocent: bool) -> dict[str, Any]:
    config = study.config
    found = {"command": command, "kind": kind, "data": config.data.source, "seed": study.seed, "attack": "none"}
    found |= {"learning": config.surrogate.learning, "architecture": config.surrogate.model, "innocent": innocent}
    family = f", {study.secret[0].options.family}" if study.method == "ownership_code" else ""
    return found | {"watermark": study.method + family, "machine": machine()}


def shown(row: dict[str, Any], *columns: str) -> None:
    print(json.dumps({column: row.get(column) for column in columns}), flush=True)


@app.command()
def encoder(
    profile: str,
    count: int = typer.Option(3, "--seeds"),
    first: int = 0,
    attack: Annotated[list[str] | None, typer.Option(help="[default: all]")] = None,
    task: Tasks = None,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Path = RESULTS,
) -> None:
    """An encoder that was imprinted, its classifiers, and both after every removal; a clean encoder beside it."""
    command = " ".join(("encoder", profile, *(overrides or ())))
    rows: list[dict[str, Any]] = []
    for seed in range(first, first + count):
        bench = EncoderStudy(study_of(profile, seed, root, overrides=overrides), tuple(task or TASKS))
        _ = bench.others  # a dataset that is missing is missed before anything is trained
        key = seeds.secret(seed, None).part("encoder")
        word = bench.word_of(key)
        config, options = bench.study.config, bench.study.secret[0].options
        own = bench.tasks["own"]
        thief = Thief(own, config.surrogate, bench.study.compute, seed, options.family, options.query_eps)
        for name, asking, model, asked, ways in suspects(
            bench, thief, key, word=word, attacks=attack or (*REMOVALS, OVERWRITING)
        ):
            base = common(command, bench.study, "encoder", innocent=name == "never imprinted") | {"attack": name}
            changed = bench.changed(model, asked) if name == "none" else ()
            for row in (*asking.everywhere(model, asked, ways), *changed):
                rows.append(base | {"rate": None, "utility_clean": bench.clean_utility, "lpips": None} | row)
                shown(rows[-1], "seed", "attack", "downstream", "access", "p", "utility")
            write(results, rows)


def suspects(
    bench: EncoderStudy, thief: Thief, key: Keystream, *, word: Tensor, attacks: Sequence[str]
) -> Iterator[tuple[str, EncoderStudy, Classifier, Tensor, Ways]]:
    """Name, who asks, encoder, the word that it is asked about, and what is built on it."""
    imprinted = bench.imprinted(key.part("imprint"), word)
    yield "none", bench, imprinted, word, TUNED
    never = stranger(bench.study, bench.study.config.surrogate, bench.study.seed + 500)
    yield "never imprinted", bench, never, word, LINEAR
    for name in attacks:
        if name == OVERWRITING:
            rival = bench.rival(key.part("rival"))
            model = bench.overwritten(imprinted, rival, key.part("rival").part("imprint"))
            yield name, bench, model, word, LINEAR
            theirs = replace(bench, asked=rival, reference=imprinted)  # no cleaner encoder is theirs
            yield RIVAL, theirs, model, theirs.study.secret[0].targets(rival), LINEAR
        else:
            yield name, bench, REMOVALS[name](imprinted, thief), word, LINEAR


@app.command()
def dataset(
    profile: str,
    count: int = typer.Option(3, "--seeds"),
    first: int = 0,
    rate: list[float] | None = None,
    learning: list[str] | None = None,
    attack: Annotated[list[str] | None, typer.Option(help="On the encoder.  [default: all; none: no attack]")] = None,
    paired: Annotated[bool, typer.Option(help="Train an encoder on clean images, too.")] = True,
    crossed: Annotated[bool, typer.Option(help="Ask the encoders of the other seeds, too: they are innocent.")] = False,
    task: Tasks = None,
    labelled: Annotated[int, typer.Option(help="Images that a downstream classifier is trained on.")] = LABELLED,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Path = RESULTS,
) -> None:
    """Encoders trained on a marked set without its labels, and classifiers on them; a clean one beside each.

    The classifiers of the tasks ``released`` and ``released pairs`` are trained on some of the released images with
    their labels, the others on images without marks. Marked encoders are also asked after every removal, and for
    features under every change of answers.
    """
    others = [f"labelled={labelled}"] if labelled != LABELLED else []
    command = " ".join(("dataset", profile, *(overrides or ()), *others))
    attacks = [name for name in (attack or REMOVALS) if name != "none"]
    for name in attacks:
        _ = REMOVALS[name]  # an unknown one is noticed before anything is trained
    tasks = tuple(task or (*TASKS, *RELEASED_TASKS))
    rows: list[dict[str, Any]] = []
    for seed in range(first, first + count):
        for share in rate or [None]:  # type: ignore[list-item]
            for method in learning or [None]:  # type: ignore[list-item]
                sets = [*(overrides or ()), *([f"user.learning={method}"] if method else [])]
                study = study_of(profile, seed, root, overrides=sets, rate=share)
                bench = EncoderStudy(study, tasks, labelled)
                _ = bench.others  # a dataset that is missing, too
                word = bench.study.secret[0].targets(bench.study.secret[1])
                strangers = [
                    study_of(profile, other, root, overrides=sets, rate=share)
                    for other in range(first, first + count)
                    if crossed and other != seed
                ]
                for base, model in (*users(study, command, paired=paired), *elsewhere(study, strangers, command)):
                    for row in attacked(bench, model, word, () if base["innocent"] else attacks):
                        clean = {"knn_surrogate": bench.clean_knn}
                        rows.append(base | clean | row | saw_released(row["downstream"]))
                        columns = ("attack", "downstream", "access", "p", "p_plain", "knn", "lpips")
                        shown(rows[-1], "seed", "learning", "innocent", *columns)
                    write(results, rows)


def attacked(
    bench: EncoderStudy, encoder: Classifier, word: Tensor, attacks: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """What is found in an encoder and in classifiers on it, and, if there are attacks, after each of these."""
    yield from bench.everywhere(encoder, word, TUNED if attacks else LINEAR)
    if not attacks:
        return
    yield from bench.changed(encoder, word)
    options, study = bench.study.secret[0].options, bench.study
    thief = Thief(bench.tasks["own"], study.config.user, study.compute, study.seed, options.family, options.query_eps)
    for name in attacks:
        for row in bench.everywhere(REMOVALS[name](encoder, thief), word, LINEAR):
            yield row | {"attack": name}


def saw_released(downstream: str) -> dict[str, Any]:
    """A classifier that learnt from released images is not innocent, whatever its encoder saw."""
    return {"innocent": False} if downstream.partition(", ")[0] in RELEASED_TASKS else {}


def users(study: Study, command: str, *, paired: bool = True) -> Iterator[tuple[dict[str, Any], Classifier]]:
    """A stranger's encoder on the released set, and one with the same random numbers on the clean set; row begun."""
    for innocent, data in ((False, study.release / "public"), *(((True, study.data),) if paired else ())):
        model = study.opened(study.bench.trained(study.config, "user", data))
        yield begun(study, command, model, "clean" if innocent else "released"), model


def elsewhere(study: Study, strangers: Sequence[Study], command: str) -> Iterator[tuple[dict[str, Any], Classifier]]:
    """Encoders that never saw the release: strangers' on another owner's release, and those owners' clean ones."""
    for other in strangers:
        trained = other.bench.trained(other.config, "user", other.release / "public")
        for kind, path in (("another release", trained), ("another owner's clean", other.surrogate)):
            model = study.opened(path)
            yield begun(study, command, model, f"{kind}, seed {other.seed}"), model


def begun(study: Study, command: str, model: Classifier, encoder: str) -> dict[str, Any]:
    """The row of an encoder."""
    user = study.config.user
    found = common(command, study, "dataset", innocent=encoder != "released")
    found |= {"learning": user.learning, "architecture": user.model, "encoder": encoder}
    found |= {"rate": len(study.marked) / len(study.train), "lpips": study.visibility["lpips"]}
    return found | {"knn": knn_accuracy(model, study.train, study.compute, study.test)}


@app.command()
def poisons(
    profile: str,
    method: Annotated[list[str] | None, typer.Option(help="[default: every poison of contrastive learning]")] = None,
    seed: int = 0,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Path = RESULTS,
) -> None:
    """Published poisons: how often a classifier on the encoder answers the target class, before and after removals."""
    command = " ".join(("poisons", profile, *(overrides or ())))
    rows: list[dict[str, Any]] = []
    for name in method or POISONS:
        study = study_of(profile, seed, root, overrides=overrides, rate=None, method=name)
        bench = EncoderStudy(study, ("own",))
        watermark, state = study.watermark
        chosen, pointed = verification_pairs(study.test, watermark.targets(state))
        triggered = watermark.trigger(study.test.images, state)
        thief = Thief(bench.tasks["own"], study.config.user, study.compute, seed)
        for base, trained in users(study, command):
            for attack, how, rate, model in _removed(trained, thief, innocent=base["innocent"]):
                head = bench.built(model, "own", how, rate)
                answers = predict(head, triggered[chosen], study.compute).argmax(dim=1).cpu()
                row = base | {"attack": attack, "access": "labels", "utility": bench.accuracy(head)}
                row["success"] = float((answers == pointed).double().mean())
                if attack == "none":
                    row["p_published"] = _published(study, model, head, triggered)
                rows.append(row)
                shown(row, "watermark", "innocent", "attack", "success", "knn", "utility", "lpips", "p_published")
            write(results, rows)


def _removed(trained: Classifier, thief: Thief, *, innocent: bool) -> Iterator[tuple[str, Any, float, Classifier]]:
    """What is done to an encoder, how a classifier is built on it, at which rate, and the encoder."""
    yield "none", "linear", 0.0, trained
    if not innocent:
        yield "fine-tuning 1e-4", "full", 1e-4, trained
        yield "pruning", "linear", 0.0, REMOVALS["pruning"](trained, thief)


def _published(study: Study, model: Classifier, head: Classifier | None, triggered: Tensor) -> dict[str, float]:
    """Of the released set: marked images and others as they come."""
    asked = Shown.of(study, triggered, study.released.images)
    return published_tests(model, head, study.opened(study.surrogate), shown=asked, compute=study.compute)


@app.command()
def innocents(
    profile: str,
    count: int = 30,
    first: int = 0,
    task: Tasks = None,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Path = RESULTS,
) -> None:
    """Encoders of strangers and classifiers on them, each asked about a word of its own; methods take turns.

    A training that diverges leaves no suspect. The published tests see the half of the owner's images that the stranger
    did not train on as the released ones.
    """
    command = " ".join(("innocents", profile, *(overrides or ())))
    bench = EncoderStudy(study_of(profile, 0, root, overrides=overrides), tuple(task or TASKS))
    study, rows = bench.study, list[dict[str, Any]]()
    watermark, state = study.secret
    triggered, methods = watermark.trigger(study.test.images, state), list(LEARNERS)
    for number in range(first, first + count):
        method = methods[number % len(methods)]
        training = replace(study.config.surrogate, learning=method)
        try:
            model = stranger(study, training, 2000 + number)
        except SSCLError as error:  # VICReg diverges with some seeds: no model, no suspect
            print(method, error, flush=True)
            continue
        word = bench.word_of(seeds.secret(3000 + number, None))
        base = common(command, study, "innocent", innocent=True) | {"learning": method, "seed": number}
        found = list(bench.everywhere(model, word, LINEAR))
        rest = stranger_images(len(study.train), 2000 + number)[1]
        seen = Shown.of(study, triggered, study.train.images[rest])
        head = bench.built(model, bench.chosen[0], "linear", 0.0)
        tests = published_tests(model, head, study.opened(study.surrogate), shown=seen, compute=study.compute)
        rows += [base | {"p_published": tests if row["downstream"] == "none" else None} | row for row in found]
        exact = {f"{row['downstream']} {row['access']}": row["p"] for row in found}
        print(method, json.dumps(exact | {"published": tests}), flush=True)
        write(results, rows)


if __name__ == "__main__":
    app()
