"""Keyed SSCL: sample-specific clean-label marks under a random key, trained not to fool models that never saw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sscl import seeds
from sscl.compute import Compute
from sscl.config import require
from sscl.data.jpeg import encoded
from sscl.errors import InputError
from sscl.models import Classifier
from sscl.perceptual import LPIPS, lpips_at
from sscl.train import train_classifier
from sscl.types import ImageSet
from sscl.watermarks import quiet_keys
from sscl.watermarks.base import KEY, TARGET, WATERMARKS, FitContext, KeyedWatermark, State
from sscl.watermarks.carriers import CARRIERS, Key
from sscl.watermarks.cotraining import Population
from sscl.watermarks.held import held, opened, part, shape
from sscl.watermarks.hiding import hide
from sscl.watermarks.keyed_generator import KeyedGenerator
from sscl.watermarks.keyed_training import Training, Weights
from sscl.watermarks.quantise import SHAPE_STEP, padded, quantise
from sscl.watermarks.quiet_keys import Probe

PROBE = 200  # images of all classes on which a key's quiet is tried
SHOWN = 16  # images of the key's class, at least, on which a mark's visibility is measured
STEPS = 20  # in which eps is lowered for a key that is too visible


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: sscl_keyed``."""

    eps: float
    query_eps: float | None
    ladder: int
    visible: float | None
    carrier: str
    contrast: float
    hide: float
    hide_steps: int
    quiet: float
    clean: float
    perceptual: float
    diversity: float
    contrast_weight: float
    clean_models: int
    population: int
    lifetime: int
    width: int
    steps: int
    batch_size: int
    learning_rate: float
    jpeg_quality: int | None

    def __post_init__(self) -> None:
        require(1 / 255 <= self.eps <= 1, "eps", self.eps, "1/255 to 1 (a smaller one leaves 8-bit images unchanged)")
        require(0 < self.strength <= 1, "query_eps", self.query_eps, "a share in (0, 1], or null for eps")
        require(self.ladder >= 1, "ladder", self.ladder, "1 (full strength alone) or more")
        require(self.visible is None or self.visible > 0, "visible", self.visible, "a positive LPIPS, or null for any")
        require(self.carrier in CARRIERS, "carrier", self.carrier, f"one of {', '.join(CARRIERS)}")
        require(0 <= self.contrast < 1, "contrast", self.contrast, "a share in [0, 1)")
        require(0 <= self.hide <= 1, "hide", self.hide, "a share of eps in [0, 1]")
        require(0 < self.quiet < 1, "quiet", self.quiet, "a change of probability in (0, 1)")
        require(self.hide_steps >= 1, "hide_steps", self.hide_steps, "1 or more")
        weights = (self.clean, self.contrast_weight, self.perceptual, self.diversity)
        require(min(weights) >= 0, "clean, contrast_weight, perceptual, diversity", weights, "0 or more")
        require(self.clean_models >= 1, "clean_models", self.clean_models, "1 or more: the surrogate itself is one")
        require(self.population >= 1, "population", self.population, "1 or more co-trained models")
        require(self.lifetime >= 1, "lifetime", self.lifetime, "1 or more batches")
        require(self.width >= 4 and self.width % 4 == 0, "width", self.width, "a multiple of 4")
        require(self.steps >= 0, "steps", self.steps, "0 (the carrier alone) or more")
        require(self.batch_size >= 4, "batch_size", self.batch_size, "4 or more")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")
        require(
            self.jpeg_quality is None or 1 <= self.jpeg_quality <= 100, "jpeg_quality", self.jpeg_quality, "1 to 100"
        )

    @property
    def strength(self) -> float:
        """Largest change of a pixel in queries."""
        return self.eps if self.query_eps is None else self.query_eps


@dataclass(frozen=True)
class _Opened:
    """A secret's networks; it is recognised by its probe images."""

    probe: Probe
    release_eps: dict[bytes, float] = field(default_factory=dict)  # by key


