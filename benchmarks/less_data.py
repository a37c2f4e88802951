"""Do innocents with less data react less to the published mark? One secret, clean models of all the data or a third.

    python benchmarks/less_data.py cifar10-small

A third of the data in as many epochs is also a third of the steps, so a third kind has the third and all the steps.
Writes docs/results/less_data.json, one row a model, and prints the table of docs/verification.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from sscl import seeds
from sscl.artifacts import write_json
from sscl.compute import Compute
from sscl.data.store import load_split
from sscl.params import load
from sscl.provenance import machine
from sscl.runner import run_stage
from sscl.stages.table import STAGES
from sscl.train import predict, train_classifier
from sscl.types import Responses
from sscl.verify import TESTS
from sscl.watermarks.io import GENERATOR, load_watermark

RESULTS = Path("docs/results/less_data.json")
KINDS = {"all": (1, 1), "a third": (3, 1), "a third, as many steps": (3, 3)}  # part of the data, factor of epochs


def main(
    profile: Annotated[str, typer.Argument(help="A profile of params.yaml.")],
    models: Annotated[int, typer.Option(help="Of each kind.")] = 3,
    root: Annotated[Path, typer.Option(help="Where the secret is kept.")] = Path("runs/less_data"),
) -> None:
    """Train, ask, write the rows and print the table."""
    config = load(Path("params.yaml"), profile, ["generator.method=sscl_bw"])
    for name in ("prepare", "surrogate", "generator@release"):
        run_stage(STAGES[name], config, root, overwrite=True)
    compute = Compute.resolve(config.compute)
    train, test = (load_split(root / "clean", split) for split in ("train", "test"))
    watermark, state = load_watermark(root / "private/generator/release" / GENERATOR, train.classes, compute)
    target = watermark.target_class
    asked = test.images[test.labels != target]
    marked = watermark.trigger(asked, state)
    rows: list[dict[str, Any]] = []
    for kind, (part, factor) in KINDS.items():
        for seed in range(100, 100 + models):
            order = torch.randperm(len(train), generator=seeds.generator(seed, "part"))
            user = replace(config.user, epochs=config.user.epochs * factor)
            data = train.subset(order[: len(train) // part])
            model = train_classifier(data, user, compute, seed, f"innocent of {kind}").model
            before, after = (Responses(predict(model, images, compute).numpy()) for images in (asked, marked))
            found = TESTS["paired_t"](config.verify.tau, config.verify.alpha).run(before, after, target)
            accuracy = (predict(model, test.images, compute).argmax(dim=1) == test.labels).double().mean().item()
            rows.append({"profile": profile, "kind": kind, "seed": seed, "benign_accuracy": accuracy})
            rows[-1] |= {"delta_p": found.delta_p, "p_paper": found.p_value, "machine": machine()}
            write_json(RESULTS, rows)
            print(rows[-1], flush=True)
    print("| data | delta_P | benign accuracy, % |\n|---|---|---|")
    for kind in KINDS:
        effects, accuracies = ([r[name] for r in rows if r["kind"] == kind] for name in ("delta_p", "benign_accuracy"))
        spread = f"{np.mean(effects):.2f} ({min(effects):.2f} to {max(effects):.2f})"
        print(f"| {kind} | {spread} | {100 * np.mean(accuracies):.1f} |")


if __name__ == "__main__":
    typer.run(main)
