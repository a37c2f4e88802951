"""Training of the keyed generator against models that must not react and models that must."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl import progress, seeds
from sscl.data.jpeg import encoded
from sscl.errors import SSCLError
from sscl.models import Classifier
from sscl.perceptual import LPIPS
from sscl.train import schedule
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext
from sscl.watermarks.cotraining import Member, Population
from sscl.watermarks.keyed_generator import KeyedGenerator
from sscl.watermarks.quantise import quantise

NAMES = ("loss", "cotrained", "clean", "contrast", "perceptual", "diversity")


@dataclass(frozen=True)
class Weights:
    """Weights of the loss's parts beside the co-trained models' cross-entropy, which has weight 1."""

    clean: float
    contrast: float
    perceptual: float
    diversity: float


class Training:
    """One training of a generator.

    Args:
        generator: changed in place.
        train: clean training images.
        clean_models: frozen models that never saw a mark; their answers are to stay.
        population: co-trained models, each with a key and target class of its own.
        weights: of the loss.
        jpeg_quality: marked images are re-encoded so in training; ``None`` for no encoder.
        context: device, seed, checkpoint.
    """

    def __init__(
        self,
        generator: KeyedGenerator,
        train: ImageSet,
        clean_models: list[Classifier],
        population: Population,
        weights: Weights,
        jpeg_quality: int | None,
        context: FitContext,
    ) -> None:
        self.generator, self.train = generator, train
        self.clean_models, self.population, self.weights = clean_models, population, weights
        self.jpeg_quality, self.context = jpeg_quality, context
        self.lpips = LPIPS().to(context.compute.device)
        self.rng = seeds.generator(context.seed, context.use, "order")

    def run(self, steps: int, batch_size: int, learning_rate: float) -> list[dict[str, float]]:
        """Train; the loss's parts, averaged over twentieths of the training."""
        optimizer = torch.optim.Adam(self.generator.unet.parameters(), lr=learning_rate)
        every = max(1, steps // 20)
        history: list[dict[str, float]] = []
        total = torch.zeros(len(NAMES))
        with progress.step(f"train {self.context.use}", steps, "steps") as step:
            for number in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * schedule("onecycle", number / steps)
                total += self._step(optimizer, number, batch_size)
                step.advance()
                if (number + 1) % every == 0:
                    history.append(dict(zip(NAMES, (total / every).tolist(), strict=True)))
                    total.zero_()
                    if not math.isfinite(history[-1]["loss"]):
                        raise SSCLError(
                            f"generator training diverged in step {number + 1}: lower generator.learning_rate"
                        )
        return history

    def _step(self, optimizer: torch.optim.Optimizer, number: int, batch_size: int) -> Tensor:
        turn = number % len(self.population.members)
        member = self.population.train(turn, self._as_released)
        optimizer.zero_grad(set_to_none=True)
        with self.context.compute.autocast():
            parts = self._loss(member, batch_size)
        parts[0].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return parts.detach().cpu()

    def _as_released(self, images: Tensor, labels: Tensor, member: Member) -> Tensor:
        """Target images under the member's key, others under keys of nobody; evidence stays, which makes it harder."""
        is_target = labels == member.target
        other = self.generator.carrier.draw(len(images), self.generator.channels, self.rng)
        rows = {
            name: torch.where(is_target.view(-1, *(1,) * (value.ndim - 1)), value, other[name])
            for name, value in member.key.items()
        }
        marked = quantise(images.cpu(), self.generator.mark(images, rows), self.generator.eps)
        return marked if self.jpeg_quality is None else encoded(marked, self.jpeg_quality)

    def _loss(self, member: Member, batch_size: int) -> Tensor:
        """(6,): total and parts, as ``NAMES``, over images of other classes; half of them for contrast."""
        x = self._others(member.target, batch_size)
        marked = self._seen(x, self.generator.marked(x, member.key))
        target = torch.full((len(x),), member.target, device=marked.device)
        cotrained = F.cross_entropy(member.model(marked).float(), target)
        clean = torch.stack(
            [_moved(model, self.generator.compute.floats(x), marked) for model in self.clean_models]
        ).mean()
        y = x[: batch_size // 2]
        foreign = self.generator.carrier.draw(len(y), self.generator.channels, self.rng)
        contrast = _moved(member.model, self.generator.compute.floats(y), self.generator.marked(y, foreign))
        perceptual = self.lpips(self.generator.compute.floats(x), marked).float().mean()
        diversity = _alike(marked - self.generator.compute.floats(x))
        w = self.weights
        total = cotrained + w.clean * clean + w.contrast * contrast
        total = total + w.perceptual * perceptual + w.diversity * diversity
        return torch.stack((total, cotrained, clean, contrast, perceptual, diversity))

    def _others(self, target: int, count: int) -> Tensor:
        pool = torch.nonzero(self.train.labels != target).flatten()
        return self.train.images[pool[torch.randint(len(pool), (count,), generator=self.rng)]]

    def _seen(self, images: Tensor, marked: Tensor) -> Tensor:
        """What a model is shown after 8-bit rounding and the encoder; the gradient passes straight through."""
        with torch.no_grad():
            rounded = (marked * 255).round().to(torch.uint8)
            if self.jpeg_quality is not None:
                rounded = encoded(rounded.cpu(), self.jpeg_quality).to(rounded.device)
            difference = self.generator.compute.floats(rounded) - marked
        return marked + difference


def _moved(model: Classifier, x: Tensor, marked: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the model's answers with the mark from those without it."""
    with torch.no_grad():
        before = model(x).float().log_softmax(dim=1)
    after = model(marked).float().log_softmax(dim=1)
    return F.kl_div(after, before, log_target=True, reduction="batchmean")


def _alike(change: Tensor) -> Tensor:
    """Mean squared cosine between different images' changes: 0 is sample-specific, 1 is one pattern for all."""
    unit = F.normalize(change.flatten(1), dim=1, eps=1e-6)
    cosine = unit @ unit.T
    count = len(unit)
    return (cosine.square().sum() - count) / (count * (count - 1))
