"""The queries of an audit and their answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from sscl.config import AuditConfig
from sscl.statistics.effects import STATISTICS
from sscl.types import Access, Responses, nhwc

MOST_IMAGES = 10_000  # of an audit, without a mark; a view counts as one
MOST_COMPARED = 20_000_000  # images times classes
Sent = dict[int, Tensor]  # by mark, the uint8 images (N, C, H, W) that a suspect is sent


def image_sha256(image: np.ndarray) -> str:
    """SHA-256 of an image, uint8 (H, W, 1 or 3), as a binary PGM or PPM file (Netpbm): of its shape, too.

    The bytes alone are the same for every width, so an owner could choose one for each mark after the word is known.
    """
    height, width, channels = image.shape
    header = f"{'P5' if channels == 1 else 'P6'}\n{width} {height}\n255\n"
    return hashlib.sha256(header.encode() + image.tobytes()).hexdigest()


def sha256_of(images: Tensor) -> list[str]:
    """Each image's digest as it is recorded when it is sent."""
    return [image_sha256(image) for image in nhwc(images)]


@dataclass(frozen=True)
class Query:
    """One image sent and its answer.

    Attributes:
        mark: from 0; ``BENIGN`` for none. image: its position in the verification set.
        sha256: of the image as it was sent, by ``image_sha256``. answer: ``None`` for a refusal.
    """

    mark: int
    image: int
    sha256: str
    answer: list[float] | None


@dataclass
class Record:
    """What an audit asked and heard, in order; enough to derive every figure again.

    Attributes:
        classes: how many numbers an answer of the suspect has; 0 until that is known.
        groups: how many groups marks are assigned to.
        labels: the verification images' own groups.
        access: how much the model tells.
        queries: one an image and mark.
    """

    classes: int
    groups: int
    labels: list[int]
    access: Access = "probabilities"
    queries: list[Query] = field(default_factory=list)

    def add(self, mark: int, first: int, images: np.ndarray, responses: Responses) -> None:
        """Note the answers to images from position ``first`` on."""
        self.access, self.classes = responses.access, self.classes or responses.values.shape[1]
        rows = zip(images, responses.values, responses.valid, strict=True)
        for position, (image, row, valid) in enumerate(rows, start=first):
            self.queries.append(Query(mark, position, image_sha256(image), row.tolist() if valid else None))

    def answers(self) -> dict[int, Responses]:
        """The answers under each mark to the images from the first on, in order."""
        by_mark: dict[int, list[Query]] = {}
        for query in self.queries:
            by_mark.setdefault(query.mark, []).append(query)
        return {mark: self._responses(queries) for mark, queries in by_mark.items()}

    def labels_only(self) -> Record:
        """The same audit of a suspect that tells nothing but the label."""
        queries = [
            query if query.answer is None else replace(query, answer=_hot(self.classes, int(np.argmax(query.answer))))
            for query in self.queries
        ]
        return replace(self, access="labels", queries=queries)

    def _responses(self, queries: Sequence[Query]) -> Responses:
        rows = np.array([q.answer or [0.0] * self.classes for q in queries], dtype=np.float64)
        valid = np.array([q.answer is not None for q in queries], dtype=bool)
        return Responses(rows.reshape(len(queries), self.classes), self.access, valid)


def _hot(classes: int, label: int) -> list[float]:
    found = [0.0] * classes
    found[label] = 1.0
    return found


def parts(config: AuditConfig, count: int) -> list[tuple[int, int]]:
    """First and last of ``count`` rows in each part of the audit: all at once, or the first images, then the rest."""
    first = config.first_images * STATISTICS[config.statistic].views
    if config.test == "exact" or first >= count:
        return [(0, count)]
    return [(0, first), (first, count)]
