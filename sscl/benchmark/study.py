"""What figures of the ownership code are made from: one profile under one seed, with the owner's marks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sscl import seeds
from sscl.artifacts import load_tensors
from sscl.audit.commitment import reference_effects
from sscl.audit.opening import images_key
from sscl.audit.protocol import ask
from sscl.audit.questions import Questions, questions_for
from sscl.audit.record import Record, Sent, image_sha256
from sscl.audit.references import References
from sscl.audit.trial import enough
from sscl.audit.verdict import Finding, decide
from sscl.benchmark.plan import NONE, Cell
from sscl.benchmark.run import Bench
from sscl.compute import Compute
from sscl.config import AuditConfig, Config
from sscl.data.spread import spread
from sscl.data.store import load_split
from sscl.layout import INDICES
from sscl.models import Classifier
from sscl.models.io import load_frozen
from sscl.perceptual import LPIPS, image_quality
from sscl.suspects import Context, Oracle
from sscl.suspects.base import NoOptions
from sscl.suspects.classifier import InMemory
from sscl.types import ImageSet, Responses
from sscl.watermarks.base import AnyWatermark, State
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode

SHOWN = 1000  # marked images over which visibility is measured


@dataclass(frozen=True)
class Study:
    """One profile under one seed: the owner's marks, and what is made from them. Tests are the ownership code's."""

    bench: Bench
    profile: str
    seed: int
    rate: float | None = None
    method: str = "ownership_code"

    @cached_property
    def config(self) -> Config:
        none = None
        cell = Cell(self.profile, self.method, self.seed, self.rate, none, none, none, NONE, none)
        return self.bench.config(cell)

    @cached_property
    def compute(self) -> Compute:
        return Compute.set_up(self.config.compute)

    @cached_property
    def data(self) -> Path:
        return self.bench.data(self.config)

    @cached_property
    def surrogate(self) -> Path:
        return self.bench.trained(self.config, "surrogate", self.data)

    @cached_property
    def release(self) -> Path:
        return self.bench.released(self.config, self.data, self.surrogate)[0]

    @cached_property
    def released(self) -> ImageSet:
        """The training images as they are published."""
        return load_split(self.release / "public", "train")

    @cached_property
    def marked(self) -> Tensor:
        """int64 (M,): which of them carry a mark."""
        return load_tensors(self.release / "private" / INDICES)[0]["indices"]

    @cached_property
    def visibility(self) -> dict[str, float]:
        """How far marked images are from the originals, as ``image_quality`` says, over at most ``SHOWN`` of them."""
        shown = self.marked[spread(len(self.marked), SHOWN)]
        metric = LPIPS().to(self.compute.device)
        return image_quality(metric, self.train.images[shown], self.released.images[shown])

    @cached_property
    def train(self) -> ImageSet:
        return load_split(self.data, "train")

    @cached_property
    def test(self) -> ImageSet:
        return load_split(self.data, "test")

    @cached_property
    def watermark(self) -> tuple[AnyWatermark, State]:
        """The method with its secret, whichever it is."""
        return load_watermark(self.release / "private" / GENERATOR, self.test.classes, self.compute)

    @cached_property
    def secret(self) -> tuple[OwnershipCode, State]:
        """The same, of the ownership code."""
        watermark, state = self.watermark
        assert isinstance(watermark, OwnershipCode)
        return watermark, state

    @cached_property
    def questions(self) -> Questions:
        return self.questions_of(self.secret[1])

    def questions_of(self, state: State) -> Questions:
        """The same images under some marks."""
        key = images_key(seeds.secret(self.seed, None).part("images").take(32))
        return questions_for(self.test, self.secret[0], state, config=self.config.audit, key=key)

    @property
    def images(self) -> ImageSet:
        return self.questions.images

    @property
    def sent(self) -> Sent:
        return self.questions.sent

    @cached_property
    def references(self) -> dict[str, References]:
        """What the owner's one clean model, the surrogate, answers."""
        oracle = self.oracle(self.opened(self.surrogate))
        return reference_effects(self.questions, self.config.audit, oracle)

    @property
    def exact(self) -> AuditConfig:
        return replace(self.config.audit, test="exact")

    def opened(self, path: Path) -> Classifier:
        return load_frozen(path, self.compute)

    def oracle(self, model: Classifier) -> InMemory:
        return InMemory(model, Context(self.test.class_names, self.compute))

    def asked(self, model: Classifier) -> Record:
        """Everything that an audit asks; the word plays no part in it."""
        return self.recorded(self.oracle(model))

    def recorded(self, suspect: Oracle) -> Record:
        """The same, of a suspect of any kind."""
        record = Record(self.test.classes, self.test.classes, self.images.labels.tolist())
        ask(suspect, self.sent, self.exact, record=record)
        return record

    def findings(self, record: Record, word: Tensor) -> Iterator[dict[str, Any]]:
        """Two rows: an API that gives probabilities, and one that gives labels."""
        for access, seen in (("probabilities", record), ("labels", record.labels_only())):
            found = decide(seen, self.exact, word.numpy(), references=self.references[access])
            sequential = self._sequential(seen, word, access)
            yield {
                "access": access,
                "queries": found.queries,
                "p": found.p_value,
                "p_plain": found.p_plain,
                "p_published": found.published.get("p_value"),
                "delta_p": found.delta_p,
                "p_sequential": sequential.p_value,
                "queries_sequential": sequential.queries,
            }

    def _sequential(self, record: Record, word: Tensor, access: str) -> Finding:
        """What the sequential test would have asked, from the same answers."""
        config = replace(self.config.audit, test="sequential")
        taken = Record(record.classes, record.groups, record.labels, record.access)
        replay = Replay(record, Context(self.test.class_names, self.compute))
        stop = enough(config, word.numpy(), config.alpha, lambda _: self.references[access])
        ask(replay, self.sent, config, record=taken, enough=stop)
        return decide(taken, config, word.numpy(), references=self.references[access])


class Replay(Oracle):
    """Answers again what a recorded suspect answered."""

    def __init__(self, record: Record, context: Context) -> None:
        super().__init__("record", context, NoOptions())
        self.known = {query.sha256: query.answer for query in record.queries}
        self.access = record.access

    @classmethod
    def accepts(cls, address: str) -> bool:
        return False

    def answer(self, images: np.ndarray) -> Responses:
        rows = [self.known[image_sha256(image)] for image in images]
        nothing = [0.0] * len(next(row for row in self.known.values() if row is not None))
        values = np.array([nothing if row is None else row for row in rows])
        answered = np.array([row is not None for row in rows])
        return Responses(values, self.access, answered)

    def identity(self) -> dict[str, str]:
        return {"kind": "record"}