@WATERMARKS.register("sscl_keyed")
class SSCLKeyed(KeyedWatermark[Options]):
    """``x_w = clip(x + eps clip(0.98 c_k(x) + tanh(G(x, c_k)) / 2))``; the key ``k`` decides carrier ``c_k`` and class.

    G starts at zero (the carrier alone) and is trained with a population of co-trained models, each on the set as a key
    of its own would mark it: those must answer ``y_t`` on that key's marks and ignore other keys'; clean models must
    keep their answers (no transfer). At release the natural evidence of target images is hidden from clean models, and
    a share ``contrast`` of the marks goes to other classes under keys that are never used again, so that a model learns
    this key and not the kind of pattern. Labels never change. Queries carry the mark with ``query_eps`` instead of eps
    (Barni, Kallas and Tondi 2019).
    """

    Options = Options

    def __init__(self, options: Any, target_class: int, compute: Compute) -> None:
        super().__init__(options, target_class, compute)
        self._opened: _Opened | None = None

    @property
    def eps(self) -> float:
        return self.options.eps

    def candidates(self, labels: Tensor) -> Tensor:
        return torch.nonzero(labels == self.target_class).flatten()

    def shares(self, labels: Tensor) -> list[tuple[Tensor, float]]:
        others = torch.nonzero(labels != self.target_class).flatten()
        return [(self.candidates(labels), 1 - self.options.contrast), (others, self.options.contrast)]

    def draw_key(self, state: State, rng: torch.Generator) -> tuple[Key, int]:
        """A quiet key (``sscl.watermarks.quiet_keys``)."""
        return quiet_keys.draw(self._open(state).probe, state.notes["targets"], rng)

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        """Train G against clean and co-trained models, then draw the key, on which nothing before depended.

        Raises:
            InputError: the target class, or every other, has no images.
            SSCLError: the loss is not finite.
        """
        o = self.options
        if len(self.candidates(train.labels)) in (0, len(train)):
            raise InputError(
                f"target_class: class {self.target_class} or every other class has no images to train on; "
                "choose another"
            )
        targets = context.targets or (self.target_class,)
        generator = self._generator(train.channels, seeds.generator(context.seed, context.use, "weights"))
        population = Population(
            train,
            context.training,
            self.compute,
            lambda rng: self._for_a_member(train, targets, rng),
            o.population,
            o.lifetime,
            seeds.generator(context.seed, context.use, "population"),
        )
        clean_models = self._clean_models(train, surrogate, context)
        weights = Weights(o.clean, o.contrast_weight, o.perceptual, o.diversity)
        training = Training(generator, train, clean_models, population, weights, o.jpeg_quality, context)
        history = training.run(o.steps, o.batch_size, o.learning_rate)
        tensors = {f"generator.{name}": value for name, value in generator.unet.state_dict().items()}
        for number, model in enumerate(clean_models):
            tensors |= held(model, f"clean.{number}.")
        probe = _of_all_classes(train.labels, PROBE, seeds.generator(context.seed, context.use, "probe"))
        tensors |= {"probe": train.images[probe], "probe.labels": train.labels[probe]}
        state = State(tensors, history, shape(surrogate) | {"targets": list(targets)})
        return self.rekeyed(state, seeds.generator(context.seed, context.use, "key"))

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        is_target = labels == self.target_class
        foreign = self._draw(images.shape[1], len(images), rng)
        rows = {
            name: torch.where(is_target.view(-1, *(1,) * (value.ndim - 1)), value, foreign[name])
            for name, value in _key(state).items()
        }
        return self._release(images, labels, is_target, rows, self._release_eps(state), state), labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        """The key's mark at ``query_eps`` and without hiding: only the suspect sees these images."""
        return self._queried(images, state, self.options.strength)

    def asked(self, images: Tensor, state: State) -> Tensor:
        """Marks of ``ladder`` strengths in turn, up to ``query_eps``.

        A model that has learnt a mark well is as sure of its neighbours at full strength; fainter ones tell them apart.
        """
        marked, steps = torch.empty_like(images), self.options.ladder
        for number in range(steps):
            eps = self.options.strength * (number + 1) / steps
            marked[number::steps] = self._queried(images[number::steps], state, eps)
        return marked

    def _queried(self, images: Tensor, state: State, eps: float) -> Tensor:
        return quantise(images, self._open(state).probe.marker.mark(images, _key(state), eps), eps)

    def _release(self, images: Tensor, labels: Tensor, hiding: Tensor, rows: Key, eps: float, state: State) -> Tensor:
        """Marked uint8 images; the own evidence of those in ``hiding`` (bool (N,)) is hidden."""
        marked = self._open(state).probe.marker.mark(images, rows, eps)
        if self.options.hide and hiding.any():
            chosen = torch.nonzero(hiding).flatten()
            marked[chosen] += self._hidden(marked[chosen], labels[chosen], eps, state)
        return quantise(images, marked, eps)

    def _release_eps(self, state: State) -> float:
        """The largest share of eps, in steps of 5 %, at which released images are no more visible than they may be.

        Measured as they are released: images of the key's class, evidence hidden, through the encoder.
        """
        if self.options.visible is None:
            return self.eps
        opened, key = self._open(state), _key(state)
        name = b"".join(value.numpy().tobytes() for value in key.values())
        if name not in opened.release_eps:
            lpips, labels = LPIPS().to(self.compute.device), state.tensors["probe.labels"]
            own = torch.nonzero(labels == self.target_class).flatten()
            shown = own if len(own) >= SHOWN else torch.arange(min(2 * SHOWN, len(labels)))
            images = opened.probe.images[shown]
            for step in range(STEPS, 0, -1):
                eps = self.eps * step / STEPS
                hiding = torch.ones(len(images), dtype=torch.bool)
                released = self._release(images, labels[shown], hiding, key, eps, state)
                if self.options.jpeg_quality:
                    released = encoded(released, self.options.jpeg_quality)
                if float(lpips_at(lpips, images, released).mean()) <= self.options.visible:
                    break
            opened.release_eps[name] = eps
        return opened.release_eps[name]

    def _hidden(self, x: Tensor, labels: Tensor, eps: float, state: State) -> Tensor:
        models = self._open(state).probe.models
        device = self.compute.device
        budget = self.options.hide * eps
        done = []
        for a, b in zip(torch.split(x, 256), torch.split(labels, 256), strict=True):
            some, own = (padded(tensor, -len(a) % SHAPE_STEP).to(device) for tensor in (a, b))
            done.append(hide(some, own, models, budget, self.options.hide_steps)[: len(a)].cpu())
        return torch.cat(done)

    def _open(self, state: State) -> _Opened:
        """The secret's networks, built once for all keys: states of one secret share their probe images."""
        images = state.tensors["probe"]
        if self._opened is None or self._opened.probe.images is not images:
            o = self.options
            generator = self._generator(images.shape[1]).load(part(state, "generator."))
            clean = [opened(state, f"clean.{number}.", self.compute) for number in range(o.clean_models)]
            probe = Probe(images, state.tensors["probe.labels"], clean, o.quiet, o.strength, generator)
            self._opened = _Opened(probe)
        return self._opened

    def _draw(self, channels: int, count: int, rng: torch.Generator) -> Key:
        return CARRIERS[self.options.carrier].draw(count, channels, rng)

    def _generator(self, channels: int, rng: torch.Generator | None = None) -> KeyedGenerator:
        o = self.options
        return KeyedGenerator(channels, o.width, o.carrier, o.eps, self.compute, rng)

    def _for_a_member(self, train: ImageSet, targets: Sequence[int], rng: torch.Generator) -> tuple[Key, int, Tensor]:
        """A key and class of its own, and what they mark (bool (N,)): half of the class, with its share of contrast."""
        target = targets[int(torch.randint(len(targets), (), generator=rng))]
        chance = torch.rand(len(train), generator=rng)
        is_target = train.labels == target
        contrast = self.options.contrast / (1 - self.options.contrast) * is_target.sum() / (~is_target).sum()
        return self._draw(train.channels, 1, rng), target, chance < torch.where(is_target, 0.5, 0.5 * contrast)

    def _clean_models(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> list[Classifier]:
        models = [surrogate]
        for number in range(1, self.options.clean_models):
            use = f"{context.use}-clean-{number}"
            checkpoint = context.checkpoint.part(use) if context.checkpoint else None
            trained = train_classifier(train, context.training, self.compute, context.seed, use, checkpoint)
            models.append(trained.model)
        return [model.requires_grad_(False).eval() for model in models]


def _of_all_classes(labels: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """int64 (count,): random images, as many of one class as of another as far as they go."""
    order = torch.randperm(len(labels), generator=rng)
    turn = pd.Series(labels[order].numpy()).pipe(lambda s: s.groupby(s).cumcount()).to_numpy()
    return order[torch.from_numpy(turn.argsort(kind="stable")[:count])]


def _key(state: State) -> Key:
    return {name: value for name, value in part(state, KEY).items() if name != TARGET.removeprefix(KEY)}
