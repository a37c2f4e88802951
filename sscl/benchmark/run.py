"""A cell of the benchmark to its row: pieces are made once and shared between cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from sscl import seeds
from sscl.artifacts import load_tensors, read_json, write_json
from sscl.attacks import DETECTORS, INVERSIONS, REMOVALS, Attacker, known_clean, labelled_training
from sscl.audit.commitment import reference_effects
from sscl.audit.questions import questions_for
from sscl.audit.whole import exact_finding
from sscl.benchmark.measure import craft_seconds, inversion_scores, suspect_scores
from sscl.benchmark.plan import INDEPENDENT, NONE, Cell, described
from sscl.benchmark.timing import estimated
from sscl.benchmark.workshop import Workshop, precision
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import Config, dump
from sscl.data.listing import listing
from sscl.data.spread import spread
from sscl.data.store import Card, first_file, load_split
from sscl.detection import detector_scores
from sscl.layout import INDICES, MODEL
from sscl.learning.learn import train_and_save
from sscl.models import Classifier
from sscl.models.io import load_frozen
from sscl.outside import of_training
from sscl.params import Raw, build, overlay, read, rebased
from sscl.perceptual import LPIPS, image_quality
from sscl.provenance import machine
from sscl.slots import Slot
from sscl.stages import generator, prepare
from sscl.suspects import Context, open_oracle
from sscl.suspects.classifier import InMemory
from sscl.types import ImageSet
from sscl.watermarks.base import WeightsTested
from sscl.watermarks.embedding import embed_under, throw_away
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode

ROW = "row.json"
# Sections of the parameters that a cell's figures follow from; `compute` besides.
READ = (
    "seed",
    "target_class",
    "data",
    "surrogate",
    "generator",
    "embed",
    "independent",
    "user",
    "attacks",
    "verify",
    "audit",
)
LPIPS_IMAGES = 500  # marked images over which visibility is measured


@dataclass(frozen=True)
class Bench:
    """A benchmark's folder and parameters.

    Attributes:
        root: where pieces and rows are kept.
        params: ``params.yaml``.
        overrides: ``section.key=value`` for every cell.
    """

    root: Path
    params: Path
    overrides: tuple[str, ...] = ()

    @property
    def workshop(self) -> Workshop:
        return Workshop(self.root)

    def config(self, cell: Cell) -> Config:
        """The profile's parameters with what the cell replaces."""
        changes = [f"seed={cell.seed}", f"generator.method={cell.method}"]
        if cell.rate is not None:
            changes.append(f"embed.rate={cell.rate}")
        if cell.eps is not None:
            changes.append(f"generator.{cell.method}.eps={cell.eps}")
        if cell.surrogate is not None:
            changes.append(f"surrogate.model={cell.surrogate}")
        if cell.suspect is not None:
            changes.append(f"user.model={cell.suspect}")
        found = build(overlay(self._sections, cell.profile, [*self.overrides, *cell.overrides, *changes]))
        return rebased(found, self.params.parent)

    @cached_property
    def _sections(self) -> Raw:
        return read(self.params)

    def slot(self, cell: Cell) -> Slot:
        """Where the cell's row is."""
        config = self.config(cell)
        where = precision(config.compute)
        files = listing(config.data)
        whole = dump(config)
        read_here = {name: whole[name] for name in READ}
        return self.workshop.slot("cells", __name__, cell=asdict(cell), config=read_here, files=files, **where)

    def row(self, cell: Cell) -> dict[str, Any]:
        """The cell's row, measured now unless it is there."""
        slot = self.slot(cell)
        self.workshop.make(slot, lambda out, _: self._measure(cell, out))
        return self._read(slot)

    def _read(self, slot: Slot) -> dict[str, Any]:
        return {**read_json(slot.outs[0] / ROW), "seconds": self.workshop.seconds(slot)}

    def _measure(self, cell: Cell, out: Path) -> None:
        config = self.config(cell)
        row = {"dataset": config.data.source} | described(cell) | _measured(self, cell, config) | {"machine": machine()}
        out.mkdir(parents=True)
        write_json(out / ROW, row)

    def data(self, config: Config) -> Path:
        """The clean dataset."""
        parts = {"data": asdict(config.data), "seed": config.seed, "files": listing(config.data)}
        slot = self.workshop.slot("data", "sscl.stages.prepare", **parts)
        refused = self.root / "refused.csv"
        return self.workshop.make(slot, lambda out, _: prepare.run(config.data, config.seed, out, refused))

    def trained(self, config: Config, which: str, data: Path) -> Path:
        """A model on a stored dataset, by the ``surrogate`` or ``user`` section."""
        training = config.surrogate if which == "surrogate" else config.user
        slot = self.workshop.slot(
            "models",
            "sscl.learning.learn",
            which=which,
            training=asdict(training),
            **precision(config.compute),
            seed=config.seed,
            data=data,
            **of_training(training),
        )

        def build(out: Path, checkpoint: Checkpoint) -> None:
            compute = Compute.set_up(config.compute)
            train_and_save(training, compute, config.seed, use=which, data=data, out=out, checkpoint=checkpoint)

        return self.workshop.make(slot, build) / MODEL

    def released(self, config: Config, data: Path, surrogate: Path, variant: str = "release") -> tuple[Path, float]:
        """The released set with its secret beside it, ours or another owner's; seconds to fit the method."""
        method = {"generator": dump(config)["generator"], "target": config.target_class, "seed": config.seed}
        if variant != "release":
            method |= asdict(config.independent)
        where = precision(config.compute)
        fit = self.workshop.slot("secrets", "sscl.stages.generator", data=data, surrogate=surrogate, **method, **where)
        secret = self.workshop.make(
            fit,
            lambda out, checkpoint: generator.run(
                generator=config.generator,
                target_class=config.target_class,
                independent=config.independent,
                surrogate=config.surrogate,
                compute=config.compute,
                seed=config.seed,
                key_file=None,
                data=data,
                surrogate_model=surrogate.parent,
                out=out,
                variant=variant,
                checkpoint=checkpoint,
            ),
        )
        parts = {"embed": asdict(config.embed), "seed": config.seed, "variant": variant}
        parts |= {"independent": asdict(config.independent)} if variant != "release" else {}
        mark = self.workshop.slot("releases", "sscl.watermarks.embedding", data=data, secret=secret, **parts, **where)
        folder = self.workshop.make(mark, lambda out, _: _embed(config, data, secret, out=out, variant=variant))
        return folder, self.workshop.seconds(fit)

    def minutes(self, cells: Iterable[Cell]) -> tuple[int, float]:
        """How many cells are there already, and minutes for the rest from past timings of their like."""
        cells = list(cells)
        waiting = [cell for cell in cells if not self.slot(cell).is_done()]
        past = pd.DataFrame(self._past())
        return len(cells) - len(waiting), sum(estimated(past, cell) for cell in waiting)

    def _past(self) -> Iterator[dict[str, Any]]:
        """Every row that was ever measured here, whatever the code and parameters were, with its seconds."""
        for folder in sorted((self.root / "cells").glob("*")):
            noted = Slot(f"cells-{folder.name}", (folder,), "", self.root / ".sscl").manifest()
            if noted and (folder / ROW).is_file():
                yield {**read_json(folder / ROW), "seconds": noted["seconds"]}


