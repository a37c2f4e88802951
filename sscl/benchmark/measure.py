"""What is measured of one suspect, and of one detector."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from sscl import seeds
from sscl.attacks import Attacker, Detector, TriggerInversion
from sscl.audit.protocol import Record, ask, verification_images
from sscl.audit.verdict import Finding, decide
from sscl.compute import Compute
from sscl.config import AuditConfig, VerifyConfig
from sscl.models import Classifier
from sscl.oracles import Context
from sscl.oracles.classifier import InMemory
from sscl.train import predict
from sscl.types import ImageSet, Responses
from sscl.verify import TESTS
from sscl.watermarks.base import AnyWatermark, KeyedWatermark, State

FALSE_POSITIVES = 0.01  # at which a detector's recall is taken
QUERIES = 1000  # test images that detectors of queries are shown, without and with the mark
CRAFTED = 32  # images that are marked to see how long it takes


def suspect_scores(
    model: Classifier, test: ImageSet, marked: Tensor, target: int, verify: VerifyConfig, compute: Compute
) -> dict[str, float]:
    """BA; WSR toward ``target``; untargeted WSR; ``delta_P``; the published test's p. ``marked``: all test images.

    ``wsr_untargeted`` is over the test images of every class that are answered rightly without the mark: the share that
    is answered wrongly with it. The others are over non-target images, as in the paper.
    """
    before, after = (predict(model, images, compute) for images in (test.images, marked))
    others, right = test.labels != target, before.argmax(dim=1) == test.labels
    benign, answers = (Responses(p[others].numpy()) for p in (before, after))
    return {
        "ba": _share(right),
        "wsr": _share(after.argmax(dim=1)[others] == target),
        "wsr_untargeted": _share(after.argmax(dim=1)[right] != test.labels[right]),
        "delta_p": float((after - before)[others, target].mean()),
        "p_paper": TESTS["paired_t"](verify.tau, verify.alpha).run(benign, answers, target).p_value,
    }


def key_finding(
    model: Classifier,
    watermark: KeyedWatermark[Any],
    state: State,
    decoys: list[State],
    test: ImageSet,
    audit: AuditConfig,
    compute: Compute,
    seed: int,
) -> Finding:
    """The exact test over all keys."""
    images = verification_images(test, audit.images, seed)
    fixed, record = replace(audit, test="key_rank"), Record(test.classes, images.labels.tolist())
    oracle = InMemory(model, Context(test.class_names, compute))
    ask(oracle, watermark, state, images, fixed, decoys, record, seed)
    return decide(record, fixed)


def detector_scores(
    detector: Detector,
    model: Classifier,
    attacker: Attacker,
    marked: Tensor,
    watermark: AnyWatermark,
    state: State,
    test: ImageSet,
    known: Tensor | None = None,
) -> dict[str, float | None]:
    """AUROC, AUROC among images labelled ``y_t``, and recall at 1 % false positives.

    Detectors of a dataset look at the released set and should find ``marked``; scores of images of which the attacker
    knows that they are clean (``known``) do not count. Those of queries look at test images of other classes.
    ``auroc_class`` tells the images apart from the class that they are in; it is ``None`` where marks point to no class
    (then ``auroc`` says it all), and 0 is as telling as 1: the larger part of the class is marked.
    """
    if detector.looks_at == "queries":
        images, truth = query_pairs(watermark, state, test)
        scores = detector(images, model, attacker)
        return {**_areas(truth, scores), "auroc_class": None, "marked_share": None}
    released, truth = attacker.released, np.zeros(len(attacker.released), dtype=bool)
    truth[marked.numpy()] = True
    counted = np.ones(len(released), dtype=bool)
    if known is not None:
        counted[known.numpy()] = False
    scores = detector(released, model, attacker)
    mine = (released.labels == watermark.target_class).numpy() & counted
    pointed = watermark.targeted and bool(truth[mine].any()) and not truth[mine].all()
    return {
        **_areas(truth[counted], scores[counted]),
        "auroc_class": float(roc_auc_score(truth[mine], scores[mine])) if pointed else None,
        "marked_share": float(truth[mine].mean()) if pointed else None,
    }


def query_pairs(watermark: AnyWatermark, state: State, test: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Non-target test images without and with the mark, and which are marked."""
    part = test.subset(torch.nonzero(test.labels != watermark.target_class).flatten()[:QUERIES])
    both = torch.cat((part.images, watermark.trigger(part.images, state)))
    return ImageSet(both, torch.cat((part.labels, part.labels)), test.class_names), np.arange(len(both)) >= len(part)


def _areas(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    return {"auroc": float(roc_auc_score(truth, scores)), "recall": recall_at(truth, scores, FALSE_POSITIVES)}


def craft_seconds(watermark: AnyWatermark, state: State, train: ImageSet, seed: int) -> float:
    """Seconds to mark 1,000 images, from as many as are worth the wait; files are not counted."""
    some = train.subset(watermark.candidates(train.labels)[:CRAFTED])
    rng = seeds.generator(seed, "benchmark", "craft")
    watermark.apply(some.images[:2], some.labels[:2], state, rng)  # opens the secret's networks
    start = time.perf_counter()
    watermark.apply(some.images, some.labels, state, rng)
    return 1000 * (time.perf_counter() - start) / len(some)


def inversion_scores(
    inversion: TriggerInversion, model: Classifier, innocent: Classifier, attacker: Attacker, target: int
) -> dict[str, Any]:
    """How suspicious ``y_t`` looks in the model and in a clean one, and whether classes are accused."""
    found, clean = inversion.score(model, attacker), inversion.score(innocent, attacker)
    return {
        "anomaly": float(found[target]),
        "clean_anomaly": float(clean[target]),
        "accused": bool(found[target] > inversion.suspicious),
        "accused_others": int((np.delete(found, target) > inversion.suspicious).sum()),
        "clean_accused": int((clean > inversion.suspicious).sum()),
    }


def recall_at(truth: np.ndarray, scores: np.ndarray, false_positives: float) -> float:
    """The largest share of marked images that a threshold finds with at most that share of the others."""
    wrong, found, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(found[wrong <= false_positives].max())


def _share(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else float("nan")
