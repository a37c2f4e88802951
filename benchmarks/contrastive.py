"""The ownership code in contrastive learning, measured: encoders, what is built on them, and innocents.

    python benchmarks/contrastive.py encoder cifar10-encoder --seeds 3
    python benchmarks/contrastive.py dataset cifar10-contrastive --seeds 3
    python benchmarks/contrastive.py innocents cifar10-encoder --count 30

Data, models and marks are kept under ``--root`` and shared between commands; a run that was broken off goes on. Rows go
to ``docs/results/contrastive.json``, one a suspect and access; earlier rows about the same suspect are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.ownership import Root, Sets, study_of, write
from sscl import seeds
from sscl.artifacts import load_tensors
from sscl.audit.commitment import Case, reference_effects
from sscl.audit.protocol import Record, ask
from sscl.audit.trial import References
from sscl.audit.verdict import decide
from sscl.benchmark.study import Study
from sscl.config import DataConfig, TrainConfig
from sscl.data.store import load_split
from sscl.encoders.imprint import Code, imprint
from sscl.encoders.removals import REMOVALS, Thief
from sscl.keystream import Keystream
from sscl.layout import INDICES
from sscl.learning import LEARNERS
from sscl.learning.downstream import Downstream, downstream
from sscl.learning.neighbours import knn_accuracy
from sscl.learning.train import train_encoder
from sscl.models import Classifier
from sscl.models.io import save_classifier
from sscl.perceptual import LPIPS, image_quality
from sscl.provenance import machine
from sscl.statistics import words
from sscl.suspects import Context
from sscl.suspects.classifier import InMemory, Options
from sscl.train import benign_accuracy
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext
from sscl.watermarks.ownership_code import with_word

RESULTS = Path("docs/results/contrastive.json")
PAIRS = (0, 1, 2, 2, 3, 4, 3, 4, 1, 0)  # another task: five classes of two each
LABELLED = 5000  # images that a downstream classifier is trained on
Ways = Mapping[str, tuple[Downstream, float]]  # name -> how a classifier is built, and the learning rate
TUNED: Ways = {
    "linear": ("linear", 0.0),
    "full 1e-4": ("full", 1e-4),
    "full 1e-3": ("full", 1e-3),
}
OVERWRITING = "overwriting"  # by another owner's marks and word
TASKS = ("own", "pairs", "digits")
Tasks = Annotated[list[str] | None, typer.Option(help="Downstream tasks.  [default: own, pairs, digits]")]
app = typer.Typer(help="Measure the ownership code in contrastive learning; see the top of this file.")


@dataclass(frozen=True)
class Bench:
    """One profile and seed: the owner's marks, and the ways in which suspects are asked."""

    study: Study
    chosen: tuple[str, ...]

    @property
    def compute(self) -> Any:
        return self.study.compute

    @cached_property
    def tasks(self) -> dict[str, ImageSet]:
        """Labelled images of downstream tasks, unmarked."""
        train = self.study.train
        some = torch.randperm(len(train), generator=seeds.generator(self.study.seed, "downstream"))[:LABELLED]
        own = train.subset(some)
        pairs = ImageSet(own.images, torch.tensor(PAIRS)[own.labels % len(PAIRS)], tuple("abcde"))
        found = {"own": own, "pairs": pairs}
        if "digits" in self.chosen:
            found["digits"] = self._digits(train.size, train.channels)
        return found

    def _digits(self, size: int, channels: int) -> ImageSet:
        """MNIST as images of the owner's size."""
        config = replace(self.study.config, data=DataConfig("mnist", None, None, None, LABELLED, 1000, "stop"))
        found = load_split(self.study.bench.data(config), "train")
        images = torch.nn.functional.interpolate(found.images.float(), size=(size, size), mode="bilinear")
        return ImageSet(
            images.round().byte().expand(-1, channels, -1, -1).contiguous(), found.labels, found.class_names
        )

    def record(self, model: Classifier, features: bool = False) -> Record:
        record = Record(0, self.study.test.classes, self.study.images.labels.tolist())
        oracle = InMemory(model, Context(None, self.compute), Options("features" if features else "probabilities"))
        ask(oracle, self.study.sent, self.study.exact, record)
        return record

    @cached_property
    def references(self) -> dict[str, References]:
        """What the owner's clean encoder answers, under a linear classifier of its own."""
        model, context = self.study.opened(self.study.surrogate), Context(None, self.compute)
        oracles = InMemory(model, context), InMemory(model, context, Options("features"))
        case = Case("", self.study.images, self.study.sent, self.study.config.audit, *oracles)
        found = reference_effects(case).items()
        return {name: References(np.array(m["first"]), np.array(m["all"])) for name, m in found}

    def rows(self, model: Classifier, word: Tensor, features: bool) -> Iterator[dict[str, Any]]:
        """One an access, for an encoder (``features``) or a classifier on one."""
        seen = {"features": self.record(model, True)} if features else {"probabilities": self.record(model)}
        if not features:
            seen["labels"] = seen["probabilities"].labels_only()
        for access, record in seen.items():
            found = decide(record, self.study.exact, word.numpy(), self.references[access])
            yield {"access": access, "queries": found.queries, "p": found.p_value, "p_plain": found.p_plain}

    def everywhere(self, encoder: Classifier, word: Tensor, ways: Ways) -> Iterator[dict[str, Any]]:
        """The encoder by its features, and classifiers for every task built on it in every way."""
        yield from ({"downstream": "none", **row} for row in self.rows(encoder, word, True))
        for task in self.chosen:
            data = self.tasks[task]
            for way, (how, rate) in ways.items():
                model = self.built(encoder, data, how, rate)
                utility = benign_accuracy(model, self.study.test, self.compute) if task == "own" else None
                for row in self.rows(model, word, False):
                    yield {"downstream": f"{task}, {way}", "utility": utility, **row}

    def built(self, encoder: Classifier, data: ImageSet, how: Downstream, rate: float) -> Classifier:
        config = replace(self.study.config.user, start="scratch")
        return downstream(encoder, data, how, config, self.compute, self.study.seed, "downstream", rate)

    @cached_property
    def clean_utility(self) -> float:
        clean = self.study.opened(self.study.surrogate)
        return benign_accuracy(self.built(clean, self.tasks["own"], "linear", 0.0), self.study.test, self.compute)

    def imprinted(self, key: Keystream, word: Tensor) -> Classifier:
        """The owner's encoder under a word; kept."""
        study, (watermark, state) = self.study, self.study.secret
        code = Code(watermark, with_word(state, word))
        parts = {"word": word.tolist(), "imprint": vars(study.config.imprint), "generator": vars(watermark.options)}
        slot = study.bench.workshop.slot(
            "imprinted", "sscl.encoders.imprint", surrogate=study.surrogate, seed=study.seed, **parts
        )

        def build(out: Path, _: object) -> None:
            start = study.opened(study.surrogate)
            out.mkdir(parents=True)
            found = imprint(start, code, study.train, study.config.imprint, self.compute, key)
            save_classifier(out / "model.safetensors", found)

        return study.opened(study.bench.workshop.make(slot, build) / "model.safetensors")

    def overwritten(self, encoder: Classifier, key: Keystream) -> Classifier:
        """The encoder after another owner imprinted marks and a word of their own."""
        watermark, surrogate = self.study.secret[0], self.study.opened(self.study.surrogate)
        context = FitContext(self.compute, key, self.study.seed, "rival", self.study.config.surrogate)
        state = watermark.fit(self.study.train, surrogate, context)
        code = Code(watermark, with_word(state, word_of(self, key)))
        return imprint(encoder, code, self.study.train, self.study.config.imprint, self.compute, key.part("imprint"))


