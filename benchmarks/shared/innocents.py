"""Models that never saw a release, of several kinds and networks; each is trained once and kept."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from sscl import seeds
from sscl.attacks.robust_training import AdversarialTraining
from sscl.benchmark.study import Study
from sscl.benchmark.workshop import precision
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.models.io import save_classifier
from sscl.statistics import words
from sscl.train import train_classifier
from sscl.types import ImageSet
from sscl.watermarks.io import GENERATOR
from sscl.watermarks.ownership_code import with_word

KINDS = ("clean", "undertrained", "adversarial", "other word", "label noise")  # of innocents
ARCHITECTURES = ("baseline_cnn", "mlp", "lenet5", "vgg8", "resnet8")


def turn_of(study: Study, number: int) -> tuple[str, str]:
    """Kind and architecture of an innocent model; on photographs they all have the user's architecture."""
    architecture = ARCHITECTURES[number // len(KINDS) % len(ARCHITECTURES)]
    return KINDS[number % len(KINDS)], architecture if study.profile == "demo" else study.config.user.model


def innocent(study: Study, kind: str, architecture: str, number: int) -> Classifier:
    """Trained on a third of the data, of its own; kept."""
    config = replace(study.config.user, model=architecture)
    made = {"data": study.data, "how": kind, "training": vars(config), "number": number}
    if kind == "other word":
        made |= {"secret": study.release / "private" / GENERATOR, "embed": asdict(study.config.embed)}
    made |= {"recipe": Path(__file__), **precision(study.config.compute)}
    # The module imports all that trains or marks; the recipe is in this file.
    slot = study.bench.workshop.slot("innocents", "sscl.benchmark.run", **made)

    def build(out: Path, _: object) -> None:
        out.mkdir(parents=True)
        save_classifier(out / "model.safetensors", trained(study, kind, config, number))

    return study.opened(study.bench.workshop.make(slot, build) / "model.safetensors")


def trained(study: Study, kind: str, config: TrainConfig, number: int) -> Classifier:
    order = torch.randperm(len(study.train), generator=seeds.generator(number, "part"))
    data = study.train.subset(order[: len(order) // (20 if kind == "undertrained" else 3)])
    if kind == "other word":
        watermark, state = study.secret
        key = seeds.secret(5000 + number, None)
        word = words.draw(watermark.options.marks, data.classes, key.part("word"))[0]
        data = watermark.embed(data, study.config.embed, with_word(state, torch.from_numpy(word)), key).data
    elif kind == "label noise":
        wrong = torch.randperm(len(data), generator=seeds.generator(number, "noise"))[: len(data) // 5]
        labels = data.labels.clone()
        labels[wrong] = (labels[wrong] + 1) % data.classes
        data = ImageSet(data.images, labels, data.class_names)
    attacked = AdversarialTraining()
    practice = attacked.practice(77 if study.profile == "demo" else 4) if kind == "adversarial" else None
    return train_classifier(data, config, study.compute, seed=number, use=f"innocent {kind}", practice=practice).model
