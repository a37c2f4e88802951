"""Screens of queries: what does not look like clean images to the model's own features gets an empty answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM
from torch import Tensor

from sscl.attacks.base import REMOVALS, Attacker, Removal, Wrapped
from sscl.models import Classifier
from sscl.models.features import all_features, features

NEIGHBOURS = 5
Refuses = Callable[[np.ndarray], np.ndarray]  # features (N, D) to bool (N,)


class Screened(Wrapped):
    """Answers all classes alike where the screen refuses."""

    def __init__(self, inner: Classifier, refuses: Refuses) -> None:
        super().__init__(inner)
        self.refuses = refuses

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        refused = torch.from_numpy(self.refuses(features(self.inner, x).float().detach().cpu().numpy()))
        return logits.masked_fill(refused.to(logits.device)[:, None], 0.0)


class Screen(Removal):
    """Fitted to the attacker's clean images; the strength is the share of these that it would refuse."""

    unit, usual, grid = "share of clean images refused", 0.05, (0.02, 0.05, 0.2)
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        known = all_features(model, attacker.clean.images, attacker.compute).numpy()
        return Screened(model, self.fitted(known, min(strength, 0.99)))

    @abstractmethod
    def fitted(self, known: np.ndarray, share: float) -> Refuses:
        """A screen from the features of clean images, float32 (N, D)."""


class KnnScreen(Screen):
    """By the distance to the nearest clean features."""

    def fitted(self, known: np.ndarray, share: float) -> Refuses:
        count = min(NEIGHBOURS, len(known) - 1)
        search = NearestNeighbors(n_neighbors=count).fit(known)
        own = search.kneighbors()[0].mean(axis=1)  # each one's nearest others
        limit = np.quantile(own, 1 - share)
        return lambda rows: np.asarray(search.kneighbors(rows)[0].mean(axis=1) > limit)


class SvmScreen(Screen):
    """By a one-class support vector machine (Schölkopf et al. 2001)."""

    def fitted(self, known: np.ndarray, share: float) -> Refuses:
        machine = OneClassSVM(nu=share, gamma="scale")
        machine.random_state = 0  # else it draws a seed from numpy's global state, which this solver does not use
        machine.fit(known)
        return lambda rows: np.asarray(machine.predict(rows) < 0)


REMOVALS.register("knn_screen")(KnnScreen())
REMOVALS.register("svm_screen")(SvmScreen())
