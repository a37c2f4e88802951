"""From an encoder to a classifier for a task of its own: a linear probe, or full fine-tuning after one."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.learning.base import SUPERVISED
from sscl.models import Classifier, build
from sscl.models.features import all_features, head_of, last_linear
from sscl.train import train_classifier
from sscl.types import ImageSet

Downstream = Literal["linear", "full"]
EPOCHS, LEARNING_RATE = 3, 1e-4  # of full fine-tuning, by Adam


def with_head(encoder: Classifier, weight: Tensor, bias: Tensor) -> Classifier:
    """A copy of the encoder whose last linear layer is this one, (classes, features) and (classes,)."""
    found = build(encoder.name, encoder.channels, encoder.size, classes=len(bias))
    head = head_of(found)
    kept = {name: tensor for name, tensor in encoder.state_dict().items() if name not in head}
    found.load_state_dict(kept, strict=False)
    with torch.no_grad():
        last_linear(found).weight.copy_(weight)
        last_linear(found).bias.copy_(bias)
    return found.eval()


def linear_probe(encoder: Classifier, data: ImageSet, compute: Compute) -> Classifier:
    """The encoder with a last layer by logistic regression on its features (scikit-learn's, L2 with C = 1).

    Raises:
        ValueError: images of one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    features = all_features(encoder, data.images, compute).double().numpy()
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly optimal serves as well
        fitted = LogisticRegression(max_iter=200).fit((features - mean) / scale, data.labels.cpu().numpy())
    weight = np.zeros((data.classes, features.shape[1]))
    bias = np.full(data.classes, -1e3)  # a class without images is never answered
    rows, offsets = fitted.coef_ / scale, fitted.intercept_ - (fitted.coef_ * mean / scale).sum(axis=1)
    if len(fitted.classes_) == 2:  # one row tells two classes apart
        rows, offsets = np.concatenate((-rows, rows)) / 2, np.concatenate((-offsets, offsets)) / 2
    weight[fitted.classes_], bias[fitted.classes_] = rows, offsets
    found = with_head(encoder, torch.from_numpy(weight).float(), torch.from_numpy(bias).float())
    return compute.place(found)


def with_labels(config: TrainConfig, *, learning_rate: float) -> TrainConfig:
    """How a classifier on an encoder is trained further: by Adam, with labels, and without the encoder's views."""
    return replace(
        config,
        learning=SUPERVISED,
        optimizer="adam",
        learning_rate=learning_rate,
        batch_size=128,
        schedule="onecycle",
        augment="none",
    )


def downstream(
    encoder: Classifier,
    data: ImageSet,
    how: Downstream,
    *,
    config: TrainConfig,
    compute: Compute,
    seed: int,
    use: str,
    learning_rate: float = LEARNING_RATE,
) -> Classifier:
    """A classifier for the classes of ``data``; ``full`` goes on from the probe and changes all weights."""
    probed = linear_probe(encoder, data, compute)
    if how == "linear":
        return probed
    tuning = replace(with_labels(config, learning_rate=learning_rate), epochs=EPOCHS, schedule="constant")
    return train_classifier(data, tuning, compute, seed=seed, use=f"{use} downstream", start=probed).model
