"""How well a detector tells what is marked from what is not."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from sscl.attacks import Attacker, Detector
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import AnyWatermark, State
from sscl.watermarks.pairs import verification_pairs

FALSE_POSITIVES = 0.01  # at which a detector's recall is taken
QUERIES = 1000  # test images that detectors of queries are shown, without and with the mark


def detector_scores(
    detector: Detector,
    model: Classifier,
    attacker: Attacker,
    *,
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
    chosen, _ = verification_pairs(test, watermark.targets(state), QUERIES)
    both = torch.cat((test.images[chosen], watermark.trigger(test.images, state)[chosen]))
    labels = test.labels[chosen].repeat(2)
    return ImageSet(both, labels, test.class_names), np.arange(len(both)) >= len(chosen)


def _areas(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    return {"auroc": float(roc_auc_score(truth, scores)), "recall": recall_at(truth, scores, FALSE_POSITIVES)}


def recall_at(truth: np.ndarray, scores: np.ndarray, false_positives: float) -> float:
    """The largest share of marked images that a threshold finds with at most that share of the others."""
    wrong, found, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(found[wrong <= false_positives].max())
