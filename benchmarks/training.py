"""Throughput of the training loop: bare steps on a resident batch, our loop, and a plain DataLoader.

    python benchmarks/training.py
    python benchmarks/training.py --images 50000 --epochs 3 --no-loader --set compute.compile=false

Three alternating rounds; the table shows images a second (median) and our loop's share of the bare one. A machine with
a GPU trains a ResNet-18 too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.shared.rows import Sets
from sscl import progress, seeds
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import build
from sscl.params import load
from sscl.provenance import machine
from sscl.train import OPTIMIZERS, train_classifier
from sscl.types import ImageSet

# seconds of work each, on two cores
IMAGES = {"baseline_cnn": 20_000, "resnet8": 4_000, "fastnet": 4_000, "resnet18": 8_000}
PROFILES = (("demo", 1, 28), ("cifar10-small", 3, 32), ("cifar10", 3, 32))
ON_GPU = (("paper-cifar10", 3, 32),)
CROPS: dict[str, dict[str, Any]] = {
    "none": {},
    "crop_flip": {"padding": 4},
    "shift_flip": {"padding": 2, "padding_mode": "reflect"},
    "shift_flip_cutout": {"padding": 4, "padding_mode": "reflect"},
}
CUTOUT = transforms.RandomErasing(p=1.0, scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0), value=0.5)
ROUNDS = 3


def images(count: int, channels: int, size: int) -> ImageSet:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, channels, size, size), generator=rng, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(0, 10, (count,), generator=rng), tuple("0123456789"))


def bare(data: ImageSet, config: TrainConfig, compute: Compute) -> float:
    """Forward, backward and step on one float batch that is already there."""
    model = compute.place(
        build(config.model, data.channels, data.size, classes=data.classes, generator=seeds.generator(0, "bench"))
    )
    optimizer = OPTIMIZERS[config.optimizer](list(model.parameters()), config)
    x, y = compute.floats(data.images[: config.batch_size]), data.labels[: config.batch_size].to(compute.device)
    run, model = compute.faster(model), model.train()
    batches = max(1, len(data) // config.batch_size)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with compute.autocast():
            loss = F.cross_entropy(run(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def epoch() -> None:
        for _ in range(batches):
            step()

    return rate(epoch, batches * config.batch_size)


def ours(data: ImageSet, config: TrainConfig, compute: Compute) -> float:
    return rate(lambda: train_classifier(data, config, compute, seed=0, use="bench"), config.epochs * len(data))


class PerImage(Dataset[tuple[torch.Tensor, int]]):
    """What most research code does: a PIL image and per-image transforms."""

    def __init__(self, data: ImageSet, augment: str) -> None:
        self.arrays, self.labels = data.images.permute(0, 2, 3, 1).squeeze(-1).numpy(), data.labels.tolist()
        how = CROPS[augment]
        crop = [transforms.RandomCrop(data.size, **how), transforms.RandomHorizontalFlip()] if how else []
        covered = [CUTOUT] if augment.endswith("_cutout") else []
        steps = [transforms.ToPILImage(), *crop, transforms.ToTensor(), *covered, transforms.Normalize(0.5, 0.25)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(np.ascontiguousarray(self.arrays[index])), self.labels[index]


def data_loader(data: ImageSet, config: TrainConfig, compute: Compute) -> float:
    model = compute.place(
        build(config.model, data.channels, data.size, classes=data.classes, generator=seeds.generator(0, "bench"))
    )
    optimizer = OPTIMIZERS[config.optimizer](list(model.parameters()), config)
    dataset = PerImage(data, config.augment)
    loader = DataLoader(dataset, config.batch_size, shuffle=True, generator=seeds.generator(0, "loader"))

    def epoch() -> None:
        for x, y in loader:
            optimizer.zero_grad(set_to_none=True)
            with compute.autocast():
                loss = F.cross_entropy(model(x.to(compute.device)), y.to(compute.device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return rate(epoch, len(data))


def rate(work: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # a GPU's work goes on after the call
    return count / (time.perf_counter() - start)


def main(
    *,
    count: Annotated[int | None, typer.Option("--images", help="Of each model, instead of seconds of work.")] = None,
    rounds: Annotated[int, typer.Option(help="Of every kind of loop, in turn.")] = ROUNDS,
    epochs: Annotated[int, typer.Option(help="Of our loop, over which its start-up is spread.")] = 1,
    loader: Annotated[bool, typer.Option(help="Measure a DataLoader too, which is slow.")] = True,
    overrides: Sets = None,
) -> None:
    """Measure, and print the table."""
    progress.set_quiet(True)
    kinds = {"bare": bare, "ours": ours} | ({"loader": data_loader} if loader else {})
    table = Table("model", "bare step", "our loop", "share of bare", "DataLoader", "ours / DataLoader", box=None)
    for profile, channels, size in (*PROFILES, *(ON_GPU if torch.cuda.is_available() else ())):
        config = load(profile=profile, overrides=overrides or ())
        user = replace(config.user, epochs=epochs)
        compute = Compute.set_up(config.compute)
        data = images(count or IMAGES[user.model], channels, size)
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for run in (bare, ours):
            run(data, user, compute)  # warm up
        for _ in range(rounds):
            for kind, run in kinds.items():
                found[kind].append(run(data, user, compute))
        b, o, *rest = (statistics.median(found[kind]) for kind in kinds)
        last = [text for d in rest for text in (f"{d:,.0f}/s", f"{o / d:.1f}x")]
        table.add_row(user.model, f"{b:,.0f}/s", f"{o:,.0f}/s", f"{o / b:.0%}", *last)
    console = Console(width=100)
    console.print(table)
    console.print(machine())


if __name__ == "__main__":
    typer.run(main)
