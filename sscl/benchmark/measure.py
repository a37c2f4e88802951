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
from sscl.audit.protocol import Record, ask
from sscl.audit.trial import References
from sscl.audit.verdict import Finding, decide
from sscl.compute import Compute
from sscl.config import AuditConfig, VerifyConfig
from sscl.models import Classifier
from sscl.oracles import Oracle
from sscl.stages.verify import verification_pairs
from sscl.train import predict
from sscl.types import ImageSet, Responses
from sscl.verify import TESTS
from sscl.watermarks.base import AnyWatermark, State
from sscl.watermarks.ownership_code import OwnershipCode

FALSE_POSITIVES = 0.01  # at which a detector's recall is taken
QUERIES = 1000  # test images that detectors of queries are shown, without and with the mark
CRAFTED = 32  # images that are marked to see how long it takes


def suspect_scores(
    model: Classifier, test: ImageSet, marked: Tensor, targets: Tensor, verify: VerifyConfig, compute: Compute
) -> dict[str, float]:
    """BA; WSR toward the marks' classes; untargeted WSR; ``delta_P``; the published test's p.

    ``wsr_untargeted`` is over the test images of every class that are answered rightly without the mark: the share that
    is answered wrongly with it. The others are over images of other classes than their mark's, as in the paper.

    Args:
        marked: all test images, as ``trigger`` gives them.
        targets: of the secret, see ``Watermark.targets``.
    """
    before, after = (predict(model, images, compute) for images in (test.images, marked))
    right = before.argmax(dim=1) == test.labels
    chosen, pointed = verification_pairs(test, targets)
    rows = torch.arange(len(chosen))
    benign, answers = (Responses(p[chosen].numpy()) for p in (before, after))
    return {
        "ba": _share(right),
        "wsr": _share(after.argmax(dim=1)[chosen] == pointed),
        "wsr_untargeted": _share(after.argmax(dim=1)[right] != test.labels[right]),
        "delta_p": float((after - before)[chosen][rows, pointed].mean()),
        "p_paper": TESTS["paired_t"](verify.tau, verify.alpha).run(benign, answers, pointed.numpy()).p_value,
    }


def exact_finding(
    oracle: Oracle,
    watermark: OwnershipCode,
    state: State,
    images: ImageSet,
    audit: AuditConfig,
    references: References | None,
) -> Finding:
    """The exact test with all of the images."""
    fixed = replace(audit, test="exact")
    record = Record(images.classes, images.classes, images.labels.tolist())
    ask(oracle, watermark.queries(images.images, state), fixed, record)
    return decide(record, fixed, watermark.targets(state).numpy(), references)


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
    """AUROC, mean AUROC within each marked class, and recall at 1 % false positives.

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
    within, shares = [], []
    for target in sorted(set(watermark.targets(state).tolist())) if watermark.targeted else ():
        mine = (released.labels == target).numpy() & counted
        if truth[mine].any() and not truth[mine].all():
            within.append(float(roc_auc_score(truth[mine], scores[mine])))
            shares.append(float(truth[mine].mean()))
    return {
        **_areas(truth[counted], scores[counted]),
        "auroc_class": float(np.mean(within)) if within else None,
        "marked_share": float(np.mean(shares)) if shares else None,
    }


def query_pairs(watermark: AnyWatermark, state: State, test: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Test images of other classes than their mark's, without and with it, and which are marked."""
    chosen, _ = verification_pairs(test, watermark.targets(state))
    chosen = chosen[:QUERIES]
    both = torch.cat((test.images[chosen], watermark.trigger(test.images, state)[chosen]))
    labels = test.labels[chosen].repeat(2)
    return ImageSet(both, labels, test.class_names), np.arange(len(both)) >= len(chosen)


def _areas(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    return {"auroc": float(roc_auc_score(truth, scores)), "recall": recall_at(truth, scores, FALSE_POSITIVES)}


def craft_seconds(watermark: AnyWatermark, state: State, train: ImageSet, seed: int) -> float:
    """Seconds to mark 1,000 images, from as many as are worth the wait; files are not counted."""
    some = train.subset(torch.cat([group for group, _ in watermark.shares(train.labels, state)])[:CRAFTED])
    rng = seeds.generator(seed, "benchmark", "craft")
    watermark.apply(some.images[:2], some.labels[:2], state, rng)  # opens the secret's networks
    start = time.perf_counter()
    watermark.apply(some.images, some.labels, state, rng)
    return 1000 * (time.perf_counter() - start) / len(some)


def inversion_scores(
    inversion: TriggerInversion, model: Classifier, innocent: Classifier, attacker: Attacker, targets: Tensor
) -> dict[str, Any]:
    """How suspicious the marks' classes look in the model and in a clean one, and whether classes are accused."""
    found, clean = inversion.score(model, attacker), inversion.score(innocent, attacker)
    pointed = np.isin(np.arange(len(found)), targets.numpy())
    return {
        "anomaly": float(found[pointed].max()),
        "clean_anomaly": float(clean[pointed].max()),
        "accused": bool((found[pointed] > inversion.suspicious).any()),
        "accused_others": int((found[~pointed] > inversion.suspicious).sum()),
        "clean_accused": int((clean > inversion.suspicious).sum()),
    }


def recall_at(truth: np.ndarray, scores: np.ndarray, false_positives: float) -> float:
    """The largest share of marked images that a threshold finds with at most that share of the others."""
    wrong, found, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(found[wrong <= false_positives].max())


def _share(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else float("nan")
