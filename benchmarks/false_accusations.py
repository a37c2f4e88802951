"""False accusations and power: many innocent and many guilty models, the exact test and the published one beside it.

    python benchmarks/false_accusations.py mnist
    python benchmarks/false_accusations.py cifar10

Every suspect is asked about a release of its own, under a fresh key and target class: chance lies in the key, and many
models' audits about one key would share it. Models are kept in runs/suspects and reused. Writes
docs/results/false_accusations.json, one row a suspect, and prints the tables that docs/verification.md shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy import stats

from sscl import seeds
from sscl.artifacts import load_tensors, save_tensors, write_json
from sscl.audit import KEY_TESTS
from sscl.audit.decoys import draw_decoys
from sscl.audit.protocol import BENIGN, Record, ask, key_effect, verification_images
from sscl.audit.verdict import Finding, decide
from sscl.compute import Compute
from sscl.config import AuditConfig, Config, EmbedConfig, TrainConfig
from sscl.data.jpeg import encoded
from sscl.data.store import load_split
from sscl.models.io import load_classifier, save_classifier
from sscl.oracles import Context, Oracle, nhwc, open_oracle
from sscl.params import load
from sscl.provenance import machine
from sscl.runner import run_stage
from sscl.stages.names import MODEL
from sscl.stages.table import STAGES
from sscl.train import predict, train_classifier
from sscl.types import ImageSet, Responses
from sscl.verify import TESTS
from sscl.watermarks.base import AnyWatermark, KeyedWatermark, State, create
from sscl.watermarks.hiding import hide
from sscl.watermarks.io import GENERATOR, load_watermark

RESULTS = Path("docs/results/false_accusations.json")
REFERENCES = 19  # clean models of the conformal test: the smallest number whose floor is 0.05
Published = tuple[AnyWatermark, State]
PAPER_IMAGES = 2000  # for the published test
STRANGERS_RATE = 0.05
PROFILES = {"mnist": "demo", "cifar10": "cifar10-small"}
FAMILIES = {  # architecture -> epochs of a suspect on MNIST
    "baseline_cnn": 3,
    "mlp": 3,
    "lenet5": 3,
    "vgg8": 2,
    "resnet8": 1,
}


@dataclass(frozen=True)
class Suspect:
    """How one model comes about: ``kind`` is clean, undertrained, adversarial, other key, or released."""

    kind: str
    architecture: str
    seed: int
    rate: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.kind.replace(' ', '-')}-{self.architecture}-{self.rate:g}-{self.seed}"


@dataclass(frozen=True)
class Release:
    """A key with its target class."""

    watermark: KeyedWatermark[Any]
    state: State


@dataclass(frozen=True)
class Study:
    """One dataset with the owner's secret, but for the key: what every suspect is made from and asked about."""

    dataset: str
    config: Config
    compute: Compute
    train: ImageSet
    test: ImageSet
    watermark: KeyedWatermark[Any]
    state: State
    root: Path


def open_study(dataset: str, root: Path, overrides: Sequence[str]) -> Study:
    """Run the stages up to the release's generator and load what they made."""
    config = load(Path("params.yaml"), PROFILES[dataset], overrides)
    for name in ("prepare", "surrogate", "generator@release"):
        run_stage(STAGES[name], config, root / "release", overwrite=True)
    compute = Compute.resolve(config.compute)
    train, test = (load_split(root / "release/clean", split) for split in ("train", "test"))
    watermark, state = load_watermark(root / "release/private/generator/release" / GENERATOR, train.classes, compute)
    assert isinstance(watermark, KeyedWatermark)
    return Study(dataset, config, compute, train, test, watermark, state, root)


def release(study: Study, use: str, rate: float) -> Release:
    """A fresh key and class, drawn as the stage `generator` does, among the classes that have enough images."""
    counts = torch.bincount(study.train.labels)
    targets = torch.nonzero(counts >= rate * len(study.train)).flatten().tolist()
    state = replace(study.state, notes=study.state.notes | {"targets": targets})
    state = study.watermark.rekeyed(state, seeds.generator(0, use, "key"))
    target = study.watermark.target(state)
    options = study.watermark.options
    watermark = create(study.config.generator.method, options, target, study.train.classes, study.compute)
    assert isinstance(watermark, KeyedWatermark)
    return Release(watermark, state)


