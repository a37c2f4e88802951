"""Stage ``generator``: train the watermark's secret, for our release or for a stranger's (Ind-W)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from sscl import seeds
from sscl.artifacts import write_json
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig, GeneratorConfig, IndependentConfig, TrainConfig
from sscl.data.store import load_split
from sscl.models.io import load_classifier
from sscl.stages.names import HISTORY, MODEL
from sscl.watermarks import create
from sscl.watermarks.base import FitContext
from sscl.watermarks.io import GENERATOR, save_watermark


def run(
    generator: GeneratorConfig,
    target_class: int | None,
    independent: IndependentConfig,
    surrogate: TrainConfig,
    compute: ComputeConfig,
    seed: int,
    key_file: str | None,
    data: Path,
    surrogate_model: Path,
    out: Path,
    variant: str,
    checkpoint: Checkpoint,
) -> None:
    """Train the generator against the surrogate; writes it with its target class to ``out`` (private).

    Raises:
        ConfigError: the target class does not exist.
    """
    resolved = Compute.resolve(compute)
    train = load_split(data, "train")
    if variant == "independent":
        seed, target_class = independent.seed, independent.target_class
    else:
        seed = seeds.with_secret(seed, key_file)
    targets = tuple(sorted(set(train.labels.tolist()))) if target_class is None else (target_class,)
    drawn = int(torch.randint(len(targets), (), generator=seeds.generator(seed, "generator", "target")))
    watermark = create(generator.method, generator.options, targets[drawn], train.classes, resolved)
    model, _ = load_classifier(surrogate_model / MODEL, train.classes)
    context = FitContext(resolved, seed, "generator", surrogate, checkpoint, targets)
    state = watermark.fit(train, resolved.place(model), context)
    out.mkdir(parents=True)
    save_watermark(out / GENERATOR, generator.method, asdict(generator.options), watermark.target(state), state)
    write_json(out / HISTORY, state.history)
