"""A world in which audits can be simulated fast: marks that stamp their number, and suspects that read it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sscl.audit.protocol import ask
from sscl.audit.record import Record
from sscl.audit.references import References
from sscl.audit.trial import enough
from sscl.audit.verdict import Finding, decide
from sscl.compute import Compute
from sscl.config import AuditConfig
from sscl.keystream import Keystream
from sscl.statistics import words
from sscl.statistics.effects import STATISTICS
from sscl.suspects import Context, Oracle
from sscl.types import ImageSet, Responses
from sscl.watermarks.base import State
from sscl.watermarks.ownership_code import Options, OwnershipCode

MARKS, GROUPS = 5, 6
NAMES = tuple("abcdef")
Rule = Callable[[int, int, int], np.ndarray]  # mark (-1: none), image, queries so far -> scores of the classes


class Stamps(OwnershipCode):
    """Mark ``k`` writes ``k + 1`` into the first pixel."""

    def __init__(self, compute: Compute, marks: int = MARKS) -> None:
        super().__init__(Options("waves", marks, 0.1, 1.0, 1.0, "hardest", 1.0, None), 0, compute)

    def asked(self, images: Tensor, mark: int, state: State) -> Tensor:
        marked = images.clone()
        marked[:, 0, 0, 0] = mark + 1
        return marked


class Suspect(Oracle):
    """Answers by a rule of the mark, the image and how many images it has seen."""

    def __init__(self, rule: Rule, compute: Compute, access: str = "probabilities") -> None:
        super().__init__("suspect", Context(NAMES, compute), None)
        self.rule, self.access, self.seen = rule, access, 0

    @classmethod
    def accepts(cls, address: str) -> bool:
        return False

    def identity(self) -> dict[str, str]:
        return {"kind": "simulated"}

    def answer(self, images: np.ndarray) -> Responses:
        rows = []
        for image in images:
            rows.append(self.rule(int(image[0, 0, 0]) - 1, int(image[0, 1, 0]), self.seen))
            self.seen += 1
        scores = np.array(rows, dtype=np.float64)
        valid = np.isfinite(scores).all(axis=1)
        scores[~valid] = 0
        if self.access == "labels":
            return Responses.of_labels(np.where(valid, scores.argmax(axis=1), -1), GROUPS)
        soft = np.exp(scores - scores.max(axis=1, keepdims=True))
        soft /= soft.sum(axis=1, keepdims=True)
        return Responses(soft * valid[:, None], "probabilities", valid)


def world(count: int = 24, views: int = 1) -> ImageSet:
    """Images that carry their own number in the second pixel; as many of every class, each in some views in a row."""
    count *= views
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 1] = torch.arange(count, dtype=torch.uint8)
    return ImageSet(images, torch.arange(count) // views % GROUPS, NAMES)


def config(**changes: Any) -> AuditConfig:
    usual: dict[str, Any] = {
        "test": "exact",
        "protects": "dataset",
        "statistic": "effect",
        "alpha": 0.01,
        "least_effect": 0.0,
        "images": 24,
    }
    usual |= {"first_images": 6, "version": "1.0", "attempt": 1}
    return AuditConfig(**{**usual, **changes})


def drawn(seed: int, marks: int = MARKS) -> np.ndarray:
    word: np.ndarray = words.draw(marks, GROUPS, Keystream(bytes([seed % 256, seed // 256]) + bytes(30)))[0]
    return word


def audited(
    suspect: Suspect, word: np.ndarray, protocol: AuditConfig, references: References | None = None, **how: Any
) -> tuple[Finding, Record]:
    """An audit under a word."""
    watermark = Stamps(suspect.context.compute, len(word))
    images = world(views=STATISTICS[protocol.statistic].views)
    record = Record(GROUPS, GROUPS, images.labels.tolist())
    stop = enough(protocol, word, protocol.alpha, lambda _: references)
    ask(suspect, watermark.queries(images.images, State()), protocol, record=record, enough=stop)
    return decide(record, protocol, word, references=references, **how), record


@cache
def noise(seed: int) -> np.ndarray:
    """A model's own taste: what every mark and every class does to it, (MARKS + 1, GROUPS)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((MARKS + 1, GROUPS)) * rng.exponential(size=GROUPS)


def knows(word: np.ndarray, strength: float = 3.0) -> Rule:
    """What a guilty model says."""

    def rule(mark: int, image: int, seen: int) -> np.ndarray:
        scores = np.eye(GROUPS)[image % GROUPS] * 2.0
        if mark >= 0:
            scores[word[mark]] += strength
        return scores

    return rule
