"""What is measured of one suspect, and of one detector."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sscl import seeds
from sscl.attacks import Attacker, TriggerInversion
from sscl.compute import Compute
from sscl.config import VerifyConfig
from sscl.models import Classifier
from sscl.statistics.paired import TESTS
from sscl.train import predict
from sscl.types import ImageSet, Responses
from sscl.watermarks.base import AnyWatermark, State
from sscl.watermarks.pairs import verification_pairs

CRAFTED = 32  # images that are marked to see how long it takes


def suspect_scores(
    model: Classifier, test: ImageSet, marked: Tensor, *, targets: Tensor, verify: VerifyConfig, compute: Compute
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


def craft_seconds(watermark: AnyWatermark, state: State, train: ImageSet, seed: int) -> float:
    """Seconds to mark 1,000 images, from as many as are worth the wait; files are not counted."""
    some = train.subset(torch.cat([group for group, _ in watermark.shares(train.labels, state)])[:CRAFTED])
    rng = seeds.generator(seed, "benchmark", "craft")
    watermark.apply(some.images[:2], some.labels[:2], state, rng)  # opens the secret's networks
    start = time.perf_counter()
    watermark.apply(some.images, some.labels, state, rng)
    return 1000 * (time.perf_counter() - start) / len(some)


def inversion_scores(
    inversion: TriggerInversion, model: Classifier, innocent: Classifier, *, attacker: Attacker, targets: Tensor
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


def _share(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else float("nan")
