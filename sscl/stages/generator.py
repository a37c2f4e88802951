"""Stage ``generator``: train the watermark's secret, for our release or for another owner's (Ind-W)."""

from __future__ import annotations

from pathlib import Path

from sscl import seeds
from sscl.artifacts import write_json
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig, GeneratorConfig, IndependentConfig, TrainConfig
from sscl.data.store import load_split
from sscl.layout import HISTORY, MODEL
from sscl.models.io import load_classifier
from sscl.watermarks import WATERMARKS, create
from sscl.watermarks.base import FitContext, SingleTarget
from sscl.watermarks.io import GENERATOR, save_watermark


def run(
    *,
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
    resolved = Compute.set_up(compute)
    train = load_split(data, "train")
    key = seeds.secret(seed, key_file)
    if variant == "independent":
        key, target_class = seeds.secret(independent.seed, None), independent.target_class
    method = WATERMARKS[generator.method]
    if target_class is None:
        classes = sorted(set(train.labels.tolist()))
        target_class = (
            classes[int(key.part("target").integers(len(classes)))] if issubclass(method, SingleTarget) else 0
        )
    watermark = create(generator.method, generator.options, target_class, classes=train.classes, compute=resolved)
    model, _ = load_classifier(surrogate_model / MODEL, train.classes)
    context = FitContext(resolved, key.part("generator"), seed, "generator", surrogate, checkpoint)
    state = watermark.fit(train, resolved.place(model), context)
    out.mkdir(parents=True)
    save_watermark(out / GENERATOR, watermark, state)
    write_json(out / HISTORY, state.history)
