"""Stage ``verify``: query every model and run the published test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sscl import progress
from sscl.artifacts import load_tensors, save_tensors, write_json
from sscl.compute import Compute
from sscl.config import ComputeConfig, VerifyConfig
from sscl.data.codec import decode, to_tensor
from sscl.data.spread import spread
from sscl.data.store import Card, load_split, open_dataset
from sscl.layout import EXAMPLES, INDICES, MODEL, RESPONSES, RESULTS
from sscl.perceptual import LPIPS, image_quality
from sscl.statistics.paired import TESTS
from sscl.suspects import Context, open_oracle
from sscl.types import Responses, nhwc
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.pairs import verification_pairs

LPIPS_IMAGES = 2000  # released images over which LPIPS is averaged
EXAMPLE_IMAGES = 32


def run(
    *,
    verify: VerifyConfig,
    compute: ComputeConfig,
    seed: int,
    data: Path,
    public: Path,
    watermark: Path,
    malicious: Path,
    independent_model: Path,
    independent_watermark: Path,
    attacked: Path,
    out: Path,
) -> None:
    """Query every model with benign and marked test images; writes responses, verdicts and image quality.

    Marked images are queried as uint8. Benign accuracy is over the whole test split; the test itself over images of
    other classes than their mark's (``verify.images`` of them, drawn at random). Image quality is that of the released
    files.
    """
    resolved = Compute.set_up(compute)
    test_split = load_split(data, "test")
    mark, state = load_watermark(watermark / GENERATOR, test_split.classes, resolved)
    chosen, targets = verification_pairs(test_split, mark.targets(state), verify.images, seed)
    images = test_split.images[chosen]
    marked = mark.trigger(test_split.images, state)[chosen]
    suspects = {
        "malicious": malicious,
        "independent_model": independent_model,
        "independent_watermark": independent_watermark,
    }
    suspects |= {folder.name: folder for folder in sorted(attacked.iterdir())}
    verdicts, accuracies, responses = {}, {}, []
    test = TESTS[verify.test](verify.tau, verify.alpha)
    with progress.step("verify", len(suspects) * (len(test_split) + len(marked))) as step:
        for suspect, folder in suspects.items():
            oracle = open_oracle(str(folder / MODEL), Context(test_split.class_names, resolved))
            everything = oracle.query(nhwc(test_split.images))
            answers = oracle.query(nhwc(marked))
            step.advance(len(test_split) + len(marked))
            benign = everything.take(chosen.numpy())
            accuracies[suspect] = float((everything.predictions == test_split.labels.numpy()).mean())
            verdicts[suspect] = asdict(test.run(benign, answers, targets.numpy()))
            if folder.parent != attacked:
                responses.append(_table(suspect, chosen, benign, marked=answers, target=targets.numpy()))
    out.mkdir(parents=True)
    pd.concat(responses).to_parquet(out / RESPONSES, index=False)
    # Test images, not released ones: a shown image must not tell which training images are marked.
    shown = {"clean": images[:EXAMPLE_IMAGES], "marked": marked[:EXAMPLE_IMAGES]}
    save_tensors(out / EXAMPLES, shown, {})
    quality = _quality(data, public, watermark, resolved)
    results = {
        "release": Card.read(public).name,
        "verdicts": verdicts,
        "benign_accuracy": accuracies,
        "quality": quality,
    }
    write_json(out / RESULTS, results)


def _table(scenario: str, chosen: Tensor, benign: Responses, *, marked: Responses, target: np.ndarray) -> pd.DataFrame:
    rows = np.arange(len(benign))
    return pd.DataFrame(
        {
            "scenario": scenario,
            "image": chosen.numpy(),
            "p_benign": benign.values[rows, target],
            "p_marked": marked.values[rows, target],
            "predicted_benign": benign.predictions,
            "predicted_marked": marked.predictions,
        }
    )


def _quality(data: Path, public: Path, watermark: Path, compute: Compute) -> dict[str, float]:
    """How visible the released marks are, after the encoder."""
    everything = load_tensors(watermark / INDICES)[0]["indices"]
    indices = everything[spread(len(everything), LPIPS_IMAGES)]
    clean, released = (torch.stack(list(_pick(folder, indices))) for folder in (data, public))
    return {"marked": len(everything), **image_quality(LPIPS().to(compute.device), clean, released)}


def _pick(folder: Path, indices: Tensor) -> Iterator[Tensor]:
    card, dataset = open_dataset(folder)
    wanted = set(indices.tolist())
    for number, record in enumerate(dataset.records("train")):
        if number in wanted:
            yield to_tensor(decode(record.data), card.channels)
