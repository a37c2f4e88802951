"""The quality gate: what a rehearsal costs its users, and whether it could be proven, held against limits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sscl.artifacts import digest, key_of, load_tensors, read_json, write_json
from sscl.attacks import DETECTORS, Attacker, labelled_training
from sscl.audit.opening import images_key
from sscl.audit.questions import questions_for
from sscl.audit.references import references_of
from sscl.audit.whole import exact_finding
from sscl.compute import Compute
from sscl.config import Config
from sscl.data.spread import spread
from sscl.data.store import Card, first_file, load_split
from sscl.detection import detector_scores
from sscl.errors import InputError
from sscl.layout import CLEAN, HISTORY, INDICES, MODEL, OPENED, REHEARSAL, Root
from sscl.models.io import load_frozen
from sscl.params import build
from sscl.perceptual import LPIPS, lpips_at
from sscl.provenance import code_digest
from sscl.release.config import Limits
from sscl.release.errors import GateError
from sscl.slots import Slot, building
from sscl.suspects import Context
from sscl.suspects.classifier import InMemory
from sscl.train import benign_accuracy
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode

FIGURES = "figures.json"
LPIPS_IMAGES = 2000  # marked images over which visibility is measured


@dataclass(frozen=True)
class Check:
    """One figure of the gate; ``figure`` is NaN where it was not measured, which passes nothing."""

    name: str
    figure: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.figure <= self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.figure:.4g} (limit {self.limit:g})"


def check(root: Root, limits: Limits) -> list[Check]:
    """Every figure of the rehearsal under ``root``. Nothing of the released word is looked at, so none is chosen.

    Raises:
        InputError: the pipeline has not run to its end there, or the released set is not the one that was measured.
    """
    metrics = read_json(root.metrics)
    if metrics.get("release") != Card.read(root.released).name:
        raise InputError(f"{root.metrics}: is of another release than {root.released}; run the pipeline to its end")
    found = figures(root, metrics)
    auroc = {name: score for name, score in found.items() if name not in ("lpips", "p_value", "benign_accuracy")}
    values = {
        "ba_drop": _clean_accuracy(root, metrics) - found["benign_accuracy"],
        "lpips": found["lpips"],
        "auroc": max(0.5 + abs(score - 0.5) for score in auroc.values()),
        "p_value": found["p_value"],
    }
    allowed = asdict(limits)
    return [Check(name, figure, allowed[name]) for name, figure in values.items()]


def judge(checks: list[Check]) -> None:
    """Raises ``GateError`` that names the figures above their limits, if there are any."""
    failed = [str(check) for check in checks if not check.passed]
    if failed:
        raise GateError(
            f"quality gate: {'; '.join(failed)}; nothing was published. For a lower p raise embed.rate or the marks' "
            "visible and eps, or train longer; for the others lower them; or change release.limits"
        )


def figures(root: Root, metrics: dict[str, Any]) -> dict[str, float]:
    """The rehearsal's LPIPS, p-value, benign accuracy and the AUROC of detectors; computed once a release.

    Of every detector that looks at a dataset: over it, and within the marked classes. One that is always wrong sees as
    much as one that is always right. A method without an exact test has NaN for p, which passes nothing.

    Raises:
        InputError: the rehearsal is not the one that the report saw.
    """
    config = build(metrics["config"])
    inputs = {name: digest(root.path / name) for name in (CLEAN, REHEARSAL, OPENED)}
    if metrics.get("rehearsal") != inputs[REHEARSAL]:
        raise InputError(f"{root.metrics}: is of another rehearsal than {root.rehearsal}; run the pipeline to its end")
    key = key_of(inputs=inputs, config=metrics["config"], code=code_digest(__name__))
    slot = Slot("gate", (root.gate,), key, root.state)
    with building(slot, overwrite=True) as temporaries:
        if temporaries is not None:
            temporaries[0].mkdir(parents=True)
            write_json(temporaries[0] / FIGURES, _measured(root, config))
    found: dict[str, float | None] = read_json(root.gate / FIGURES)
    return {name: math.nan if value is None else value for name, value in found.items()}


def _clean_accuracy(root: Root, metrics: dict[str, Any]) -> float:
    """Benign accuracy of what was trained on clean images as the rehearsal's model was on marked ones."""
    shortened = root.rehearsal / "clean" / HISTORY
    if shortened.is_file():
        return float(read_json(shortened)["benign_accuracy"])
    return float(metrics["benign_accuracy_clean"])


def _measured(root: Root, config: Config) -> dict[str, float | None]:
    compute = Compute.set_up(config.compute)
    train, test = (load_split(root.clean, split) for split in ("train", "test"))
    watermark, state = load_watermark(root.rehearsal / "secret" / GENERATOR, test.classes, compute)
    marked = load_tensors(root.rehearsal / "secret" / INDICES)[0]["indices"]
    model = load_frozen(root.rehearsal / "model" / MODEL, compute)
    released = load_split(root.rehearsal / "data", "train")
    file = first_file(root.rehearsal / "data")
    attacker = Attacker(train, released, labelled_training(config.user), compute, config.seed, file)
    found: dict[str, float | None] = {}
    for name in DETECTORS:
        if DETECTORS[name].looks_at == "dataset":
            scores = detector_scores(
                DETECTORS[name], model, attacker, marked=marked, watermark=watermark, state=state, test=test
            )
            found |= {name: scores["auroc"], f"{name}_class": scores["auroc_class"]}
    found = {name: score for name, score in found.items() if score is not None}
    shown = marked[spread(len(marked), LPIPS_IMAGES)]
    lpips = lpips_at(LPIPS().to(compute.device), train.images[shown], released.images[shown])
    found |= {"lpips": float(lpips.mean()), "benign_accuracy": benign_accuracy(model, test, compute), "p_value": None}
    if isinstance(watermark, OwnershipCode):
        opening = read_json(root.opening)
        key = images_key(bytes.fromhex(opening["salt"]))
        questions = questions_for(test, watermark, state, config=config.audit, key=key)
        finding = exact_finding(
            InMemory(model, Context(test.class_names, compute)),
            questions,
            watermark.targets(state).numpy(),
            audit=config.audit,
            references=references_of(opening, "probabilities"),
        )
        found["p_value"] = finding.p_value
    return found
