"""The queries of an audit, in order: the released key, then decoys until the test is done; everything is recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sscl import progress, seeds
from sscl.audit.base import KEY_TESTS
from sscl.audit.statistic import effect
from sscl.config import AuditConfig
from sscl.oracles import Oracle, nhwc
from sscl.types import ImageSet, Responses
from sscl.watermarks.base import KeyedWatermark, State

RELEASED = 0  # the released key's number in the record; decoys count from 1
BENIGN = -1  # images without a mark


@dataclass(frozen=True)
class Query:
    """One image sent and its answer: ``key`` as above, ``image`` its position in the verification set."""

    key: int
    image: int
    sha256: str
    answer: list[float] | None


@dataclass
class Record:
    """What an audit asked and heard, in order; enough to derive every figure again.

    Attributes:
        access: how much the model tells.
        queries: one an image and key.
    """

    access: str = "probabilities"
    queries: list[Query] = field(default_factory=list)

    def add(self, key: int, images: np.ndarray, responses: Responses) -> None:
        self.access = responses.access
        rows = zip(images, responses.probabilities, responses.valid, strict=True)
        for number, (image, row, valid) in enumerate(rows):
            sent = hashlib.sha256(image.tobytes()).hexdigest()
            self.queries.append(Query(key, number, sent, row.tolist() if valid else None))

    def responses(self, key: int, classes: int) -> Responses:
        """The answers to one key's images again."""
        mine = sorted((q for q in self.queries if q.key == key), key=lambda q: q.image)
        rows = np.array([q.answer or [0.0] * classes for q in mine], dtype=np.float64).reshape(len(mine), classes)
        valid = np.array([q.answer is not None for q in mine], dtype=bool)
        return Responses(rows, self.access, valid)  # type: ignore[arg-type]

    @property
    def keys(self) -> list[int]:
        """Numbers of the keys that were asked about, in order."""
        return list(dict.fromkeys(q.key for q in self.queries if q.key != BENIGN))


def verification_images(data: ImageSet, target_class: int, count: int, seed: int) -> ImageSet:
    """``count`` non-target test images (all, if there are fewer), drawn by ``seed`` and in its order."""
    candidates = torch.nonzero(data.labels != target_class).flatten()
    order = torch.randperm(len(candidates), generator=seeds.generator(seed, "audit", "images"))
    return data.subset(candidates[order[:count]])


def decoy(watermark: KeyedWatermark[object], state: State, decoy_seed: int, number: int) -> State:
    """The ``number``-th decoy, from 1: a key that was never released."""
    return watermark.rekeyed(state, seeds.generator(decoy_seed, "decoy", str(number)))


def released_effect(oracle: Oracle, watermark: KeyedWatermark[object], state: State, images: ImageSet) -> float:
    """The released key's statistic on a model, e.g. on a clean reference."""
    marked = watermark.trigger(images.images, state)
    benign, answers = (oracle.query(nhwc(x)) for x in (images.images, marked))
    return effect(benign, answers, watermark.target_class).statistic


def ask(
    oracle: Oracle,
    watermark: KeyedWatermark[object],
    state: State,
    images: ImageSet,
    config: AuditConfig,
    decoy_seed: int,
    record: Record,
) -> None:
    """Query benign images, the released key and decoys until the test is done; ``record`` has it all, also on errors.

    Raises:
        SuspectError: answers that are none. SSCLError: the suspect does not answer any more, or the budget is spent.
    """
    target = watermark.target_class

    def query(key: int, tensor: Tensor) -> Responses:
        array = nhwc(tensor)
        responses = oracle.query(array)
        record.add(key, array, responses)
        step.advance(len(array))
        return responses

    with progress.step("audit", len(images) * (2 + config.decoys)) as step:
        benign = query(BENIGN, images.images)
        released = query(RELEASED, watermark.trigger(images.images, state))
        test = KEY_TESTS[config.test](config.alpha, config.decoys, effect(benign, released, target).statistic)
        number = 0
        while not test.done:
            number += 1
            marked = watermark.trigger(images.images, decoy(watermark, state, decoy_seed, number))
            test.add(effect(benign, query(number, marked), target).statistic)
