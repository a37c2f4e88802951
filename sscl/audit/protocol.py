"""The queries of an audit, in order: images without a mark, then key by key; everything is recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sscl import progress, seeds
from sscl.audit.base import KEY_TESTS, KeyTest
from sscl.audit.statistic import Effect, effect
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
        classes: number of classes.
        labels: the verification images' own classes.
        targets: the class that each key's marks point to, by key number; the released one's, then all decoys'.
        access: how much the model tells.
        queries: one an image and key. A key is asked about the images that are not of its target class.
    """

    classes: int
    labels: list[int]
    targets: list[int] = field(default_factory=list)
    access: str = "probabilities"
    queries: list[Query] = field(default_factory=list)

    def add(self, key: int, positions: Sequence[int], images: np.ndarray, responses: Responses) -> None:
        self.access = responses.access
        rows = zip(positions, images, responses.probabilities, responses.valid, strict=True)
        for position, image, row, valid in rows:
            sent = hashlib.sha256(image.tobytes()).hexdigest()
            self.queries.append(Query(key, position, sent, row.tolist() if valid else None))

    def asked(self, key: int) -> list[int]:
        """Positions of the images that a key is asked about; all for ``BENIGN``."""
        return [n for n, label in enumerate(self.labels) if key == BENIGN or label != self.targets[key]]

    def by_key(self) -> dict[int, list[Query]]:
        """The queries of each key, in order."""
        grouped: dict[int, list[Query]] = {}
        for query in self.queries:
            grouped.setdefault(query.key, []).append(query)
        return grouped

    def responses(self, queries: Sequence[Query]) -> Responses:
        """The answers again."""
        rows = np.array([q.answer or [0.0] * self.classes for q in queries], dtype=np.float64)
        valid = np.array([q.answer is not None for q in queries], dtype=bool)
        return Responses(rows.reshape(len(queries), self.classes), self.access, valid)  # type: ignore[arg-type]


def verification_images(data: ImageSet, count: int, seed: int) -> ImageSet:
    """``count`` test images of all classes (all, if there are fewer), drawn by ``seed`` and in its order."""
    order = torch.randperm(len(data), generator=seeds.generator(seed, "audit", "images"))
    return data.subset(order[:count])


def asked_images(watermark: KeyedWatermark[object], state: State, images: ImageSet) -> Tensor:
    """What a suspect is asked about a key: the images that are not of its class, marked."""
    return watermark.asked(images.images[images.labels != watermark.target(state)], state)


def key_effect(
    oracle: Oracle, watermark: KeyedWatermark[object], state: State, images: ImageSet, benign: Responses
) -> Effect:
    """One key's effect on a model; ``benign``: its answers to all images without a mark, asked once for all keys."""
    target = watermark.target(state)
    others = torch.nonzero(images.labels != target).flatten()
    answers = oracle.query(nhwc(asked_images(watermark, state, images)))
    return effect(benign.take(others.numpy()), answers, target)


def key_order(config: AuditConfig, seed: int) -> list[int]:
    """The keys' numbers in the order in which they are asked.

    Random where all are asked in any case: a suspect that answers otherwise after some time (another version, a defence
    that has noticed the audit) then treats released key and decoys alike, and the rank stays exact.
    """
    count = 1 + config.decoys
    if not KEY_TESTS[config.test].asks_all:
        return list(range(count))
    order: list[int] = torch.randperm(count, generator=seeds.generator(seed, "audit", "order")).tolist()
    return order


def result_of(config: AuditConfig, statistics: Mapping[int, float]) -> KeyTest | None:
    """The test after some keys' statistics; ``None`` before the released key's is known."""
    if RELEASED not in statistics:
        return None
    test = KEY_TESTS[config.test](config.alpha, config.decoys, statistics[RELEASED])
    for key in sorted(set(statistics) - {RELEASED}):
        test.add(statistics[key])
    return test


def ask(
    oracle: Oracle,
    watermark: KeyedWatermark[object],
    state: State,
    images: ImageSet,
    config: AuditConfig,
    decoys: Sequence[State],
    record: Record,
    seed: int,
) -> None:
    """Query benign images, then key by key until the test is done; ``record`` has it all, also on errors.

    Args:
        decoys: at least as many as the protocol may ask about.
        record: a new one, with the images' classes.
        seed: decides the keys' order; a committed one, in a confirmatory audit.

    Raises:
        SuspectError: answers that are none. SSCLError: the suspect does not answer any more, or the budget is spent.
    """

    def query(key: int, positions: list[int], tensor: Tensor) -> Responses:
        array = nhwc(tensor)
        responses = oracle.query(array)
        record.add(key, positions, array, responses)
        step.advance(len(array))
        return responses

    secrets = [state, *decoys[: config.decoys]]
    record.targets = [watermark.target(secret) for secret in secrets]

    def moved(key: int) -> float:
        positions = record.asked(key)
        marked = query(key, positions, asked_images(watermark, secrets[key], images))
        return effect(benign.take(np.array(positions, dtype=int)), marked, record.targets[key]).statistic

    with progress.step("audit", len(images) * (2 + config.decoys)) as step:
        benign = query(BENIGN, record.asked(BENIGN), images.images)
        statistics: dict[int, float] = {}
        for key in key_order(config, seed):
            statistics[key] = moved(key)
            test = result_of(config, statistics)
            if test and test.done:
                return
