"""Peak memory and speed of embedding: ten times the images must not need more memory.

    python benchmarks/embedding.py

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
import typer
from rich.console import Console
from rich.table import Table

from sscl import progress, seeds
from sscl.compute import Compute
from sscl.config import ComputeConfig, EmbedConfig
from sscl.data.base import Record
from sscl.data.codec import encode_png
from sscl.data.store import Card, writing
from sscl.models.unet import build_unet
from sscl.params import load
from sscl.provenance import machine
from sscl.stages import embed
from sscl.watermarks import State, create
from sscl.watermarks.io import GENERATOR, load_watermark, save_watermark
from sscl.watermarks.sscl_bw import Options

COMPUTE = ComputeConfig("cpu", None, False, False, False)
SIZES = [20_000, 200_000]
NAMES = tuple("0123456789")


def make(folder: Path, count: int) -> None:
    """A dataset of noise digits and an untrained generator: speed and memory do not depend on what they show."""
    rng = np.random.default_rng(0)
    with writing(folder / "clean", "parquet", NAMES, {}) as writer:
        for split, images in (("train", count), ("test", 10)):
            for number in range(images):
                pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
                writer.write(split, Record(f"{number}.png", encode_png(pixels), number % 10))
    Card("noise-0", "parquet", NAMES, 1, 28, {"train": count, "test": 10}, {}).write(folder / "clean")
    options = load(profile="demo", overrides=["generator.method=sscl_bw"]).generator.options
    assert isinstance(options, Options)
    state = State(dict(build_unet(1, options.width, seeds.generator(0, "g")).state_dict()))
    (folder / "generator").mkdir()
    watermark = create("sscl_bw", options, 1, classes=10, compute=Compute.resolve(COMPUTE))
    save_watermark(folder / "generator" / GENERATOR, watermark, state)


def work(folder: Path) -> None:
    """Embed, and print seconds and peak MiB."""
    progress.set_quiet(True)
    start = time.perf_counter()
    watermark, state = load_watermark(folder / "generator" / GENERATOR, 10, Compute.resolve(COMPUTE))
    config, key = EmbedConfig(0.05, "dataset"), seeds.secret(0, None)
    embed.embed_under(
        watermark, state, config, key=key, data=folder / "clean", public=folder / "pub", private=folder / "priv"
    )
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(
    folder: Annotated[Path | None, typer.Argument(hidden=True, help="Embed what is here.")] = None,
    sizes: Annotated[list[int], typer.Option("--size", help="Images.")] = SIZES,
) -> None:
    """Measure every size, and print the table."""
    if folder:
        work(folder)
        return
    table = Table("images", "seconds", "images/s", "peak MiB", box=None)
    peaks = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as place:
            make(Path(place), count)
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
