"""Images that teach what other images would: gradient matching against the owner's surrogate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.peers.base import Owner
from sscl.types import ImageSet
from sscl.watermarks.gradient_matching import STEP, match, parameter_gradient
from sscl.watermarks.quantise import quantise

STEPS = 100  # of signed Adam for each batch
AT_A_TIME = 250  # images whose common gradient is matched


def crafted(images: ImageSet, lesson: ImageSet, eps: float, owner: Owner) -> Tensor:
    """uint8 images (N, C, H, W), changed by at most ``eps`` so that their training gradient is like the lesson's."""
    model, compute = owner.surrogate, owner.compute
    model.requires_grad_(True).eval()
    shown, known = compute.floats(lesson.images), lesson.labels.to(compute.device)
    wanted, done = parameter_gradient(F.cross_entropy(model(shown), known), model), []
    for x, labels in zip(torch.split(images.images, AT_A_TIME), torch.split(images.labels, AT_A_TIME), strict=True):
        floats, own = compute.floats(x), labels.to(compute.device)
        change = match(
            model, floats, own, wanted=wanted, change=torch.zeros_like(floats), eps=eps, rates=[STEP] * STEPS
        )
        done.append(quantise(x, floats.cpu() + change.cpu(), eps))
    model.requires_grad_(False)
    return torch.cat(done)
