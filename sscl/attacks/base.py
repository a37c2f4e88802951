"""What attacks promise: removals give a model back, detectors a score for each image."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final, get_args

import numpy as np
import torch
from torch import Tensor, nn

from sscl import seeds
from sscl.compute import Compute, pixels
from sscl.config import TrainConfig
from sscl.learning.base import SUPERVISED
from sscl.learning.downstream import with_labels
from sscl.models import Classifier
from sscl.registry import Registry
from sscl.train import Practice, minimise, train_classifier
from sscl.types import ImageSet

Looks = Literal["dataset", "queries"]  # what a detector looks at
FINE_TUNING_RATE = 0.1  # of the training's learning rate
CLASSIFIERS_RATE = 1e-3  # of Adam, for a classifier on an encoder
OWN_BATCH, OWN_RATE = 64, 2e-3  # of the attacker's own networks


def labelled_training(training: TrainConfig) -> TrainConfig:
    """How somebody who trains like this goes on with labels; as before, unless it learns contrastively.

    A classifier on an encoder is then fine-tuned at a tenth of ``CLASSIFIERS_RATE``, the usual 1e-4.
    """
    return training if training.learning == SUPERVISED else with_labels(training, learning_rate=CLASSIFIERS_RATE)


def known_clean(count: int, share: float, seed: int) -> Tensor:
    """Sorted indices of the ``share`` of ``count`` training images that an attacker knows to be clean, at least one."""
    order = torch.randperm(count, generator=seeds.generator(seed, "attacker"))
    return order[: max(1, round(share * count))].sort().values


@dataclass(frozen=True)
class Attacker:
    """What an attacker has.

    Attributes:
        clean: images that are known to be clean (the literature's usual: 10 % of a training set).
        released: the set as it was published, marks included.
        training: how it trains with labels.
        compute: device and precision.
        seed: names its random numbers, with the attack's name.
        file: a released image file, which shows how the others are encoded.
    """

    clean: ImageSet
    released: ImageSet
    training: TrainConfig
    compute: Compute
    seed: int
    file: bytes

    def fine_tuned(self, model: Classifier, epochs: int, use: str, practice: Practice | None = None) -> Classifier:
        """All layers of ``model``, in place, on the clean images."""
        rate = FINE_TUNING_RATE * self.training.learning_rate
        config = replace(self.training, epochs=epochs, learning_rate=rate, schedule="constant")
        model.requires_grad_(True)
        return train_classifier(
            self.clean, config, self.compute, seed=self.seed, use=use, start=model, practice=practice
        ).model

    def fit(
        self, network: nn.Module, epochs: int, use: str, *, rng: torch.Generator, loss: Callable[[Tensor], Tensor]
    ) -> None:
        """Train a network of the attacker's own on the clean images, without their labels.

        Args:
            network: changed in place, by Adam.
            epochs: how many.
            use: names the training to whoever watches.
            rng: draws the order of the images.
            loss: scalar to minimise, of a batch of float images (N, C, H, W) in [0, 1].
        """
        minimise(
            network,
            len(self.clean),
            lambda batch: loss(self.compute.floats(self.clean.images[batch])),
            use=use,
            epochs=epochs,
            batch_size=OWN_BATCH,
            learning_rate=OWN_RATE,
            rng=rng,
        )

    @torch.no_grad()
    def rereleased(self, change: Callable[[Tensor], Tensor]) -> ImageSet:
        """The release with every image changed, as floats (N, C, H, W), and clipped to [0, 1]."""
        done = []
        for images in torch.split(self.released.images, 1000):
            done.append(pixels(change(self.compute.floats(images)).clamp(0, 1)))
        return ImageSet(torch.cat(done), self.released.labels, self.released.class_names)

    def trained(
        self, data: ImageSet, use: str, practice: Practice | None = None, *, start: Classifier | None = None
    ) -> Classifier:
        """A model on ``data``, from ``start`` or fresh."""
        return train_classifier(
            data, self.training, self.compute, seed=self.seed, use=use, start=start, practice=practice
        ).model

    def student(
        self, model: Classifier, data: ImageSet, epochs: float, use: str, *, practice: Practice | None = None
    ) -> Classifier:
        """A fresh network of ``model``'s architecture, trained on ``data``."""
        training = replace(self.training, model=model.name, epochs=int(epochs))
        return replace(self, training=training).trained(data, use, practice)


class Removal(ABC):
    """An attempt to get rid of the watermark. ``strength`` is in the attack's own unit; 0 does nothing.

    Attributes:
        unit: of the strength.
        usual: strength of the literature's main result.
        grid: strengths for a figure.
        integral: whether the strength is a count.
        weights_only: whether nothing but weights changes, so that a classifier's file can hold the attacked model.
    """

    unit: ClassVar[str]
    usual: ClassVar[float]
    grid: ClassVar[tuple[float, ...]]
    integral: ClassVar[bool] = False
    weights_only: ClassVar[bool] = True

    @final
    def __call__(self, model: Classifier, attacker: Attacker, strength: float | None = None) -> Classifier:
        """The attacked model; ``model`` is left as it is.

        Raises:
            ValueError: a negative strength, or half a count.
        """
        strength = self.usual if strength is None else strength
        self.require(strength)
        copied = copy.deepcopy(model)
        attacked = copied if strength == 0 else self.run(copied, attacker, strength)
        return attacked.requires_grad_(False).eval()

    @final
    def require(self, strength: float) -> None:
        """Raise ``ValueError`` for a strength that is none."""
        if strength < 0 or (self.integral and strength != int(strength)):
            whole = "a whole number" if self.integral else "a number"
            raise ValueError(f"strength must be {whole} of {self.unit} of at least 0, got {strength}")

    @abstractmethod
    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        """Attack ``model``, which may be changed, with a positive strength."""


class Detector(ABC):
    """A search for marked images: higher scores are more suspicious.

    Attributes:
        looks_at: ``dataset`` (released images with labels) or ``queries`` (images that a model is asked about).
    """

    looks_at: ClassVar[Looks]

    def __init_subclass__(cls) -> None:
        if getattr(cls, "looks_at", "dataset") not in get_args(Looks):
            raise TypeError(f"{cls.__name__}.looks_at: {cls.looks_at!r}; expected 'dataset' or 'queries'")

    @final
    def __call__(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        """Scores, float64 (N,).

        Raises:
            ValueError: the detector broke its promise (shape, finite numbers).
        """
        scores = self.score(images, model, attacker)
        if scores.shape != (len(images),) or not np.isfinite(scores).all():
            raise ValueError(f"score returned {scores.shape} for {len(images)} images, or numbers that are not finite")
        return scores.astype(np.float64)

    @abstractmethod
    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        """One number an image. Detectors of queries must not look at labels."""


class TriggerInversion(ABC):
    """A search for the class that a backdoor points to, in a model alone.

    Attributes:
        suspicious: score from which a class counts as such a target.
    """

    suspicious: ClassVar[float]

    @abstractmethod
    def score(self, model: Classifier, attacker: Attacker) -> np.ndarray:
        """One number a class, (K,); higher is more suspicious."""


REMOVALS: Registry[Removal] = Registry("removal attack", "sscl.attacks", base=Removal)
DETECTORS: Registry[Detector] = Registry("detector", "sscl.attacks", base=Detector)
INVERSIONS: Registry[TriggerInversion] = Registry("trigger inversion", "sscl.attacks", base=TriggerInversion)


class Wrapped(Classifier):
    """A classifier round another: subclasses change what ``inner`` is asked, or what it answers."""

    def __init__(self, inner: Classifier) -> None:
        torch.nn.Module.__init__(self)  # there are no weights of its own to make
        self.name, self.channels, self.size, self.classes = inner.name, inner.channels, inner.size, inner.classes
        self.inner = inner


class Filtered(Wrapped):
    """A classifier behind a change of its inputs, float (N, C, H, W) in [0, 1] to the same."""

    def __init__(self, inner: Classifier, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(inner)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(self.change(x))
        return logits
