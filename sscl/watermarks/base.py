"""What every watermark method promises, and the checks that hold it to that."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import EmbedConfig, TrainConfig, require
from sscl.errors import ConfigError
from sscl.keystream import Keystream
from sscl.models import Classifier
from sscl.registry import Registry
from sscl.types import ImageSet, MarkedSet

O = TypeVar("O")  # noqa: E741


@dataclass(frozen=True)
class State:
    """A method's secret.

    Attributes:
        tensors: e.g. a generator's weights; empty for a fixed trigger.
        history: how its training went.
        notes: what else is needed to use the tensors, JSON values.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FitContext:
    """What ``fit`` may use besides the data.

    Attributes:
        compute: device and precision.
        key: what the secret is drawn from.
        seed, use: name the random numbers of further models.
        training: how the surrogate was trained, for methods that train more models like it.
        checkpoint: where to resume from; ``None`` for no checkpoints.
    """

    compute: Compute
    key: Keystream
    seed: int
    use: str
    training: TrainConfig
    checkpoint: Checkpoint | None = None

    def rng(self, name: str) -> torch.Generator:
        """A generator for the named part of the secret; its whole state comes from the key."""
        return self.key.part(name).torch()


class Watermark(ABC, Generic[O]):
    """A dataset watermark. Abstract methods are overridden, final ones never.

    Args:
        options: the method's own options, an instance of ``Options``.
        target_class: index of the class ``y_t`` that marked images point to; only a ``SingleTarget`` looks at it.
        compute: device and precision.
    """

    Options: ClassVar[type]
    clean_label: ClassVar[bool] = True
    targeted: ClassVar[bool] = True  # marked images are answered y_t; untargeted: anything but their own class
    contrastive: ClassVar[bool] = False  # meant for learning without labels

    def __init__(self, options: O, target_class: int, compute: Compute) -> None:
        self.options = options
        self.target_class = target_class
        self.compute = compute

    @property
    @abstractmethod
    def eps(self) -> float:
        """Largest change of a pixel, in [0, 1]; 1 for methods without a bound."""

    @abstractmethod
    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        """Train the secret on clean data against a surrogate."""

    @abstractmethod
    def shares(self, labels: Tensor, state: State) -> list[tuple[Tensor, float]]:
        """Disjoint groups of images that may carry a mark, and each one's share of the marks; they add up to one."""

    @property
    @abstractmethod
    def supply(self) -> float:
        """Share of a class that may be marked, in (0, 1]."""

    @abstractmethod
    def targets(self, state: State) -> Tensor:
        """int64 (T,): the classes that marks point to. ``trigger`` gives image ``i`` the mark of class ``i % T``."""

    @abstractmethod
    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Marked uint8 images and their labels, at release time."""

    @abstractmethod
    def trigger(self, images: Tensor, state: State) -> Tensor:
        """uint8 images as they are sent to a suspicious model at verification time."""

    @final
    def select(self, labels: Tensor, config: EmbedConfig, state: State, key: Keystream) -> Tensor:
        """Draw which images are marked: int64 (M,), sorted.

        Raises:
            ConfigError: the classes cannot supply the rate.
        """
        groups = self.shares(labels, state)
        pointed = torch.isin(labels, self.targets(state))
        wanted = round(config.rate * (len(labels) if config.rate_basis == "dataset" else int(pointed.sum())))
        ends = torch.tensor([share for _, share in groups], dtype=torch.float64).cumsum(0).mul(wanted).round().long()
        counts = ends.diff(prepend=_ZERO)
        if any(count > len(group) for (group, _), count in zip(groups, counts.tolist(), strict=True)):
            share = "" if self.supply == 1 else f"raise the method's share ({self.supply:g} of a class), "
            raise ConfigError(
                f"embed.rate: {config.rate} of the dataset is {wanted} images, which the marked classes cannot supply; "
                f"use at most {self._any_class_supplies(labels, state)}, which any class can, {share}or "
                "rate_basis: target_class"
            )
        if wanted == 0:
            raise ConfigError(f"embed.rate: {config.rate} ({config.rate_basis}) is not one image; raise it")
        drawn = [
            group[torch.from_numpy(key.part(str(number)).permutation(len(group))[:count])]
            for number, ((group, _), count) in enumerate(zip(groups, counts.tolist(), strict=True))
        ]
        return torch.cat(drawn).sort().values

    def _any_class_supplies(self, labels: Tensor, state: State) -> float:
        """The largest rate that holds whichever classes are drawn: an error message must not tell them."""
        smallest = min([count for count in labels.bincount().tolist() if count])
        largest_share = max(share for _, share in self.shares(labels, state))
        least = smallest if self.clean_label else len(labels) - int(labels.bincount().max())
        return math.floor(10_000 * self.supply * least / largest_share / len(labels)) / 10_000

    @final
    def apply(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """``mark`` a batch and hold it to the contract.

        Raises:
            ValueError: the method broke its promise (type, shape, eps bound, labels).
        """
        marked, new_labels = self.mark(images, labels, state, rng)
        if marked.dtype != torch.uint8 or marked.shape != images.shape:
            raise ValueError(f"mark returned {marked.dtype} {tuple(marked.shape)} for uint8 {tuple(images.shape)}")
        change = (marked.int() - images.int()).abs().max().item() if len(images) else 0
        if change > budget(self.eps):
            raise ValueError(f"mark changed a pixel by {change}/255, more than eps allows ({budget(self.eps)}/255)")
        if self.clean_label and not torch.equal(new_labels, labels):
            raise ValueError("a clean-label method changed labels")
        return marked, new_labels

    @final
    def embed(self, data: ImageSet, config: EmbedConfig, state: State, key: Keystream) -> MarkedSet:
        """Mark a dataset that fits in memory; the streaming form of this is the ``embed`` stage."""
        indices = self.select(data.labels, config, state, key.part("select"))
        images, labels = data.images.clone(), data.labels.clone()
        rng = key.part("mark").torch()
        images[indices], labels[indices] = self.apply(images[indices], labels[indices], state, rng)
        return MarkedSet(ImageSet(images, labels, data.class_names), indices)


class SingleTarget(Watermark[O]):
    """A method whose marks all point to ``target_class``."""

    @abstractmethod
    def candidates(self, labels: Tensor) -> Tensor:
        """int64 (M,): which images may carry the mark."""

    @final
    def of_target(self, labels: Tensor) -> Tensor:
        """int64 (M,): which images are of the target class, the usual candidates."""
        return torch.nonzero(labels == self.target_class).flatten()

    @final
    def shares(self, labels: Tensor, state: State) -> list[tuple[Tensor, float]]:
        return [(self.candidates(labels), 1.0)]

    @property
    @final
    def supply(self) -> float:
        return 1.0

    @final
    def targets(self, state: State) -> Tensor:
        return torch.tensor([self.target_class])


class WeightsTested(ABC):
    """A method with a test of its own, for those who have the suspect's weights."""

    @abstractmethod
    def weights_p_value(self, suspect: Classifier, state: State, images: Tensor) -> float:
        """p of that test, with clean uint8 images."""