def word_of(bench: Bench, key: Keystream) -> Tensor:
    marks, groups = bench.study.secret[0].options.marks, bench.study.test.classes
    return torch.from_numpy(words.draw(marks, groups, key.part("word"))[0])


def common(command: str, bench: Bench, kind: str, innocent: bool) -> dict[str, Any]:
    config = bench.study.config
    found = {"command": command, "kind": kind, "data": config.data.source, "seed": bench.study.seed}
    found |= {"learning": config.surrogate.learning, "architecture": config.surrogate.model, "innocent": innocent}
    return found | {"watermark": f"ownership_code, {bench.study.secret[0].options.family}", "machine": machine()}


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
        bench = Bench(study_of(profile, seed, root, overrides), tuple(task or TASKS))
        key = seeds.secret(seed, None).part("encoder")
        word = word_of(bench, key)
        thief = Thief(bench.tasks["own"], bench.study.config.surrogate, bench.compute, seed)
        for name, model, asked, ways in suspects(bench, thief, key, word, attack or (*REMOVALS, OVERWRITING)):
            base = common(command, bench, "encoder", name == "never imprinted") | {"attack": name}
            for row in bench.everywhere(model, asked, ways):
                rows.append(base | {"rate": None, "utility_clean": bench.clean_utility, "lpips": None} | row)
                shown = ("seed", "attack", "downstream", "access", "p", "utility")
                print(json.dumps({column: rows[-1].get(column) for column in shown}), flush=True)
            write(results, rows)


