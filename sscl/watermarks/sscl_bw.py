"""SSCL-BW, the published method: a U-Net that makes sample-specific clean-label marks against a frozen surrogate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import progress
from sscl.compute import in_full_precision
from sscl.config import require
from sscl.descent import descend
from sscl.errors import InputError, SSCLError
from sscl.models import Classifier
from sscl.models.unet import UNet, build_unet
from sscl.perceptual import LPIPS
from sscl.train import predict, schedule
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, SingleTarget, State, require_budget
from sscl.watermarks.quantise import SHAPE_STEP, quantise


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: sscl_bw``. Weights ``a``, ``b``, ``c`` are the paper's loss weights."""

    eps: float
    a: float
    b: float
    c: float
    width: int
    epochs: int
    batch_size: int
    learning_rate: float
    images: int | None

    def __post_init__(self) -> None:
        require_budget("eps", self.eps)
        require(min(self.a, self.b, self.c) >= 0, "a, b, c", (self.a, self.b, self.c), "0 or more")
        require(self.width >= 4 and self.width % 4 == 0, "width", self.width, "a multiple of 4")
        require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        require(
            self.batch_size >= 2, "batch_size", self.batch_size, "2 or more: half of a batch is of the target class"
        )
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")
        require(
            self.images is None or self.images >= 1, "images", self.images, "1 or more, or null for 10 % of the set"
        )


