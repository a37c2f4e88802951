"""The published tests of encoders on one suspect, as rows of the benchmark carry them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sscl import seeds
from sscl.benchmark.study import Study
from sscl.compute import Compute, pixels
from sscl.data.views import VIEWS, view
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.statistics.encoders import ENCODER_TESTS, EncoderAnswers
from sscl.train import predict
from sscl.types import Responses

IMAGES = 200  # under marks, and of the released and the unseen ones
NUMBER = 4  # of views of each


@dataclass(frozen=True)
class Shown:
    """The images that the published tests ask about, uint8 (N, C, H, W).

    Attributes:
        clean: without a mark; many more than ``marked``.
        marked: test images under the owner's marks, other images than ``clean`` has.
        released, unseen: what the suspect is accused of having trained on, and what nobody trained on.
    """

    clean: Tensor
    marked: Tensor
    released: Tensor
    unseen: Tensor

    @classmethod
    def of(cls, study: Study, triggered: Tensor, released: Tensor) -> Shown:
        """Unseen images are the first of a random order of the test images, and clean ones the rest.

        Args:
            study: whose test images they are.
            triggered: all test images, as a method's ``trigger`` gives them; repeated ones count once.
            released: images of the release, in any order.
        """
        count = min(IMAGES, len(study.test) // 5)
        order = torch.randperm(len(study.test), generator=seeds.generator(study.seed, "shown"))
        distinct = torch.unique(triggered[order[:count]], dim=0)
        picked = torch.randperm(len(released), generator=seeds.generator(study.seed, "released"))[:count]
        images = study.test.images
        return cls(images[order[count:]], distinct, released[picked], images[order[:count]])


def published_tests(
    encoder: Classifier, head: Classifier | None, own: Classifier, *, shown: Shown, compute: Compute
) -> dict[str, float]:
    """p-values by name: of features and, with a classifier on the encoder, of its labels, as each test ``reads``.

    Args:
        encoder: the suspect.
        head: a classifier on it; ``None`` for none.
        own: an encoder of the owner's that never saw the release, for tests that compare with one.
        shown: what is asked.
        compute: device and precision.
    """
    transform = VIEWS["views"](shown.clean.shape[1], shown.clean.shape[-1])

    def views(model: Classifier, images: Tensor, name: str) -> np.ndarray:
        floats = compute.floats(images)
        answers = []
        for number in range(NUMBER):
            with torch.no_grad():
                made = view(transform, floats, seeds.derive(0, "published", name, str(number)))
            answers.append(all_features(model, pixels(made), compute))
        return torch.stack(answers, dim=1).double().numpy()

    def plain(images: Tensor) -> np.ndarray:
        return all_features(encoder, images, compute).double().numpy()

    features = EncoderAnswers(
        plain(shown.clean),
        plain(shown.marked),
        views(encoder, shown.released, "released"),
        views(encoder, shown.unseen, "unseen"),
        views(own, shown.released, "released"),
        views(own, shown.unseen, "unseen"),
    )
    found = {name: _p(name, features) for name in ENCODER_TESTS if "features" in ENCODER_TESTS[name].reads}
    if head is not None:
        clean, marked = (_one_hot(head, images, compute) for images in (shown.clean, shown.marked))
        labels = replace(features, clean=clean, marked=marked)
        read = (name for name in ENCODER_TESTS if "labels" in ENCODER_TESTS[name].reads)
        found |= {f"{name}, labels": _p(name, labels) for name in read}
    return found


def _p(name: str, answers: EncoderAnswers) -> float:
    return ENCODER_TESTS[name].p_value(answers, np.random.default_rng(seeds.derive(0, "published", name)))


def _one_hot(model: Classifier, images: Tensor, compute: Compute) -> np.ndarray:
    labels = predict(model, images, compute).argmax(dim=1).cpu().numpy()
    return Responses.of_labels(labels, model.classes).values
