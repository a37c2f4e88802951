"""The ownership code measured: guilty models, their attacks and detectors, and innocents.

    python benchmarks/ownership.py guilty cifar10-small --first 1 --seeds 5 --rate 0.05 --rate 0.02
    python benchmarks/ownership.py guilty demo --seeds 10
    python benchmarks/ownership.py guilty sub-imagenet-small --seeds 3
    python benchmarks/ownership.py guilty sub-imagenet-small --seeds 3 --set user.model=efficientnet_lite0 \
        --set user.start=imagenet --set user.epochs=3
    python benchmarks/ownership.py removal cifar10-small
    python benchmarks/ownership.py innocents demo --count 80
    python benchmarks/ownership.py innocents cifar10-small --count 12
    python benchmarks/ownership.py table

Data, models and releases are kept under ``--root`` and shared between commands; a run that was broken off goes on. Rows
go to ``docs/results/code.json``, one a suspect or detector; rows of the same command are replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from scipy import stats
from torch import Tensor

from sscl import seeds
from sscl.artifacts import load_tensors, write_json
from sscl.attacks import DETECTORS, REMOVALS, Attacker
from sscl.attacks.robust_training import AdversarialTraining
from sscl.audit.protocol import Record, References, ask
from sscl.audit.verdict import Finding, decide, matrix_of, null_of
from sscl.benchmark.measure import detector_scores, suspect_scores
from sscl.benchmark.plan import NONE, Cell
from sscl.benchmark.run import Bench
from sscl.compute import Compute
from sscl.config import Config, TrainConfig
from sscl.data.store import load_split
from sscl.evidence.commitment import Case, reference_effects, verification_set
from sscl.models import Classifier
from sscl.models.io import load_classifier, save_classifier
from sscl.oracles import Context
from sscl.oracles.classifier import InMemory
from sscl.ownership import words
from sscl.perceptual import LPIPS, image_quality
from sscl.provenance import machine
from sscl.stages.names import INDICES
from sscl.train import train_classifier
from sscl.types import ImageSet, Responses
from sscl.watermarks.base import State
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode, with_word

RESULTS, ROOT = Path("docs/results/code.json"), Path("runs/code")
SHOWN = 1000  # marked images over which visibility is measured
KINDS = ("clean", "undertrained", "adversarial", "other word", "label noise")  # of innocents
ARCHITECTURES = ("baseline_cnn", "mlp", "lenet5", "vgg8", "resnet8")
app = typer.Typer(help="Measure the ownership code; see the top of this file.")
Root = Annotated[Path, typer.Option(help="Where data, models and releases are kept.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set user.epochs=1.")]
Results = Annotated[Path, typer.Option(help="Where the rows go.")]


@dataclass(frozen=True)
class Study:
    """One profile under one seed: the owner's marks, and what is made from them."""

    bench: Bench
    profile: str
    seed: int
    rate: float | None = None

    @cached_property
    def config(self) -> Config:
        none = None
        cell = Cell(self.profile, "ownership_code", self.seed, self.rate, none, none, none, NONE, none)
        return self.bench.config(cell)

    @cached_property
    def compute(self) -> Compute:
        return Compute.resolve(self.config.compute)

    @cached_property
    def data(self) -> Path:
        return self.bench.data(self.config)

    @cached_property
    def surrogate(self) -> Path:
        return self.bench.trained(self.config, "surrogate", self.data)

    @cached_property
    def release(self) -> Path:
        return self.bench.released(self.config, self.data, self.surrogate)[0]

    @cached_property
    def train(self) -> ImageSet:
        return load_split(self.data, "train")

    @cached_property
    def test(self) -> ImageSet:
        return load_split(self.data, "test")

    @cached_property
    def secret(self) -> tuple[OwnershipCode, State]:
        watermark, state = load_watermark(self.release / "private" / GENERATOR, self.test.classes, self.compute)
        assert isinstance(watermark, OwnershipCode)
        return watermark, state

    @cached_property
    def images(self) -> ImageSet:
        salt = seeds.secret(self.seed, None).part("images").take(32)
        return verification_set(self.test, self.config.audit, salt)

    @cached_property
    def references(self) -> dict[str, References]:
        """What the owner's one clean model, the surrogate, answers."""
        watermark, state = self.secret
        oracle = self.oracle(self.opened(self.surrogate))
        found = reference_effects(Case(watermark, state, "", self.images, self.config.audit, oracle))
        return {name: References(np.array(m["first"]), np.array(m["all"])) for name, m in found.items()}

    def opened(self, path: Path) -> Classifier:
        return self.compute.place(load_classifier(path)[0]).requires_grad_(False).eval()

    def oracle(self, model: Classifier) -> InMemory:
        return InMemory(model, Context(self.test.class_names, self.compute))

    def asked(self, model: Classifier) -> Record:
        """Everything that an audit asks; the word plays no part in it."""
        watermark, state = self.secret
        record = Record(self.test.classes, self.test.classes, self.images.labels.tolist())
        ask(self.oracle(model), watermark, state, self.images, replace(self.config.audit, test="exact"), record)
        return record

    def findings(self, record: Record, word: Tensor) -> Iterator[dict[str, Any]]:
        """Two rows: an API that gives probabilities, and one that gives labels."""
        for access, seen in (("probabilities", record), ("labels", labels_only(record))):
            exact = replace(self.config.audit, test="exact")
            found = decide(seen, exact, word.numpy(), self.references[access])
            sequential = self._sequential(record if access == "probabilities" else seen, word, access)
            yield {
                "access": access,
                "queries": found.queries,
                "p": found.p_value,
                "p_reference": found.p_value,  # the committed test subtracts the references
                "p_plain": found.p_plain,
                "p_published": found.published.get("p_value"),
                "delta_p": found.delta_p,
                "p_sequential": sequential.p_value,
                "queries_sequential": sequential.queries,
            }

    def _sequential(self, record: Record, word: Tensor, access: str) -> Finding:
        """What the sequential test would have asked, from the same answers."""
        config = replace(self.config.audit, test="sequential")
        taken = Record(record.classes, record.groups, record.labels, record.access)
        replay = Replay(record, self.oracle(self.opened(self.surrogate)).context)
        watermark, state = self.secret
        ask(replay, watermark, with_word(state, word), self.images, config, taken, self.references[access])
        return decide(taken, config, word.numpy(), self.references[access])


