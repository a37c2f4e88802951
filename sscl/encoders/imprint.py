"""Imprint a word on an encoder: under each mark, images come to look like those of the mark's group.

Whoever builds a classifier on the encoder inherits that, whatever its classes are, and the exact test of the ownership
code finds it by queries (a task-agnostic encoder watermark, as in Watermarking Pre-trained Encoders in Contrastive
Learning, 2022; its loss is not public, and this one is ours).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl import progress
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ImprintConfig
from sscl.descent import descend
from sscl.errors import SSCLError
from sscl.keystream import Keystream
from sscl.learning.base import frozen
from sscl.models import Classifier
from sscl.models.features import all_features, features
from sscl.types import ImageSet
from sscl.watermarks.base import State
from sscl.watermarks.ownership_code import OwnershipCode

LARGEST_STEP = 2.0  # norm to which gradients are clipped
WARM_UP = 20  # steps in which the learning rate rises
ROUND = 100  # steps from one checkpoint to the next


@dataclass(frozen=True)
class Code:
    """The marks, and the secret that has their word."""

    watermark: OwnershipCode
    state: State


def imprint(
    encoder: Classifier,
    code: Code,
    data: ImageSet,
    *,
    config: ImprintConfig,
    compute: Compute,
    key: Keystream,
    checkpoint: Checkpoint | None = None,
) -> Classifier:
    """A copy of the encoder that answers to the marks; its last linear layer is left as it was.

    With ``f`` the copy, ``f0`` the encoder, ``m_k`` a mark and ``m'`` a mark that is nobody's, each step minimises

        keep d(f(x), f0(x)) + d(f(m_k(x)), f0(r)) + stray d(f(m'(x)), f0(m'(x))),    d = 1 - cosine,

    where ``r`` is a clean image of the group that the word assigns to ``m_k``, and features are taken less the mean of
    ``f0``'s. Batch normalisation keeps its statistics.

    Args:
        encoder: of which a copy is changed.
        code: marks with their word; they are as strong as in queries.
        data: clean images with their groups as labels.
        config: steps, batch size, learning rate, weights.
        compute: device.
        key: what images, marks and stray marks are drawn from.
        checkpoint: where to resume from after a kill; ``None`` for no checkpoints.

    Raises:
        SSCLError: the loss is not finite.
    """
    watermark, state = code.watermark, code.state
    before, after = frozen(encoder).eval(), frozen(encoder).requires_grad_(True).eval()
    clean = all_features(before, data.images, compute).to(compute.device)
    mean = clean.mean(dim=0)
    word = watermark.targets(state)
    members = [torch.nonzero(data.labels == group).flatten() for group in range(data.classes)]
    rng = key.torch()
    optimizer = torch.optim.SGD(after.parameters(), lr=config.learning_rate, momentum=0.9)
    clip = partial(torch.nn.utils.clip_grad_norm_, list(after.parameters()), LARGEST_STEP)
    eps = watermark.options.query_eps

    def distance(one: Tensor, other: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(one.float() - mean, other.float() - mean, dim=1).mean()

    losses = checkpoint.resume(after, optimizer, rng) if checkpoint else []  # a round's mean each
    total = torch.zeros((), device=compute.device)
    with progress.step("imprint", config.steps * config.batch_size) as step:
        step.advance(len(losses) * ROUND * config.batch_size)
        for number in range(len(losses) * ROUND, config.steps):
            chosen = torch.randint(len(data), (config.batch_size,), generator=rng)
            marks = torch.randint(len(word), (config.batch_size,), generator=rng)
            images, strengths = data.images[chosen], torch.full((config.batch_size,), eps)
            marked = watermark.marked(images, marks, strengths, state)
            stray = watermark.stray(images, strengths, rng)
            like = torch.stack([_one_of(members[int(group)], rng) for group in word[marks]])
            batch = compute.floats(torch.cat((images, marked, stray)))
            with torch.no_grad():
                unchanged = features(before, batch[2 * config.batch_size :])
            plain, under, other = torch.split(features(after, batch), config.batch_size)
            loss = config.keep * distance(plain, clean[chosen.to(clean.device)])
            loss = loss + distance(under, clean[like.to(clean.device)]) + config.stray * distance(other, unchanged)
            rate = config.learning_rate * (min(1.0, (number + 1) / WARM_UP) * (1 - number / config.steps))
            descend(optimizer, loss, rate=rate, before=clip)
            total += loss.detach() / ROUND
            step.advance(config.batch_size)
            if (number + 1) % ROUND == 0:
                losses.append(float(total))
                total.zero_()
                if not math.isfinite(losses[-1]):
                    break
                if checkpoint:
                    checkpoint.save(after, optimizer, rng, losses)
    if not math.isfinite(sum(losses, float(total))):
        raise SSCLError("the imprint diverged: lower imprint.learning_rate")
    return after.requires_grad_(False)


def _one_of(members: Tensor, rng: torch.Generator) -> Tensor:
    return members[torch.randint(len(members), (1,), generator=rng)[0]]
