"""Probes and neighbours against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sscl.compute import Compute
from sscl.learning.downstream import linear_probe, with_head
from sscl.learning.neighbours import TEMPERATURE, knn_accuracy
from sscl.models import build
from sscl.models.features import all_features
from sscl.train import predict
from tests.conftest import shapes


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_is_scikit_learns_on_standardised_features(classes: int, compute: Compute) -> None:
    data = shapes(60, 1)
    data = data.subset(torch.nonzero(data.labels < classes).flatten())
    encoder = compute.place(build("resnet8", 1, 28, classes=5, generator=torch.Generator().manual_seed(0))).eval()
    features = all_features(encoder, data.images, compute).double().numpy()
    z = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-8)
    reference = LogisticRegression(max_iter=200).fit(z, data.labels.numpy())
    given = predict(linear_probe(encoder, data, compute), data.images, compute).numpy()
    np.testing.assert_allclose(given[:, :classes], reference.predict_proba(z), atol=2e-3)
    np.testing.assert_allclose(given[:, classes:], 0, atol=1e-12)  # classes without images are never answered


def test_another_head_leaves_the_features_as_they_are(compute: Compute) -> None:
    encoder = compute.place(build("resnet8", 3, 32, classes=10, generator=torch.Generator().manual_seed(0))).eval()
    images = shapes(8, 1, size=32, channels=3).images
    other = compute.place(with_head(encoder, torch.ones(4, 64), torch.zeros(4)))
    assert torch.equal(all_features(encoder, images, compute), all_features(other, images, compute))
    assert predict(other, images, compute).shape == (8, 4)


def test_neighbours_vote_as_scikit_learns_do(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    data, held = shapes(50, 1), shapes(40, 2)
    encoder = compute.place(build("resnet8", 1, 28, classes=3, generator=torch.Generator().manual_seed(0))).eval()
    known, asked = (all_features(encoder, part.images, compute).numpy() for part in (data, held))
    reference = KNeighborsClassifier(50, metric="cosine", weights=lambda d: np.exp((1 - d) / TEMPERATURE))
    expected = reference.fit(known, data.labels.numpy()).score(asked, held.labels.numpy())
    assert knn_accuracy(encoder, data, compute, held) == pytest.approx(expected)
    sorted_by_class = data.subset(data.labels.argsort(stable=True))
    monkeypatch.setattr("sscl.learning.neighbours.NEIGHBOURS", 1)
    assert knn_accuracy(encoder, sorted_by_class, compute) > 0.5  # neighbours of other classes alone would give 0