class Replay(InMemory):
    """Answers again what a recorded suspect answered."""

    def __init__(self, record: Record, context: Context) -> None:
        super().__init__(Classifier("mlp", 1, 28, 2), context)
        self.known = {query.sha256: query.answer for query in record.queries}
        self.access = record.access

    def answer(self, images: np.ndarray) -> Responses:
        rows = [self.known[hashlib.sha256(image.tobytes()).hexdigest()] for image in images]
        return Responses(np.array(rows), self.access)  # type: ignore[arg-type]


def labels_only(record: Record) -> Record:
    """The same audit of an API that tells nothing but the label."""
    hot = np.eye(record.classes).tolist()
    queries = [replace(query, answer=hot[int(np.argmax(query.answer or ()))]) for query in record.queries]
    return replace(record, access="labels", queries=queries)


def study_of(profile: str, seed: int, root: Path, overrides: Sequence[str] | None, rate: float | None = None) -> Study:
    return Study(Bench(root, Path("params.yaml"), tuple(overrides or ())), profile, seed, rate)


def write(results: Path, command: str, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of one command."""
    kept = json.loads(results.read_text()) if results.is_file() else []
    write_json(results, [row for row in kept if row["command"] != command] + rows)


@app.command()
def guilty(
    profile: str,
    count: Annotated[int, typer.Option("--seeds", help="How many seeds.")] = 3,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    rate: Annotated[list[float] | None, typer.Option(help="Share of marked images.  [default: the profile's]")] = None,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Results = RESULTS,
) -> None:
    """Models trained on the release and, with the same random numbers, on clean data; detectors at the first rate."""
    command = " ".join(("guilty", profile, *(overrides or ())))
    rows: list[dict[str, Any]] = []
    for seed in range(first, first + count):
        for number, share in enumerate(rate or [None]):
            study = study_of(profile, seed, root, overrides, share)
            watermark, state = study.secret
            user, word = study.config.user, watermark.targets(state)
            common = {"command": command, "dataset": study.config.data.source, "profile": profile, "seed": seed}
            common |= {"start": getattr(user, "start", "scratch"), "architecture": user.model, "machine": machine()}
            marked = load_tensors(study.release / "private" / INDICES)[0]["indices"]
            released = load_split(study.release / "public", "train")
            quality = image_quality(LPIPS(), study.train.images[marked[:SHOWN]], released.images[marked[:SHOWN]])
            model = study.opened(study.bench.trained(study.config, "user", study.release / "public"))
            clean = study.opened(study.bench.trained(study.config, "user", study.data))
            triggered = watermark.trigger(study.test.images, state)
            for suspect, opened in (("released", model), ("clean", clean)):
                scores = suspect_scores(opened, study.test, triggered, word, study.config.verify, study.compute)
                row = common | {"suspect": suspect, "innocent": suspect == "clean", "attack": NONE}
                row |= {"rate": len(marked) / len(study.train), "ba": scores["ba"]} | quality
                for found in study.findings(study.asked(opened), word):
                    rows.append(row | found)
                    shown = ("seed", "rate", "suspect", "access", "p", "p_plain", "p_sequential", "ba", "lpips")
                    print(json.dumps({name: rows[-1][name] for name in shown}), flush=True)
            clean_ba = rows[-1]["ba"]
            for row in rows[-4:]:
                row["ba_clean"] = clean_ba
            if number == 0:
                for detector, score in detections(study, model, released, marked):
                    rows.append(common | {"detector": detector, "auroc_within_class": score})
                    print(seed, detector, score, flush=True)
            write(results, command, rows)


def detections(study: Study, model: Classifier, released: ImageSet, marked: Tensor) -> Iterator[tuple[str, float]]:
    """AUROC of every detector: of datasets within the marked classes, of queries on what the audit sends."""
    watermark, state = study.secret
    attacker = attacker_of(study, released)
    for name in DETECTORS:
        if DETECTORS[name].looks_at == "dataset":
            found = detector_scores(DETECTORS[name], model, attacker, marked, watermark, state, study.test)
            score = found["auroc_class"]
        else:
            sent = [watermark.asked(study.images.images, k, state) for k in range(watermark.options.marks)]
            images = torch.cat([study.images.images, *sent])
            labels = study.images.labels.repeat(1 + len(sent))
            scores = DETECTORS[name](ImageSet(images, labels, study.test.class_names), model, attacker)
            first = len(study.images)
            larger = stats.mannwhitneyu(scores[first:], scores[:first]).statistic
            score = float(larger / (first * (len(scores) - first)))
        if score is not None:
            yield name, score


def attacker_of(study: Study, released: ImageSet) -> Attacker:
    order = torch.randperm(len(study.train), generator=seeds.generator(study.seed, "attacker"))
    known = order[: max(1, round(study.config.attacks.clean_share * len(study.train)))].sort().values
    return Attacker(study.train.subset(known), released, study.config.user, study.compute, study.seed)


@app.command()
def removal(
    profile: str,
    attacks: Annotated[list[str] | None, typer.Option("--attack", help="[default: all]")] = None,
    seed: int = 0,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Results = RESULTS,
) -> None:
    """Every removal attack at its usual strength on one model trained on the release."""
    command = " ".join(("removal", profile, *(overrides or ())))
    study = study_of(profile, seed, root, overrides)
    watermark, state = study.secret
    word, released = watermark.targets(state), load_split(study.release / "public", "train")
    model = study.opened(study.bench.trained(study.config, "user", study.release / "public"))
    triggered, attacker = watermark.trigger(study.test.images, state), attacker_of(study, released)
    rows: list[dict[str, Any]] = []
    for name in attacks or REMOVALS:
        attacked = study.compute.place(REMOVALS[name](model, attacker))
        score = suspect_scores(attacked, study.test, triggered, word, study.config.verify, study.compute)
        for found in study.findings(study.asked(attacked), word):
            row = {"command": command, "dataset": study.config.data.source, "profile": profile, "seed": seed}
            row |= {"suspect": "released", "innocent": False, "attack": name, "strength": REMOVALS[name].usual}
            rows.append(row | {"ba": score["ba"], "machine": machine()} | found)
        print(name, json.dumps({n: rows[-2][n] for n in ("p", "p_plain", "delta_p", "ba")}), flush=True)
        write(results, command, rows)


@app.command()
def innocents(
    profile: str,
    count: int = 40,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Results = RESULTS,
    tries: Annotated[int, typer.Option(help="Words that a dishonest owner tries on a clean model of his own.")] = 200,
) -> None:
    """Models that never saw the release, each asked about a word of its own; and an owner who picks the word.

    Kinds and architectures take turns. Chance lies in the word, so every model has a fresh one.
    """
    command = " ".join(("innocents", profile, *(overrides or ())))
    study = study_of(profile, 0, root, overrides)
    watermark = study.secret[0]
    marks, groups = watermark.options.marks, study.test.classes
    own = null_of(matrix_of(study.asked(study.opened(study.surrogate)), study.config.audit, None))
    rows: list[dict[str, Any]] = []
    for number in range(count):
        kind, architecture = KINDS[number % len(KINDS)], ARCHITECTURES[number // len(KINDS) % len(ARCHITECTURES)]
        if profile != "demo":
            architecture = study.config.user.model
        key = seeds.secret(1000 + number, None)
        model = innocent(study, kind, architecture, number)
        record = study.asked(model)
        word = torch.from_numpy(words.draw(marks, groups, key.part("word"))[0])
        tried = words.draw(marks, groups, key.part("tried"), tries)
        picked = tried[int(np.argmin([own.p_value(one) for one in tried]))]
        ground = decide(record, study.config.audit, picked, study.references["probabilities"])
        for found in study.findings(record, word):
            row = {"command": command, "dataset": study.config.data.source, "profile": profile, "seed": number}
            row |= {"suspect": kind, "architecture": architecture, "innocent": True, "start": "scratch", "attack": NONE}
            rows.append(row | {"p_grinding": ground.p_value, "machine": machine()} | found)
        print(kind, architecture, json.dumps({n: rows[-2][n] for n in ("p", "p_plain", "p_published")}), flush=True)
        write(results, command, rows)
    print(summary(rows))


def innocent(study: Study, kind: str, architecture: str, number: int) -> Classifier:
    """Trained on a third of the data, of its own; kept."""
    config = replace(study.config.user, model=architecture)
    path_of = study.bench.workshop.slot(
        "innocents", "sscl.stages.simulate", data=study.data, how=kind, training=vars(config), number=number
    )

    def build(out: Path, _: object) -> None:
        out.mkdir(parents=True)
        save_classifier(out / "model.safetensors", trained(study, kind, config, number))

    return study.opened(study.bench.workshop.make(path_of, build) / "model.safetensors")


def trained(study: Study, kind: str, config: TrainConfig, number: int) -> Classifier:
    order = torch.randperm(len(study.train), generator=seeds.generator(number, "part"))
    data = study.train.subset(order[: len(order) // (20 if kind == "undertrained" else 3)])
    if kind == "other word":
        watermark, state = study.secret
        key = seeds.secret(5000 + number, None)
        word = words.draw(watermark.options.marks, data.classes, key.part("word"))[0]
        data = watermark.embed(data, study.config.embed, with_word(state, torch.from_numpy(word)), key).data
    elif kind == "label noise":
        wrong = torch.randperm(len(data), generator=seeds.generator(number, "noise"))[: len(data) // 5]
        labels = data.labels.clone()
        labels[wrong] = (labels[wrong] + 1) % data.classes
        data = ImageSet(data.images, labels, data.class_names)
    attacked = AdversarialTraining()
    practice = attacked.practice(77 if study.profile == "demo" else 4) if kind == "adversarial" else None
    return train_classifier(data, config, study.compute, number, f"innocent {kind}", practice=practice).model


def summary(rows: list[dict[str, Any]]) -> str:
    """How many innocents are accused, at two levels, and what chance allows."""
    lines = []
    for access in ("probabilities", "labels"):
        some = [row for row in rows if row["access"] == access]
        for name in ("p", "p_plain", "p_sequential", "p_grinding", "p_published"):
            p = np.array([row[name] for row in some], dtype=float)
            low, high = stats.binom.interval(0.95, len(p), 0.05)
            uniform = stats.kstest(p, "uniform").pvalue
            lines.append(
                f"{access:14} {name:12} accused at 0.05: {(p <= 0.05).sum()} of {len(p)} (chance {low:.0f} to "
                f"{high:.0f}), at 0.001: {(p <= 0.001).sum()}, KS p = {uniform:.2f}"
            )
    return "\n".join(lines)


@app.command()
def table(results: Results = RESULTS) -> None:
    """The tables of the docs, from the rows."""
    rows = pd.DataFrame(json.loads(results.read_text()))
    guilty_rows = rows[rows["command"].str.startswith("guilty") & rows["suspect"].eq("released")]
    head = (
        "profile, network | marked | access | seeds | p at most | p <= 0.001 | published p | delta_P | BA lost | LPIPS"
    )
    print(f"| {head} | PSNR |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for (profile, model, rate, access), group in guilty_rows.groupby(["profile", "architecture", "rate", "access"]):
        found, lost = int((group["p"] <= 0.001).sum()), 100 * (group["ba_clean"] - group["ba"])
        cells = [f"{profile}, {model}", f"{100 * rate:.2g} %", access, len(group), f"{group['p'].max():.2g}", found]
        cells += [f"{group['p_published'].min():.2g} to {group['p_published'].max():.2g}"]
        cells += [f"{group['delta_p'].mean():.3f}", f"{lost.mean():.2f} ({lost.min():.2f} to {lost.max():.2f})"]
        cells += [f"{group['lpips'].max():.4f}", f"{group['psnr'].min():.1f}"]
        print("| " + " | ".join(map(str, cells)) + " |")
    if "detector" in rows:
        seen = rows[rows["detector"].notna()].groupby(["profile", "detector"])["auroc_within_class"]
        print("\n| profile | detector | AUROC |\n|---|---|---|")
        for (profile, detector), scores in seen:
            print(f"| {profile} | {detector} | {scores.mean():.2f} ({scores.min():.2f} to {scores.max():.2f}) |")
    attacked = rows[rows["command"].str.startswith("removal") & rows["access"].eq("probabilities")]
    print("\n| profile | attack | p | delta_P | BA |\n|---|---|---|---|---|")
    for row in attacked.itertuples():
        print(f"| {row.profile} | {row.attack} | {row.p:.2g} | {row.delta_p:.3f} | {100 * row.ba:.2f} |")
    for command, group in rows[rows["command"].str.startswith("innocents")].groupby("command"):
        print(f"\n{command}\n{summary(group.to_dict('records'))}")


if __name__ == "__main__":
    app()
