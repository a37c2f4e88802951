"""Activation clustering (Chen et al. 2018): a class of two clusters, the smaller of which is marked."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples

from sscl import seeds
from sscl.attacks.base import DETECTORS, Attacker, Detector
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.types import ImageSet

DIMENSIONS = 10  # of the reduced features (Chen et al. 2018)
MOST = 2000  # images of a class for the silhouette, which needs all pairs


class ActivationClustering(Detector):
    """How much nearer an image is to the smaller of its class's two clusters, times how clear the clusters are."""

    looks_at = "dataset"

    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        features = all_features(model, images.images, attacker.compute).numpy()
        seed = seeds.derive(attacker.seed, "activation-clustering") % 2**32
        labels, scores = images.labels.numpy(), np.zeros(len(images))
        for label in np.unique(labels):
            mine = np.flatnonzero(labels == label)
            if len(mine) > DIMENSIONS:
                scores[mine] = _class_scores(features[mine], seed)
        return scores


def _class_scores(features: np.ndarray, seed: int) -> np.ndarray:
    count = min(DIMENSIONS, *features.shape)
    reduced = PCA(count, random_state=seed).fit_transform(features)
    clusters = KMeans(2, n_init=10, random_state=seed).fit(reduced)
    smaller = int(np.bincount(clusters.labels_, minlength=2).argmin())
    distances = clusters.transform(reduced)
    margin = (distances[:, 1 - smaller] - distances[:, smaller]) / distances.max(axis=1).clip(1e-12)
    some = np.random.default_rng(seed).permutation(len(reduced))[:MOST]
    parted = clusters.labels_[some]
    clear = silhouette_samples(reduced[some], parted).mean() if 1 < len(np.unique(parted)) < len(some) else 0.0
    return np.asarray(margin * max(0.0, float(clear)))


DETECTORS.register("activation_clustering")(ActivationClustering())