@WATERMARKS.register("sscl_bw")
class SSCLBW(SingleTarget[Options]):
    """``x_w = clip(x + eps * tanh(G(x)))``, minimising ``a L_t + b L_nt + c L_p``.

    ``L_t``: cross-entropy of the surrogate on marked target-class images against ``y_min``, its least likely class for
    the clean image. ``L_nt``: cross-entropy on marked images of other classes against the target class. ``L_p``: LPIPS.
    """

    Options = Options

    @property
    def eps(self) -> float:
        return self.options.eps

    def candidates(self, labels: Tensor) -> Tensor:
        return self.of_target(labels)

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        """Train G. Every 8-bit image that it makes stays within eps; the surrogate and LPIPS are frozen.

        Raises:
            InputError: the target class, or every other, has no images.
            SSCLError: the loss is not finite.
        """
        target, other = self._split(train, context)
        generator = build_unet(train.channels, self.options.width, context.rng("weights"))
        generator = self._place(generator)
        optimizer = torch.optim.Adam(generator.parameters(), lr=self.options.learning_rate)
        order = context.rng("order")
        losses = context.checkpoint.resume(generator, optimizer, order) if context.checkpoint else []
        history = [losses[i : i + 4] for i in range(0, len(losses), 4)]
        surrogate = surrogate.requires_grad_(False).eval()
        objective = _Objective(self.options, self.target_class, surrogate, LPIPS().to(self.compute.device))
        y_min = predict(surrogate, target, self.compute).argmin(dim=1).to(self.compute.device)
        with progress.step(f"train {context.use}", self.options.epochs * 2 * len(target)) as step:
            step.advance(len(history) * 2 * len(target))
            for epoch in range(len(history), self.options.epochs):
                history.append(
                    self._epoch(
                        generator,
                        optimizer,
                        objective,
                        target=target,
                        y_min=y_min,
                        other=other,
                        order=order,
                        epoch=epoch,
                        step=step,
                    )
                )
                if not all(map(math.isfinite, history[-1])):
                    raise SSCLError(f"generator training diverged in epoch {epoch + 1}: lower generator.learning_rate")
                if context.checkpoint:
                    context.checkpoint.save(generator, optimizer, order, [v for row in history for v in row])
        names = ("loss", "target", "non_target", "perceptual")
        return State(dict(generator.state_dict()), [dict(zip(names, row, strict=True)) for row in history])

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.trigger(images, state), labels

    @torch.no_grad()
    def trigger(self, images: Tensor, state: State) -> Tensor:
        """Marks uint8 (N, C, H, W); a method of G alone, so release and verification see the same mark."""
        generator = self._load(state, images.shape[1])
        marked = []
        for batch in torch.split(images, 256):
            # Few shapes: every new one costs a compiled kernel and its scratch memory.
            padded = F.pad(batch, (0, 0, 0, 0, 0, 0, 0, -len(batch) % SHAPE_STEP))
            x = self.compute.floats(padded)
            wanted = (x + self._delta(generator, x))[: len(batch)].cpu()
            marked.append(quantise(batch, wanted, self.eps))
        return torch.cat(marked) if marked else images.clone()

    def _delta(self, generator: nn.Module, x: Tensor) -> Tensor:
        return self.eps * torch.tanh(generator(x).float())

    def _place(self, generator: UNet) -> UNet:
        # Channels-last doubles the U-Net's speed on CPUs too, so it is not left to the switch.
        return generator.to(self.compute.device).to(memory_format=torch.channels_last)

    def _load(self, state: State, channels: int) -> UNet:
        generator = build_unet(channels, self.options.width)
        try:
            generator.load_state_dict(state.tensors)
        except RuntimeError as error:
            raise InputError(
                f"the generator's weights do not fit its config: {str(error).splitlines()[-1].strip()}"
            ) from None
        return self._place(generator).eval()

    def _split(self, train: ImageSet, context: FitContext) -> tuple[Tensor, Tensor]:
        """N_t target images and as many others, uint8 on the device. The paper: N_t is 10 % of the training set."""
        rng = context.rng("images")
        is_target = train.labels == self.target_class
        wanted = self.options.images or len(train) // 10
        count = min(wanted, int(is_target.sum()), int((~is_target).sum()))
        if count == 0:
            raise InputError(f"target_class: class {self.target_class} or every other class has no images to train on")

        def draw(mask: Tensor) -> Tensor:
            indices = torch.nonzero(mask).flatten()
            return train.images[indices[torch.randperm(len(indices), generator=rng)[:count]]].to(self.compute.device)

        return draw(is_target), draw(~is_target)

    def _epoch(
        self,
        generator: UNet,
        optimizer: torch.optim.Optimizer,
        objective: _Objective,
        *,
        target: Tensor,
        y_min: Tensor,
        other: Tensor,
        order: torch.Generator,
        epoch: int,
        step: progress.Step,
    ) -> list[float]:
        half = max(1, self.options.batch_size // 2)
        batches = math.ceil(len(target) / half)
        total = torch.zeros(4, device=self.compute.device)
        first, second = (torch.randperm(len(s), generator=order).to(self.compute.device) for s in (target, other))
        for number, (t, o) in enumerate(zip(torch.split(first, half), torch.split(second, half), strict=True)):
            progressed = (epoch * batches + number) / (self.options.epochs * batches)
            x = self.compute.floats(torch.cat((target[t], other[o])))
            with self.compute.autocast():
                parts = objective(x, (x + self._delta(generator, x)).clamp(0, 1), y_min[t])
            rate = self.options.learning_rate * schedule("onecycle", progressed)
            descend(optimizer, parts[0], rate=rate)
            total += parts.detach() * len(t)
            step.advance(len(x))
        return [float(v) for v in total / len(target)]


class _Objective:
    """The paper's loss; returns (4,): total, L_t, L_nt, L_p."""

    def __init__(self, options: Options, target_class: int, surrogate: Classifier, lpips: LPIPS) -> None:
        self.options, self.target_class, self.surrogate, self.lpips = options, target_class, surrogate, lpips

    def __call__(self, x: Tensor, marked: Tensor, y_min: Tensor) -> Tensor:
        logits = self.surrogate(marked).float()
        count = len(y_min)
        l_t = F.cross_entropy(logits[:count], y_min)
        l_nt = F.cross_entropy(logits[count:], torch.full_like(y_min, self.target_class)[: len(logits) - count])
        l_p = in_full_precision(self.lpips, x, marked).mean()
        total = self.options.a * l_t + self.options.b * l_nt + self.options.c * l_p
        return torch.stack((total, l_t, l_nt, l_p))
