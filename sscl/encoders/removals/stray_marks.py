"""Stray marks: by a thief who knows the method, and lacks the owner's marks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sscl import seeds
from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief
from sscl.learning.base import frozen
from sscl.models import Classifier
from sscl.models.features import all_features, features
from sscl.train import schedule
from sscl.watermarks.marks import FAMILIES
from sscl.watermarks.quantise import quantise

EPOCHS, BATCH, LEARNING_RATE = 5, 64, 3e-4  # by Adam, one-cycle
STRENGTH = 16 / 255  # of the marks, as profiles for encoders have it


class StrayMarks(EncoderRemoval):
    """Images under random marks, and without one, are to have the features that they had without one."""

    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        rng, compute, images = seeds.generator(thief.seed, "stray marks"), thief.compute, thief.images.images
        found = frozen(encoder).requires_grad_(True).eval()
        wanted = all_features(encoder, images, compute).to(compute.device)
        mean = wanted.mean(dim=0)
        optimizer = torch.optim.Adam(found.parameters(), lr=LEARNING_RATE)
        steps, done = EPOCHS * -(-len(images) // BATCH), 0
        for _ in range(EPOCHS):
            for batch in torch.split(torch.randperm(len(images), generator=rng), BATCH):
                optimizer.param_groups[0]["lr"] = LEARNING_RATE * schedule("onecycle", done / steps)
                plain = images[batch]
                marked = quantise(plain, plain / 255 + STRENGTH * FAMILIES["chords"].stray(plain, rng), STRENGTH)
                target = wanted[batch.to(wanted.device)].repeat(2, 1)
                given = features(found, compute.floats(torch.cat((plain, marked))))
                loss = 1 - F.cosine_similarity(given - mean, target - mean, dim=1).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                done += 1
        return found.requires_grad_(False)


REMOVALS.register("stray_marks")(StrayMarks())