def suspects(
    bench: Bench, thief: Thief, key: Keystream, word: Tensor, attacks: Sequence[str]
) -> Iterator[tuple[str, Classifier, Tensor, Ways]]:
    """Name, encoder, the word that it is asked about, and what is built on it."""
    imprinted, linear = bench.imprinted(key.part("imprint"), word), {"linear": TUNED["linear"]}
    yield "none", imprinted, word, TUNED
    stranger = innocent_encoder(bench.study, bench.study.config.surrogate, bench.study.seed + 500)
    yield "never imprinted", stranger, word, linear
    for name in attacks:
        if name == OVERWRITING:
            yield name, bench.overwritten(imprinted, key.part("rival")), word, linear
        else:
            yield name, REMOVALS[name](imprinted, thief), word, linear


def innocent_encoder(study: Study, config: TrainConfig, number: int) -> Classifier:
    """A stranger's encoder, trained on half of the images; kept."""
    slot = study.bench.workshop.slot(
        "strangers", "sscl.learning.train", data=study.data, training=vars(config), number=number
    )

    def build(out: Path, _: object) -> None:
        order = torch.randperm(len(study.train), generator=seeds.generator(number, "part"))
        data = study.train.subset(order[: len(order) // 2])
        out.mkdir(parents=True)
        model = train_encoder(data, config, study.compute, number, "stranger").model
        save_classifier(out / "model.safetensors", model)

    return study.opened(study.bench.workshop.make(slot, build) / "model.safetensors")


@app.command()
def dataset(
    profile: str,
    count: int = typer.Option(3, "--seeds"),
    first: int = 0,
    rate: list[float] | None = None,
    learning: list[str] | None = None,
    task: Tasks = None,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Path = RESULTS,
) -> None:
    """Encoders trained on a marked set without its labels, and linear classifiers on them; a clean one beside each."""
    command = " ".join(("dataset", profile, *(overrides or ())))
    rows: list[dict[str, Any]] = []
    for seed in range(first, first + count):
        for share in rate or [None]:  # type: ignore[list-item]
            for method in learning or [None]:  # type: ignore[list-item]
                sets = [*(overrides or ()), *([f"user.learning={method}"] if method else [])]
                bench = Bench(study_of(profile, seed, root, sets, share), tuple(task or TASKS))
                study, word = bench.study, bench.study.secret[0].targets(bench.study.secret[1])
                marked = load_tensors(study.release / "private" / INDICES)[0]["indices"]
                released = load_split(study.release / "public", "train")
                quality = image_quality(LPIPS(), study.train.images[marked[:1000]], released.images[marked[:1000]])
                for innocent, data in ((False, study.release / "public"), (True, study.data)):
                    model = study.opened(study.bench.trained(study.config, "user", data))
                    base = common(command, bench, "dataset", innocent) | {"rate": len(marked) / len(study.train)}
                    base |= {"learning": study.config.user.learning, "architecture": study.config.user.model}
                    base |= {
                        "attack": "none",
                        "lpips": quality["lpips"],
                        "knn": knn_accuracy(model, study.train, bench.compute, study.test),
                    }
                    for row in bench.everywhere(model, word, {"linear": TUNED["linear"]}):
                        rows.append(base | row)
                        shown = ("seed", "learning", "innocent", "downstream", "access", "p", "p_plain", "knn", "lpips")
                        print(json.dumps({column: rows[-1].get(column) for column in shown}), flush=True)
                    write(results, rows)


@app.command()
def innocents(
    profile: str,
    count: int = 30,
    task: Tasks = None,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Path = RESULTS,
) -> None:
    """Encoders of strangers and classifiers on them, each asked about a word of its own; methods take turns."""
    command = " ".join(("innocents", profile, *(overrides or ())))
    bench = Bench(study_of(profile, 0, root, overrides), tuple(task or TASKS))
    rows: list[dict[str, Any]] = []
    methods = list(LEARNERS)
    for number in range(count):
        method = methods[number % len(methods)]
        model = innocent_encoder(bench.study, replace(bench.study.config.surrogate, learning=method), 2000 + number)
        key = seeds.secret(3000 + number, None)
        base = common(command, bench, "innocent", True) | {"learning": method, "attack": "none", "seed": number}
        for row in bench.everywhere(model, word_of(bench, key), {"linear": TUNED["linear"]}):
            rows.append(base | row)
        print(method, json.dumps({row["downstream"] + " " + row["access"]: row["p"] for row in rows[-7:]}), flush=True)
        write(results, rows)


if __name__ == "__main__":
    app()
