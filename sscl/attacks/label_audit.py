"""Confident learning (Northcutt et al. 2021): which labels does a model doubt?"""

from __future__ import annotations

import numpy as np
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from sscl.attacks.base import DETECTORS, Attacker, Detector
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.types import ImageSet

FOLDS = 3


class LabelAudit(Detector):
    """One less cleanlab's label quality, on out-of-fold answers of a linear model over the network's features.

    The network itself was trained on the labels; only its last layer is learnt again on other folds.
    """

    looks_at = "dataset"

    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        features = all_features(model, images.images, attacker.compute).numpy()
        labels = images.labels.numpy()
        linear = LogisticRegression(max_iter=200)
        answers = cross_val_predict(linear, features, labels, cv=FOLDS, method="predict_proba")
        known, positions = np.unique(labels, return_inverse=True)
        assert answers.shape[1] == len(known)
        return 1 - np.asarray(get_label_quality_scores(positions, answers))


DETECTORS.register("label_audit")(LabelAudit())