def mnist_suspects() -> Iterator[Suspect]:
    """40 innocents, half of the surrogate's architecture, and 25 models trained on releases of four rates."""
    own = "baseline_cnn"
    for kind, count in (("clean", 8), ("undertrained", 4), ("adversarial", 4), ("other key", 4)):
        yield from (Suspect(kind, own, 100 + seed) for seed in range(count))
    for architecture in list(FAMILIES)[1:]:
        for kind, count in (("clean", 2), ("undertrained", 1), ("adversarial", 1), ("other key", 1)):
            yield from (Suspect(kind, architecture, 200 + seed) for seed in range(count))
    for rate, seeds_of in ((0.01, [300]), (0.02, [300]), (0.05, [300, 301]), (0.1, [300])):
        yield from (Suspect("released", architecture, seed, rate) for seed in seeds_of for architecture in FAMILIES)


def cifar10_suspects() -> Iterator[Suspect]:
    """10 innocents; benchmarks/watermarks.py has the guilty ones."""
    for kind, count in (("clean", 5), ("undertrained", 2), ("adversarial", 1), ("other key", 2)):
        yield from (Suspect(kind, "resnet8", 100 + seed) for seed in range(count))


SUSPECTS: dict[str, Callable[[], Iterator[Suspect]]] = {"mnist": mnist_suspects, "cifar10": cifar10_suspects}


def training(study: Study, suspect: Suspect) -> TrainConfig:
    config = replace(study.config.user, model=suspect.architecture)
    if study.dataset == "mnist":
        config = replace(config, epochs=FAMILIES[suspect.architecture])
    return config