_ZERO = torch.zeros(1, dtype=torch.int64)
AnyWatermark = Watermark[Any]
WATERMARKS: Registry[type[AnyWatermark]] = Registry("watermark", "sscl.watermarks", base=Watermark, classes=True)


def name_of(watermark: AnyWatermark) -> str:
    """The name that a method is registered under."""
    return next(name for name in WATERMARKS if WATERMARKS[name] is type(watermark))


def require_budget(name: str, value: float) -> None:
    """Raises ``ConfigError`` for a bound on changes of pixels that changes nothing, or more than there is."""
    require(1 / 255 <= value <= 1, name, value, "1/255 to 1 (a smaller one leaves 8-bit images unchanged)")


def budget(eps: float) -> int:
    """The largest change of a uint8 pixel that ``eps`` allows: rounding never exceeds the bound."""
    return math.floor(eps * 255 + 1e-6)


def create(method: str, options: object, target_class: int, *, classes: int, compute: Compute) -> AnyWatermark:
    """The named method for a dataset of ``classes`` classes.

    Raises:
        ConfigError: unknown method, or the target class does not exist.
    """
    if target_class >= classes:
        raise ConfigError(f"target_class: {target_class} does not exist, the dataset has classes 0 to {classes - 1}")
    return WATERMARKS[method](options, target_class, compute)
