"""What figures of contrastive learning are made from: encoders under one seed, and what is built on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sscl import seeds
from sscl.audit.commitment import reference_effects
from sscl.audit.protocol import ask
from sscl.audit.questions import Questions
from sscl.audit.record import Record
from sscl.audit.references import References
from sscl.audit.verdict import decide
from sscl.benchmark.study import Study
from sscl.benchmark.workshop import precision
from sscl.checkpoint import Checkpoint
from sscl.config import DataConfig
from sscl.data.store import load_split
from sscl.encoders.imprint import Code, imprint
from sscl.encoders.outputs import OUTPUTS
from sscl.encoders.outputs.base import Change
from sscl.errors import InputError
from sscl.keystream import Keystream
from sscl.learning.downstream import Downstream, downstream
from sscl.learning.neighbours import knn_accuracy
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.models.io import save_classifier
from sscl.statistics import words
from sscl.suspects import Context
from sscl.suspects.classifier import ClassifierOptions, InMemory
from sscl.train import benign_accuracy
from sscl.types import ImageSet, Responses
from sscl.watermarks.base import FitContext, State
from sscl.watermarks.ownership_code import with_word

TASKS = ("own", "pairs", "digits", "sub_imagenet")  # on images without marks
RELEASED_TASKS = ("released", "released pairs")  # on images as they were released, some of them marked
OTHERS = {  # tasks on other datasets, ten classes each
    "digits": DataConfig("mnist", None, None, None, None, 1000, "stop"),
    "sub_imagenet": DataConfig("sub_imagenet", None, None, 10, None, None, "drop"),
}
PAIRS = (0, 1, 2, 2, 3, 4, 3, 4, 1, 0)  # another task: five classes of two each
LABELLED = 5000  # images that a downstream classifier is trained on
FITTED = 1000  # images that a change of answers is learnt from
Ways = Mapping[str, tuple[Downstream, float]]  # name -> how a classifier is built, and the learning rate
LINEAR: Ways = {"linear": ("linear", 0.0)}
TUNED: Ways = {**LINEAR, "full 1e-4": ("full", 1e-4), "full 1e-3": ("full", 1e-3)}


class Changing(InMemory):
    """A model whose answers are changed before anybody sees them."""

    def __init__(self, model: Classifier, context: Context, options: ClassifierOptions, change: Change | None) -> None:
        super().__init__(model, context, options)
        self.change = change

    def answer(self, images: np.ndarray) -> Responses:
        found = super().answer(images)
        return Responses(self.change(found.values), found.access) if self.change else found


@dataclass(frozen=True)
class EncoderStudy:
    """A study whose suspects are encoders and classifiers on them.

    Attributes:
        study: data, marks and the owner's clean encoder.
        chosen: downstream tasks, of ``TASKS`` and ``RELEASED_TASKS``.
        labelled: how many images a downstream classifier is trained on.
        asked: the marks that a suspect is asked about; ``None`` for the study's own.
        reference: the encoder whose answers are the references; ``None`` for the study's clean one.
    """

    study: Study
    chosen: tuple[str, ...]
    labelled: int = LABELLED
    asked: State | None = None
    reference: Classifier | None = None

    @cached_property
    def tasks(self) -> dict[str, ImageSet]:
        """Labelled images of the downstream tasks: the same ones with and without what was marked."""
        others, train = self.others, self.study.train
        some = torch.randperm(len(train), generator=seeds.generator(self.study.seed, "downstream"))[: self.labelled]
        found = {"own": train.subset(some)}
        if set(RELEASED_TASKS) & set(self.chosen):
            found["released"] = self.study.released.subset(some)
        found |= {
            name: in_pairs(found[of]) for name, of in (("pairs", "own"), ("released pairs", "released")) if of in found
        }
        return found | others

    @cached_property
    def others(self) -> dict[str, ImageSet]:
        """Images of other datasets, in the owner's size. Nothing is trained for them.

        Raises:
            InputError: they are colour images, and the owner's are not.
        """
        return {task: self._other(task) for task in OTHERS if task in self.chosen}

    def _other(self, task: str) -> ImageSet:
        size, channels = self.study.train.size, self.study.train.channels
        data = replace(OTHERS[task], image_size=size, train_images=self.labelled)
        found = load_split(self.study.bench.data(replace(self.study.config, data=data)), "train")
        if found.channels not in (1, channels):
            raise InputError(f"task {task}: has colour images, and the owner's are grey; choose others by --task")
        images = found.images.expand(-1, channels, -1, -1).contiguous()
        return ImageSet(images, found.labels, found.class_names)

    @cached_property
    def questions(self) -> Questions:
        """What a suspect is asked."""
        return self.study.questions if self.asked is None else self.study.questions_of(self.asked)

    def record(self, model: Classifier, *, features: bool = False, change: Change | None = None) -> Record:
        """Everything that an audit asks; the word plays no part in it. Features may be changed before they are told."""
        record = Record(0, self.study.test.classes, self.questions.images.labels.tolist())
        options = ClassifierOptions("features" if features else "probabilities")
        oracle = Changing(model, Context(None, self.study.compute), options, change)
        ask(oracle, self.questions.sent, self.study.exact, record=record)
        return record

    def changed(self, model: Classifier, word: Tensor) -> Iterator[dict[str, Any]]:
        """The encoder by its features under every change of answers."""
        known = all_features(model, self.tasks["own"].images[:FITTED], self.study.compute).double().numpy()
        for name in OUTPUTS:
            rng = np.random.default_rng(seeds.derive(self.study.seed, "outputs", name))
            record = self.record(model, features=True, change=OUTPUTS[name](known, rng))
            found = decide(record, self.study.exact, word.numpy(), references=self.references["features"])
            yield {"attack": f"answers: {name}", "access": "features", "downstream": "none", "p": found.p_value}

    @cached_property
    def references(self) -> dict[str, References]:
        """What the reference encoder answers, under a linear classifier of its own."""
        model, context = self.reference or self.study.opened(self.study.surrogate), Context(None, self.study.compute)
        oracles = InMemory(model, context), InMemory(model, context, ClassifierOptions("features"))
        return reference_effects(self.questions, self.study.config.audit, *oracles)

    def rows(self, model: Classifier, word: Tensor, *, features: bool) -> Iterator[dict[str, Any]]:
        """One an access, for an encoder (``features``) or a classifier on one."""
        seen = {"features": self.record(model, features=True)} if features else {"probabilities": self.record(model)}
        if not features:
            seen["labels"] = seen["probabilities"].labels_only()
        for access, record in seen.items():
            found = decide(record, self.study.exact, word.numpy(), references=self.references[access])
            yield {"access": access, "queries": found.queries, "p": found.p_value, "p_plain": found.p_plain}

    def everywhere(self, encoder: Classifier, word: Tensor, ways: Ways) -> Iterator[dict[str, Any]]:
        """The encoder by its features, and classifiers for every task built on it in every way."""
        yield from ({"downstream": "none", **row} for row in self.rows(encoder, word, features=True))
        for task in self.chosen:
            for way, (how, rate) in ways.items():
                model = self.built(encoder, task, how, rate)
                utility = self.accuracy(model) if task in ("own", "released") else None
                for row in self.rows(model, word, features=False):
                    yield {"downstream": f"{task}, {way}", "utility": utility, **row}

    def built(self, encoder: Classifier, task: str, how: Downstream, rate: float) -> Classifier:
        """A classifier for a downstream task on an encoder."""
        config = replace(self.study.config.user, start="scratch")
        data, seed = self.tasks[task], self.study.seed
        return downstream(
            encoder,
            data,
            how,
            config=config,
            compute=self.study.compute,
            seed=seed,
            use="downstream",
            learning_rate=rate,
        )

    def accuracy(self, model: Classifier) -> float:
        """Of a classifier for the owner's own classes, on the test images."""
        return benign_accuracy(model, self.study.test, self.study.compute)

    @cached_property
    def clean_utility(self) -> float:
        """Accuracy of a linear classifier on the owner's clean encoder."""
        return self.accuracy(self.built(self.study.opened(self.study.surrogate), "own", "linear", 0.0))

    @cached_property
    def clean_knn(self) -> float:
        """kNN accuracy of the owner's clean encoder."""
        study = self.study
        return knn_accuracy(study.opened(study.surrogate), study.train, study.compute, study.test)

    def word_of(self, key: Keystream) -> Tensor:
        """Any word of the owner's marks."""
        marks, groups = self.study.secret[0].options.marks, self.study.test.classes
        return torch.from_numpy(words.draw(marks, groups, key.part("word"))[0])

    def imprinted(self, key: Keystream, word: Tensor) -> Classifier:
        """The owner's encoder under a word; kept."""
        study, (watermark, state) = self.study, self.study.secret
        code = Code(watermark, with_word(state, word))
        parts = {"word": word.tolist(), "imprint": vars(study.config.imprint), "generator": vars(watermark.options)}
        parts |= {"key": key.part("name").take(16).hex(), **precision(study.config.compute)}
        slot = study.bench.workshop.slot(
            "imprinted", "sscl.encoders.imprint", surrogate=study.surrogate, seed=study.seed, **parts
        )

        def build(out: Path, checkpoint: Checkpoint) -> None:
            start, config = study.opened(study.surrogate), study.config.imprint
            found = imprint(
                start, code, study.train, config=config, compute=study.compute, key=key, checkpoint=checkpoint
            )
            out.mkdir(parents=True)
            save_classifier(out / "model.safetensors", found)

        return study.opened(study.bench.workshop.make(slot, build) / "model.safetensors")

    def rival(self, key: Keystream) -> State:
        """Another owner's marks, by the same method, with a word of their own."""
        study, watermark = self.study, self.study.secret[0]
        context = FitContext(study.compute, key, study.seed, "rival", study.config.surrogate)
        return with_word(watermark.fit(study.train, study.opened(study.surrogate), context), self.word_of(key))

    def overwritten(self, encoder: Classifier, rival: State, key: Keystream) -> Classifier:
        """The encoder after that owner imprinted their word on it."""
        study, code = self.study, Code(self.study.secret[0], rival)
        return imprint(encoder, code, study.train, config=study.config.imprint, compute=study.compute, key=key)


def in_pairs(data: ImageSet) -> ImageSet:
    """Another task on images of ten classes: five classes of two each."""
    return ImageSet(data.images, torch.tensor(PAIRS)[data.labels % len(PAIRS)], tuple("abcde"))
