"""The picture in the README: a photograph before and after it is marked, and what models answer to marks.

    python benchmarks/picture.py cifar10-small

The photograph is scikit-learn's ``flower.jpg`` (flickr.com/photos/vultilion/6056698931, CC BY 2.0) at the size of the
dataset's images. Its mark is the release's first. Bars are means over all marks, and over the verification images of
other classes than the mark's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from benchmarks.shared.rows import ROOT, Root, Sets, study_of
from sscl.benchmark.study import Study
from sscl.data.codec import to_pixels, to_tensor
from sscl.models import Classifier
from sscl.report.figures import COLOURS
from sscl.train import predict
from sscl.watermarks.ownership_code import STRENGTHS

AMPLIFIED = 8  # the change, as it is shown


def main(
    profile: str,
    seed: int = 0,
    root: Root = ROOT,
    *,
    overrides: Sets = None,
    out: Annotated[Path, typer.Option(help="The SVG file.")] = Path("docs/images/marked.svg"),
) -> None:
    """Train a model on the release and one on clean images, and draw."""
    study = study_of(profile, seed, root, overrides=overrides)
    before, after = photograph(study)
    guilty = study.opened(study.bench.trained(study.config, "user", study.release / "public"))
    innocent = study.opened(study.bench.trained(study.config, "user", study.data))
    shown = {"trained on\nthe release": moved(study, guilty), "never saw it": moved(study, innocent)}
    draw(before, after, shown).savefig(out, bbox_inches="tight", metadata={"Date": None})
    print(out, {name.replace("\n", " "): tuple(round(value, 3) for value in values) for name, values in shown.items()})


def photograph(study: Study) -> tuple[Tensor, Tensor]:
    """uint8 (C, S, S): the photograph, and the same under the first mark as strong as in the release."""
    watermark, state = study.secret
    picture = Image.fromarray(load_sample_image("flower.jpg"))
    side = min(picture.size)
    square = picture.crop((side // 4, 0, side // 4 + side, side)).resize((study.train.size,) * 2)
    image = to_tensor(np.array(square.convert("RGB" if study.train.channels == 3 else "L")), study.train.channels)
    marks = torch.zeros(1, dtype=torch.int64)
    return image, watermark.marked(image[None], marks, state.tensors[STRENGTHS][marks], state)[0]


def moved(study: Study, model: Classifier) -> tuple[float, float]:
    """Mean probability of a mark's class, without the mark and under it."""
    watermark, state = study.secret
    images, labels = study.images.images, study.images.labels
    clean, found = predict(model, images, study.compute), []
    for mark, group in enumerate(watermark.targets(state).tolist()):
        marked = predict(model, watermark.asked(images, mark, state), study.compute)
        others = labels != group
        found.append([float(answers[others, group].mean()) for answers in (clean, marked)])
    without, under = np.mean(found, axis=0).tolist()
    return without, under


def draw(before: Tensor, after: Tensor, shown: dict[str, tuple[float, float]]) -> Figure:
    """Three tiles, and a pair of bars for each model."""
    figure = Figure(figsize=(9, 2.2))
    axes = figure.subplots(1, 4, gridspec_kw={"width_ratios": (1, 1, 1, 1.9), "wspace": 0.08})
    change = ((after.float() - before.float()) * AMPLIFIED + 127.5).clamp(0, 255).byte()
    titles = ("your image", "as you publish it", f"what changed, times {AMPLIFIED}")
    for place, image, title in zip(axes, (before, after, change), titles, strict=False):
        place.imshow(to_pixels(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        place.set_title(title, fontsize=9)
        place.axis("off")
    bars = axes[3]
    for number, (name, values) in enumerate(shown.items()):
        for offset, (value, colour) in enumerate(zip(values, ("#b0b0b0", COLOURS[0]), strict=True)):
            bars.barh(-number + 0.18 - 0.36 * offset, value, height=0.34, color=colour)
            bars.text(value, -number + 0.18 - 0.36 * offset, f" {value:.0%}", va="center", fontsize=9)
        bars.text(-0.01, -number, name, ha="right", va="center", fontsize=9)
    bars.set_xlim(0, 1.25 * max(max(values) for values in shown.values()))
    bars.set_title("answers with the mark's class:\nimages without a mark (grey), with it (red)", fontsize=9)
    bars.set_yticks([])
    bars.set_xticks([])
    bars.spines[:].set_visible(False)
    box = bars.get_position()
    bars.set_position((box.x0 + 0.1, box.y0, box.width - 0.1, box.height))
    return figure


if __name__ == "__main__":
    typer.run(main)
