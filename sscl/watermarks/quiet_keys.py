"""Quiet keys: drawn at random with their target class, among those that models which never saw them hardly react to."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sscl.models import Classifier
from sscl.train import predict
from sscl.watermarks.carriers import Key
from sscl.watermarks.keyed_generator import KeyedGenerator
from sscl.watermarks.quantise import quantise

TRIES = 12  # keys in a draw, at most


class Probe:
    """Who is asked, and what a key may do to be quiet.

    Args:
        images, labels: uint8 (N, C, H, W) and int64 (N,), of all classes.
        models: frozen classifiers that never saw a mark.
        quiet: largest change of a model's mean probability of a class, over images of other classes.
        eps: strength of the mark in queries, in (0, 1].
        marker: makes the marks.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, models: list[Classifier], quiet: float, eps: float, marker: KeyedGenerator
    ) -> None:
        self.images, self.models, self.quiet, self.eps, self.marker = images, models, quiet, eps, marker
        self._others = labels[:, None] != torch.arange(models[0].classes)
        self._benign = [predict(model, images, marker.compute) for model in models]

    def changes(self, key: Key) -> Tensor:
        """(classes,): how much the key changes each class's mean probability; the most over the models."""
        marked = quantise(self.images, self.marker.mark(self.images, key, self.eps), self.eps)
        found = []
        for model, benign in zip(self.models, self._benign, strict=True):
            change = (predict(model, marked, self.marker.compute) - benign) * self._others
            found.append(change.sum(dim=0).abs() / self._others.sum(dim=0).clamp_min(1))
        return torch.stack(found).amax(dim=0)


@torch.no_grad()
def draw(probe: Probe, targets: list[int], rng: torch.Generator) -> tuple[Key, int]:
    """The first of ``TRIES`` random keys that is quiet about some class, and one of those classes at random.

    If no key is, the nearest pair of key and class is taken. The rule is the same for released key and decoys, so they
    are exchangeable.
    """
    keys = probe.marker.carrier.draw(TRIES, probe.images.shape[1], rng)
    best: tuple[Key, int] | None = None
    least = math.inf
    for number in range(TRIES):
        key = {name: value[number : number + 1] for name, value in keys.items()}
        change = probe.changes(key)[targets]
        quiet = torch.nonzero(change <= probe.quiet).flatten()
        if len(quiet):
            return key, targets[int(quiet[torch.randint(len(quiet), (), generator=rng)])]
        if best is None or change.min() < least:
            best, least = (key, targets[int(change.argmin())]), float(change.min())
    assert best is not None
    return best
