"""Peak memory and speed of embedding: more images must not need more memory.

    python benchmarks/embedding.py
    python benchmarks/embedding.py --pixels 224 --channels 3 --size 1000 --size 5000

Each size is embedded in a process of its own; the peak resident set is the operating system's (`ru_maxrss`).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from sscl import progress, seeds
from sscl.compute import Compute
from sscl.config import ComputeConfig, EmbedConfig
from sscl.data.base import Record
from sscl.data.codec import encode_png
from sscl.data.store import Card, writing
from sscl.params import load
from sscl.provenance import machine
from sscl.watermarks import State, create
from sscl.watermarks.embedding import embed_under
from sscl.watermarks.io import GENERATOR, load_watermark, save_watermark
from sscl.watermarks.marks import FAMILIES
from sscl.watermarks.ownership_code import MARKS, STRENGTHS, Options, with_word

COMPUTE = ComputeConfig("cpu", None, False, False, False)
SIZES = [20_000, 200_000]
NAMES = tuple("0123456789")
PROFILES = {1: "demo", 3: "cifar10"}  # whose marks grey and colour images get


def make(folder: Path, count: int, pixels: int, channels: int) -> None:
    """A dataset of noise and an ownership code: speed and memory do not depend on what images show."""
    rng = np.random.default_rng(0)
    shape = (pixels, pixels) if channels == 1 else (pixels, pixels, channels)
    with writing(folder / "clean", "parquet", NAMES, {}) as writer:
        for split, images in (("train", count), ("test", 10)):
            for number in range(images):
                image = rng.integers(0, 256, shape, dtype=np.uint8)
                writer.write(split, Record(f"{number}.png", encode_png(image), number % 10))
    Card("noise-0", "parquet", NAMES, channels, pixels, {"train": count, "test": 10}, {}).write(folder / "clean")
    options = load(profile=PROFILES[channels]).generator.options
    assert isinstance(options, Options)
    marks = FAMILIES[options.family].draw(options.marks, seeds.secret(0, None).part("marks"))
    strengths = torch.full((options.marks,), options.eps)
    secret = {f"{MARKS}{name}": value for name, value in marks.items()} | {STRENGTHS: strengths}
    state = with_word(State(secret), torch.arange(options.marks))
    (folder / "generator").mkdir()
    watermark = create("ownership_code", options, 0, classes=10, compute=Compute.set_up(COMPUTE))
    save_watermark(folder / "generator" / GENERATOR, watermark, state)


def work(folder: Path) -> None:
    """Embed, and print seconds and peak MiB."""
    progress.set_quiet(True)
    start = time.perf_counter()
    watermark, state = load_watermark(folder / "generator" / GENERATOR, 10, Compute.set_up(COMPUTE))
    config, key = EmbedConfig(0.05, "dataset"), seeds.secret(0, None)
    data, public, private = (folder / name for name in ("clean", "pub", "priv"))
    embed_under(watermark, state, config, key=key, data=data, public=public, private=private, label="release")
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(
    folder: Annotated[Path | None, typer.Argument(hidden=True, help="Embed what is here.")] = None,
    sizes: Annotated[list[int], typer.Option("--size", help="Images.")] = SIZES,
    pixels: Annotated[int, typer.Option(help="Height and width of an image.")] = 28,
    channels: Annotated[int, typer.Option(help="1 or 3.")] = 1,
) -> None:
    """Measure every size, and print the table."""
    if folder:
        work(folder)
        return
    if channels not in PROFILES:
        raise typer.BadParameter(f"{channels} channels, expected 1 or 3")
    table = Table("images", "seconds", "images/s", "peak MiB", box=None)
    peaks = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as place:
            make(Path(place), count, pixels, channels)
            command = [sys.executable, __file__, place]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, peak = map(float, printed.split())
        peaks.append(peak)
        table.add_row(f"{count:,}", f"{seconds:.1f}", f"{count / seconds:,.0f}", f"{peak:.0f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"peak at {sizes[-1]:,} / peak at {sizes[0]:,}: {peaks[-1] / peaks[0]:.3f}")
    console.print(machine())


if __name__ == "__main__":
    typer.run(main)
