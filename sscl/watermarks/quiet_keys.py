"""Quiet keys: drawn at random with their target class, among those that models which never saw them hardly react to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.models import Classifier
from sscl.train import predict
from sscl.watermarks.carriers import Key
from sscl.watermarks.keyed_generator import KeyedGenerator
from sscl.watermarks.quantise import quantise

TRIES = 16  # keys in a draw, each with every target class
GLANCE = 32  # images on which the first model is asked about all of them
CLOSER = 4  # pairs of key and class about which all models are asked, on all images


@dataclass(frozen=True)
class Probe:
    """Who is asked, and what a key may do to be quiet.

    Attributes:
        images, labels: uint8 (N, C, H, W) and int64 (N,), of all classes.
        models: frozen classifiers that never saw a mark.
        quiet: largest change of a model's mean ``p(target)`` over images of other classes.
        eps: strength of the mark in queries, in (0, 1].
    """

    images: Tensor
    labels: Tensor
    models: list[Classifier]
    quiet: float
    eps: float


@torch.no_grad()
def draw(marker: KeyedGenerator, probe: Probe, targets: list[int], rng: torch.Generator) -> tuple[Key, int]:
    """A key and its class: of ``TRIES`` keys with every class, in random order, the first pair that is quiet.

    The first model's answers to a few images say which pairs to look at more closely; if none of those is quiet, the
    nearest is taken. The rule is the same for released key and decoys, so they are exchangeable.
    """
    keys = marker.carrier.draw(TRIES, probe.images.shape[1], rng)
    order = torch.randperm(TRIES * len(targets), generator=rng)
    glance = _changes(marker, probe, probe.models[:1], GLANCE, keys)[:, targets]
    loud = glance.clamp_min(probe.quiet).flatten()[order]
    best, least = 0, math.inf
    for pair in order[loud.argsort(stable=True)[:CLOSER]].tolist():
        number, which = divmod(pair, len(targets))
        changes = _changes(marker, probe, probe.models, len(probe.images), _row(keys, number))
        change = float(changes[0, targets[which]])
        if change < least:
            best, least = pair, change
        if change <= probe.quiet:
            break
    number, which = divmod(best, len(targets))
    return _row(keys, number), targets[which]


def _changes(marker: KeyedGenerator, probe: Probe, models: list[Classifier], count: int, keys: Key) -> Tensor:
    """(keys, classes): how much a class's mean probability over images of others changes; the most over the models."""
    images, labels = probe.images[:count], probe.labels[:count]
    both = torch.cat((images, _marked(marker, images, keys, probe.eps)))
    others = labels[:, None] != torch.arange(models[0].classes)
    found = []
    for model in models:
        answers = predict(model, both, marker.compute).view(-1, len(images), model.classes)
        changes = (answers[1:] - answers[:1]) * others
        found.append(changes.sum(dim=1).abs() / others.sum(dim=0).clamp_min(1))
    return torch.stack(found).amax(dim=0)


def _marked(marker: KeyedGenerator, images: Tensor, keys: Key, eps: float) -> Tensor:
    """uint8 (keys * N, ...): the images under each key in turn."""
    count = len(next(iter(keys.values())))
    shown = images.repeat(count, *(1,) * (images.ndim - 1))
    rows = {name: value.repeat_interleave(len(images), dim=0) for name, value in keys.items()}
    return quantise(shown, marker.mark(shown, rows, eps), eps)


def _row(keys: Key, number: int) -> Key:
    return {name: value[number : number + 1] for name, value in keys.items()}
