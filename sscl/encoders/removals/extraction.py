"""Extraction: a fresh encoder learns the features that the stolen one gives (StolenEncoder, Liu et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sscl import seeds
from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief
from sscl.models import Classifier, build
from sscl.models.features import all_features, features
from sscl.train import schedule

EPOCHS, BATCH, LEARNING_RATE = 10, 128, 2e-3  # by Adam, one-cycle


class Extraction(EncoderRemoval):
    """Needs answers alone: cosine distance to the stolen encoder's features, on the thief's images."""

    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        rng, compute = seeds.generator(thief.seed, "extraction"), thief.compute
        student = build(encoder.name, encoder.channels, encoder.size, classes=encoder.classes, generator=rng)
        student.normalise_as(thief.images.images)
        student = compute.place(student)
        wanted = all_features(encoder, thief.images.images, compute).to(compute.device)
        mean = wanted.mean(dim=0)
        optimizer = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)
        student.train()
        steps = EPOCHS * -(-len(wanted) // BATCH)
        done = 0
        for _ in range(EPOCHS):
            for batch in torch.split(torch.randperm(len(wanted), generator=rng), BATCH):
                optimizer.param_groups[0]["lr"] = LEARNING_RATE * schedule("onecycle", done / steps)
                given = features(student, compute.floats(thief.images.images[batch]))
                optimizer.zero_grad(set_to_none=True)
                target = wanted[batch.to(wanted.device)]
                loss = 1 - F.cosine_similarity(given - mean, target - mean, dim=1).mean()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                done += 1
        return student.eval().requires_grad_(False)


REMOVALS.register("extraction")(Extraction())
