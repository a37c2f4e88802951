"""The quality gate: what a release costs its users, and whether it could be proven, held against limits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sscl.artifacts import STATE, Slot, building, digest, key_of, load_tensors, read_json, write_json
from sscl.attacks import DETECTORS, Attacker
from sscl.benchmark.measure import detector_scores
from sscl.compute import Compute
from sscl.data.store import Card, load_split
from sscl.errors import InputError
from sscl.models.io import load_classifier
from sscl.params import build
from sscl.provenance import code_digest
from sscl.release.config import Limits
from sscl.release.errors import GateError
from sscl.release.places import CLEAN, METRICS, RELEASED, SECRET, USER
from sscl.stages.names import INDICES, MODEL
from sscl.watermarks.io import GENERATOR, load_watermark

FOLDER, FIGURES = "private/gate", "auroc.json"


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


def check(root: Path, limits: Limits) -> list[Check]:
    """Every figure of a finished pipeline under ``root``.

    Raises:
        InputError: the pipeline has not run to its end there, or the released set is not the one that was measured.
    """
    metrics = read_json(root / METRICS)
    if metrics.get("release") != Card.read(root / RELEASED).name:
        raise InputError(f"{root / METRICS}: is of another release than {root / RELEASED}; run the pipeline to its end")
    p_clean, p_key = (
        math.nan if (p := metrics["audits"][name]["p_value"]) is None else p
        for name in ("independent_model", "malicious")
    )
    figures = {
        "ba_drop": metrics["benign_accuracy_clean"] - metrics["benign_accuracy_watermarked"],
        "lpips": metrics["lpips"],
        "clean_delta_p": abs(metrics["verification"]["independent_model"]["delta_p"]),
        "clean_rank": 1 - p_clean,
        "auroc": max(0.5 + abs(found - 0.5) for found in detectability(root, metrics).values()),
        "p_key": p_key,
    }
    allowed = asdict(limits)
    return [Check(name, figure, allowed[name]) for name, figure in figures.items()]


def judge(checks: list[Check]) -> None:
    """Raises ``GateError`` that names the figures above their limits, if there are any."""
    failed = [str(check) for check in checks if not check.passed]
    if failed:
        raise GateError(
            f"quality gate: {'; '.join(failed)}; nothing was published. Mend the release, or release.limits"
        )


def detectability(root: Path, metrics: dict[str, Any]) -> dict[str, float]:
    """AUROC of every detector that looks at a dataset, over it and within the target class; computed once a release.

    One that is always wrong sees as much as one that is always right.
    """
    config = build(metrics["config"])
    inputs = {name: digest(root / name) for name in (CLEAN, RELEASED, SECRET, USER)}
    key = key_of(inputs=inputs, config=metrics["config"], code=code_digest(__name__))
    slot = Slot("gate", (root / FOLDER,), key, root / STATE)
    with building(slot, overwrite=True) as temporaries:
        if temporaries is not None:
            compute = Compute.resolve(config.compute)
            train, test = (load_split(root / CLEAN, split) for split in ("train", "test"))
            watermark, state = load_watermark(root / SECRET / GENERATOR, test.classes, compute)
            marked = load_tensors(root / SECRET / INDICES)[0]["indices"]
            model = compute.place(load_classifier(root / USER / MODEL)[0]).requires_grad_(False).eval()
            attacker = Attacker(train, load_split(root / RELEASED, "train"), config.user, compute, config.seed)
            found: dict[str, float] = {}
            for name in DETECTORS:
                if DETECTORS[name].looks_at == "dataset":
                    scores = detector_scores(DETECTORS[name], model, attacker, marked, watermark, state, test)
                    both = {name: scores["auroc"], f"{name}_class": scores["auroc_class"]}
                    found |= {key: score for key, score in both.items() if score is not None}
            temporaries[0].mkdir(parents=True)
            write_json(temporaries[0] / FIGURES, found)
    figures: dict[str, float] = read_json(root / FOLDER / FIGURES)
    return figures