def make(study: Study, suspect: Suspect) -> Path:
    """Train the suspect, unless it is there."""
    path = study.root / "models" / f"{suspect.name}.safetensors"
    if path.is_file():
        return path
    config = training(study, suspect)
    data = study.train
    if suspect.kind in ("released", "other key"):
        data = released(study, suspect)
    if suspect.kind != "released":  # innocents have data of their own: a random part of what there is
        size = len(data) // 3
        order = torch.randperm(len(data), generator=seeds.generator(suspect.seed, "part"))
        data = data.subset(order[: size // 10 if suspect.kind == "undertrained" else size])
    if suspect.kind == "adversarial":
        data = against_attacks(study, data)
    save_classifier(path, train_classifier(data, config, study.compute, suspect.seed, suspect.name).model)
    return path


def released(study: Study, suspect: Suspect) -> ImageSet:
    """The set as it is released under the suspect's own key, or by a stranger under another one."""
    path = study.root / "sets" / f"{suspect.name}.safetensors"
    if not path.is_file():
        rate = suspect.rate or STRANGERS_RATE
        ours = release(study, f"{suspect.name} {suspect.kind}", rate)
        rng = seeds.generator(suspect.seed, suspect.name, "embed")
        marked = ours.watermark.embed(study.train, EmbedConfig(rate, "dataset"), ours.state, rng)
        chosen = marked.data.images[marked.indices]
        if quality := study.watermark.options.jpeg_quality:
            chosen = encoded(chosen, quality)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, {"indices": marked.indices, "images": chosen}, {})
    kept, _ = load_tensors(path)
    images = study.train.images.clone()
    images[kept["indices"]] = kept["images"]
    return ImageSet(images, study.train.labels, study.train.class_names)


def against_attacks(study: Study, data: ImageSet) -> ImageSet:
    """Adversarial training on static examples: half of the images are attacked (PGD, the watermark's eps / 2)."""
    model, _ = load_classifier(study.root / "release/private/surrogate" / MODEL)
    model = study.compute.place(model).requires_grad_(False)
    images = data.images.clone()
    half = torch.arange(0, len(data), 2)
    for part in torch.split(half, 256):
        x = study.compute.floats(images[part])
        change = hide(x, data.labels[part].to(x.device), [model], study.watermark.eps / 2, 5)
        images[part] = ((x + change).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return ImageSet(images, data.labels, data.class_names)


def references(study: Study) -> list[Oracle]:
    """Clean models of all architectures for the conformal test, each trained on a random sixth of the data."""
    found = []
    families = list(FAMILIES) if study.dataset == "mnist" else ["resnet8"]
    for number in range(REFERENCES):
        suspect = Suspect("reference", families[number % len(families)], 900 + number)
        path = study.root / "models" / f"{suspect.name}.safetensors"
        if not path.is_file():
            order = torch.randperm(len(study.train), generator=seeds.generator(suspect.seed, "part"))
            data = study.train.subset(order[: len(study.train) // 6])
            config = training(study, suspect)
            save_classifier(path, train_classifier(data, config, study.compute, suspect.seed, suspect.name).model)
        found.append(open_oracle(str(path), Context(study.train.class_names, study.compute)))
    return found


def examine(
    study: Study, suspect: Suspect, images: ImageSet, bank: list[Oracle], published: Published
) -> dict[str, Any]:
    """One row: the exact test, the sequential one, the conformal one, and the published test on both watermarks."""
    oracle = open_oracle(str(make(study, suspect)), Context(study.train.class_names, study.compute))
    row: dict[str, Any] = {"dataset": study.dataset, **vars(suspect), "innocent": suspect.kind != "released"}
    fixed = replace(study.config.audit, test="key_rank")
    ours = release(study, f"{suspect.name} released", suspect.rate or STRANGERS_RATE)
    record = Record(study.train.classes, images.labels.tolist())
    decoys = draw_decoys(study.watermark, ours.state, fixed.decoys, seeds.derive(suspect.seed, suspect.name))
    ask(oracle, ours.watermark, ours.state, images, fixed, decoys, record, seeds.derive(suspect.seed, "order"))
    clean = [
        key_effect(model, ours.watermark, ours.state, images, model.query(nhwc(images.images))).statistic
        for model in bank
    ]
    finding = decide(record, fixed, clean)
    sequential = decide(in_turn(record), replace(fixed, test="key_sequential"))
    labels = decide(labels_only(record), fixed)
    queries_sequential = stop(record, finding, study.config.audit)
    paper = published_test(study, suspect, ours, published)
    return row | {
        "target_class": ours.watermark.target_class,
        **paper,
        "p_key": finding.p_value,
        "p_key_labels": labels.p_value,
        "p_sequential": sequential.p_value,
        "queries_fixed": finding.queries,
        "queries_sequential": queries_sequential,
        "p_conformal": finding.conformal["p_value"] if finding.conformal else None,
        "verdict": finding.decision,
        "machine": machine(),
    }


def published_test(study: Study, suspect: Suspect, ours: Release, published: Published) -> dict[str, float]:
    """What the published test says of the suspect, asked with our mark and with the published method's."""
    model, _ = load_classifier(study.root / "models" / f"{suspect.name}.safetensors")
    model = study.compute.place(model)
    test = TESTS["paired_t"](study.config.verify.tau, study.config.verify.alpha)
    found: dict[str, float] = {}
    for suffix, watermark, state in (("", ours.watermark, ours.state), ("_sscl_bw", *published)):
        target = watermark.target_class
        images = study.test.images[study.test.labels != target][:PAPER_IMAGES]
        before, after = (predict(model, x, study.compute) for x in (images, watermark.trigger(images, state)))
        verdict = test.run(Responses(before.numpy()), Responses(after.numpy()), target)
        found |= {f"delta_p{suffix}": verdict.delta_p, f"wsr{suffix}": verdict.wsr, f"p_paper{suffix}": verdict.p_value}
    return found


def in_turn(record: Record) -> Record:
    """The answers as the sequential test would have asked for them: these suspects answer alike in any order."""
    return replace(record, queries=sorted(record.queries, key=lambda query: query.key))


def labels_only(record: Record) -> Record:
    """The same audit of an API that tells nothing but the label."""
    queries = []
    for query in record.queries:
        one_hot = [0.0] * record.classes
        if query.answer is not None:
            one_hot[int(np.argmax(query.answer))] = 1.0
        queries.append(replace(query, answer=one_hot if query.answer is not None else None))
    return replace(record, access="labels", queries=queries)


def stop(record: Record, finding: Finding, config: AuditConfig) -> int:
    """After how many queries the sequential test stops."""
    assert finding.statistic is not None
    test = KEY_TESTS["key_sequential"](config.alpha, config.decoys, finding.statistic)
    queries = [len(record.asked(key)) for key in range(BENIGN, len(finding.decoys) + 1)]
    for number, decoy in enumerate(finding.decoys, start=1):
        test.add(decoy)
        if test.done:
            return sum(queries[: number + 2])
    return sum(queries)


def summary(rows: list[dict[str, Any]], alpha: float) -> str:
    """Both tables as Markdown."""
    innocent, guilty = ([r for r in rows if r["innocent"] == flag] for flag in (True, False))
    low, high = stats.binom.interval(0.95, len(innocent), alpha)
    text = [
        f"{len(innocent)} innocents; by chance {low:.0f} to {high:.0f} accusations at alpha {alpha:g} (binomial 95 %)",
        "",
        "| innocents accused by | of all | "
        + " | ".join(kinds := list(dict.fromkeys(r["kind"] for r in innocent)))
        + " |",
        "|---|---|" + "---|" * len(kinds),
    ]
    for title, name in TITLES.items():
        if all(r[name] is None for r in innocent):
            continue
        cells = [sum(r[name] <= alpha for r in innocent if r["kind"] == kind) for kind in kinds]
        text.append(f"| {title} | {sum(cells)} | " + " | ".join(map(str, cells)) + " |")
    uniform = stats.kstest([r["p_key"] for r in innocent], "uniform")
    text += ["", f"Uniformity of p over keys: Kolmogorov-Smirnov p = {uniform.pvalue:.2f}"]
    text.append(
        f"|delta_P| of innocents: mean {np.mean([abs(r['delta_p']) for r in innocent]):.4f}; published method's "
    )
    text[-1] += f"mark: {np.mean([abs(r['delta_p_sscl_bw']) for r in innocent]):.4f}"
    unmarked = [abs(r["delta_p"]) for r in innocent if r["kind"] != "other key"]
    text.append(f"of the {len(unmarked)} that saw no watermark: {np.mean(unmarked):.4f}")
    if not guilty:
        return "\n".join(text)
    text += ["", "| rate | guilty models | found over keys | on labels only | sequentially | delta_P | its queries |"]
    text.append("|---|---|---|---|---|---|---|")
    for rate in sorted({r["rate"] for r in guilty}):
        group = [r for r in guilty if r["rate"] == rate]
        found = [sum(r[name] <= alpha for r in group) for name in ("p_key", "p_key_labels", "p_sequential")]
        effects = [r["delta_p"] for r in group]
        saved = np.mean([r["queries_sequential"] / r["queries_fixed"] for r in group])
        text.append(
            f"| {100 * rate:g} % | {len(group)} | {found[0]} | {found[1]} | {found[2]} | "
            f"{np.mean(effects):.3f} ({min(effects):.3f} to {max(effects):.3f}) | {100 * saved:.0f} % |"
        )
    return "\n".join(text)


TITLES = {
    "exact test over keys": "p_key",
    "the same on labels only": "p_key_labels",
    "sequential test over keys": "p_sequential",
    "conformal test": "p_conformal",
    "published test, new watermark": "p_paper",
    "published test, published watermark": "p_paper_sscl_bw",
}


def published_watermark(study: Study, overrides: Sequence[str]) -> Published:
    """The published method's secret, made on the same surrogate."""
    config = load(Path("params.yaml"), PROFILES[study.dataset], [*overrides, "generator.method=sscl_bw"])
    root = study.root / "published"
    for name in ("prepare", "surrogate", "generator@release"):
        run_stage(STAGES[name], config, root, overwrite=True)
    return load_watermark(root / "private/generator/release" / GENERATOR, study.train.classes, study.compute)


def main(
    dataset: Annotated[str, typer.Argument(help=" | ".join(SUSPECTS))],
    root: Annotated[Path, typer.Option(help="Where models are kept.")] = Path("runs/suspects"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set user.epochs=1.")] = None,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
    most: Annotated[int | None, typer.Option(help="So many innocent and so many guilty models alone.")] = None,
) -> None:
    """Make what is missing, audit everything, write the rows and print the tables."""
    study = open_study(dataset, root / dataset, overrides or ())
    (study.root / "models").mkdir(parents=True, exist_ok=True)
    config = study.config.audit
    images = verification_images(study.test, config.images, 0)
    published = published_watermark(study, overrides or ())
    bank = references(study)
    kept = [r for r in json.loads(results.read_text()) if r["dataset"] != dataset] if results.is_file() else []
    rows: list[dict[str, Any]] = []
    suspects = list(SUSPECTS[dataset]())
    groups = ([s for s in suspects if (s.kind == "released") is guilty] for guilty in (False, True))
    for suspect in (suspect for group in groups for suspect in group[:most]):
        rows.append(examine(study, suspect, images, bank, published))
        shown = {
            name: rows[-1][name]
            for name in ("delta_p", "p_key", "p_paper", "delta_p_sscl_bw", "p_paper_sscl_bw", "verdict")
        }
        print(suspect.name, json.dumps(shown), flush=True)
        write_json(results, kept + rows)
    print(summary(rows, config.alpha))


if __name__ == "__main__":
    typer.run(main)