def _embed(config: Config, data: Path, secret: Path, *, out: Path, variant: str) -> None:
    """Without a commitment: in a study the word follows from the seed, as everything does."""
    out.mkdir(parents=True)
    key = seeds.secret(config.seed if variant == "release" else config.independent.seed, None).part(
        "benchmark", variant
    )
    watermark, state = load_watermark(
        secret / GENERATOR, len(Card.read(data).class_names), Compute.set_up(config.compute)
    )
    if isinstance(watermark, OwnershipCode):
        state = throw_away(watermark, state, Card.read(data), key.part("word"))
    public, private = out / "public", out / "private"
    embed_under(watermark, state, config.embed, key=key, data=data, public=public, private=private, label=variant)


def _measured(bench: Bench, cell: Cell, config: Config) -> dict[str, Any]:
    compute = Compute.set_up(config.compute)
    data = bench.data(config)
    surrogate = bench.trained(config, "surrogate", data)
    released, fit_seconds = bench.released(config, data, surrogate)
    secret = released / "private"
    test = _loaded(data, "test")
    watermark, state = load_watermark(secret / GENERATOR, test.classes, compute)
    marked = load_tensors(secret / INDICES)[0]["indices"]
    seen_by_user = released
    if cell.attack == INDEPENDENT:
        seen_by_user, _ = bench.released(config, data, surrogate, "independent")
    model = _users_model(bench, config, seen_by_user / "public", compute)
    attacker, known = _attacker(config, data, released / "public", compute)
    if cell.attack in DETECTORS:
        return detector_scores(
            DETECTORS[cell.attack],
            model,
            attacker,
            marked=marked,
            watermark=watermark,
            state=state,
            test=test,
            known=known,
        )
    if cell.attack in INVERSIONS:
        innocent = _users_model(bench, config, data, compute)
        return inversion_scores(
            INVERSIONS[cell.attack], model, innocent, attacker=attacker, targets=watermark.targets(state)
        )
    if cell.attack in REMOVALS:
        model = compute.place(REMOVALS[cell.attack](model, attacker, cell.strength))
    marked_test = watermark.trigger(test.images, state)
    committed = None
    if isinstance(watermark, OwnershipCode):
        key = seeds.secret(cell.seed, None).part("images")
        questions = questions_for(test, watermark, state, config=config.audit, key=key)
        oracle = open_oracle(str(surrogate), Context(test.class_names, compute))
        committed = reference_effects(questions, config.audit, oracle)["probabilities"]

    def scores(suspect: Classifier) -> dict[str, Any]:
        found: dict[str, Any] = suspect_scores(
            suspect, test, marked_test, targets=watermark.targets(state), verify=config.verify, compute=compute
        )
        found |= {"p_exact": None, "p_weights": None}
        if isinstance(watermark, WeightsTested):
            found["p_weights"] = watermark.weights_p_value(suspect, state, test.images)
        if isinstance(watermark, OwnershipCode):
            oracle = InMemory(suspect, Context(test.class_names, compute))
            word = watermark.targets(state).numpy()
            finding = exact_finding(oracle, questions, word, audit=config.audit, references=committed)
            found["p_exact"] = finding.p_value
        return found

    row = scores(model)
    if cell.attack == NONE:
        some = marked[spread(len(marked), LPIPS_IMAGES)]
        clean = _loaded(data, "train").images[some]
        row |= image_quality(LPIPS().to(compute.device), clean, attacker.released.images[some])
        row |= {"clean_label": watermark.clean_label, "targeted": watermark.targeted, "marked": len(marked)}
        row |= {"fit_seconds": fit_seconds, "eps_used": watermark.eps}
        row["craft_seconds"] = craft_seconds(watermark, state, _loaded(data, "train"), config.seed)
        innocent = _users_model(bench, config, data, compute)
        row |= {f"clean_{name}": value for name, value in scores(innocent).items()}
    return row


def _users_model(bench: Bench, config: Config, data: Path, compute: Compute) -> Classifier:
    """What the user gets from a set: a release, another owner's, or, for an innocent, the clean one."""
    return load_frozen(bench.trained(config, "user", data), compute)


@lru_cache(maxsize=4)
def _loaded(folder: Path, split: str) -> ImageSet:
    """A piece's images; pieces never change, and neighbouring cells share them."""
    return load_split(folder, split)


def _attacker(config: Config, data: Path, released: Path, compute: Compute) -> tuple[Attacker, Tensor]:
    """Has the released set and knows some images to be clean; which ones these are."""
    train = _loaded(data, "train")
    known = known_clean(len(train), config.attacks.clean_share, config.seed)
    clean: ImageSet = train.subset(known)
    file = first_file(released)
    return Attacker(
        clean, _loaded(released, "train"), labelled_training(config.user), compute, config.seed, file
    ), known
