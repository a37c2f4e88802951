"""Large datasets, shard by shard on two Dask workers: seconds and memory from 10,000 to 1,000,000 images.

    prefect server start & export PREFECT_API_URL=http://127.0.0.1:4200/api
    python benchmarks/scale.py out                     # a finished demo; with AWS_ENDPOINT_URL set: --upload s3://BUCKET

The images are MNIST's, repeated with distinct noise. Every size runs in a process of its own; memory is the largest
resident set of any worker, sampled five times a second. Start-up (cluster, imports, plan) is told apart from work:
time is linear when every further image costs the same. Writes docs/results/scale.json.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from ruamel.yaml import YAML

from sscl.artifacts import read_json, write_json
from sscl.data.base import Record
from sscl.data.codec import encode_png
from sscl.data.store import Card, load_split, writing
from sscl.layout import CLEAN, COMMITTED, METRICS, OPENED, REHEARSAL, RELEASED, WATERMARK
from sscl.provenance import machine
from sscl.release.sealed import new_identity

RESULTS = Path("docs/results/scale.json")
SIZES = [10_000, 100_000, 1_000_000]
SHARD = 5_000  # images
WORKERS = 2


def checkout(demo: Path, images: int, place: str | None, folder: Path) -> Path:
    """A folder in which ``demo`` was the pipeline's run on a sample of a dataset with ``images`` training images."""
    root = folder / "checkout"
    for part in (CLEAN, RELEASED, REHEARSAL, WATERMARK, COMMITTED, OPENED):
        shutil.copytree(demo / part, root / "out" / part)
    (folder / "release.key").write_bytes(os.urandom(32))
    metrics = read_json(demo / METRICS)
    metrics["config"]["data"] |= {"source": "parquet", "path": str(folder / "data")}
    metrics["config"] |= {"key_file": str(folder / "release.key")}
    metrics["config"]["package"] |= {"shard_images": SHARD}
    write_json(root / "out" / METRICS, metrics)
    yaml = YAML()
    params = yaml.load(Path("params.yaml").read_text())
    params["release"] |= {"seal_to": [new_identity()[1]]}
    params["release"] |= {name: f"{place}/{images}/{name}" for name in ("public", "private", "copies")} if place else {}
    with open(root / "params.yaml", "w") as file:
        yaml.dump(params, file)
    return root


def make(demo: Path, images: int, out: Path) -> None:
    """Digits with noise of their own, so that no two are the same."""
    rng = np.random.default_rng(0)
    card = Card.read(demo / CLEAN)
    for split, count in (("train", images), ("test", 1000)):
        digits = load_split(demo / CLEAN, split)
        source = itertools.cycle(zip(digits.images[:, 0].numpy(), digits.labels.tolist(), strict=True))
        for number, start in enumerate(range(0, count, 50_000)):
            with writing(out / "data", "parquet", card.class_names, {}) as writer:
                for position, (pixels, label) in enumerate(itertools.islice(source, min(50_000, count - start)), start):
                    noisy = np.clip(pixels.astype(np.int16) + rng.integers(-9, 10, pixels.shape), 0, 255)
                    png = encode_png(noisy.astype(np.uint8))
                    writer.write(f"{split}-{number:05d}", Record(f"{split}-{position:08d}.png", png, label))


class Memory(threading.Thread):
    """The largest resident set, in bytes, of any process under ``pid``, and of that one itself."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.own, self.over = pid, 0, 0, False

    def run(self) -> None:
        while not self.over:
            try:
                flow = psutil.Process(self.pid)
                self.own = max(self.own, flow.memory_info().rss)
                for child in flow.children(recursive=True):
                    self.peak = max(self.peak, child.memory_info().rss)
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.2)


def measured(root: Path, publish: bool, runner: str) -> dict[str, float]:
    """Run the flow in a process of its own."""
    command = [sys.executable, "-m", "flows.large", *(["1.0.0"] if publish else [])]
    command += ["--runner", runner, "--workers", str(WORKERS), "--root", str(root)]
    log = root.parent / "log.txt"
    started = time.time()
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        memory = Memory(process.pid)
        memory.start()
        code = process.wait()
    memory.over = True
    if code:
        raise typer.BadParameter(f"the flow failed: {log.read_text()[-2000:]}")
    wall = time.time() - started
    notes = sorted((root / "out/large").glob("*/.sscl/shards/*.json"), key=lambda path: path.stat().st_mtime)
    marking = notes[-1].stat().st_mtime - started
    return {
        "seconds": wall,
        "seconds_until_marked": marking,
        "worker_mib": memory.peak / 2**20,
        "flow_mib": memory.own / 2**20,
    }


def main(
    demo: Annotated[Path, typer.Argument(help="Output root of a finished demo.")],
    upload: Annotated[str | None, typer.Option(help="s3://BUCKET/PREFIX to publish to as well.")] = None,
    sizes: Annotated[list[int], typer.Option("--size", help="Training images.")] = SIZES,
    *,
    runner: Annotated[str, typer.Option(help="thread, dask or ray.")] = "dask",
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Measure every size, then write the rows and print the table."""
    rows: list[dict[str, Any]] = []
    for images in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(demo, images, folder / "data")
            found = measured(checkout(demo, images, upload, folder), upload is not None, runner)
            size = sum(path.stat().st_size for path in (folder / "checkout/out/large").rglob("*.parquet"))
        rows.append({"images": images, "shards": images // SHARD + 1, "mib": size / 2**20, "uploaded": bool(upload)})
        rows[-1] |= found | {"workers": WORKERS, "machine": machine()}
        print(json.dumps({k: v for k, v in rows[-1].items() if k != "machine"}), flush=True)
        write_json(results, rows)
    print("| images | seconds | per further 1,000 images | largest worker, MiB | flow, MiB |\n|---|---|---|---|---|")
    for before, row in zip([None, *rows], rows, strict=False):
        further = (
            "" if before is None
            else f"{1000 * (row['seconds'] - before['seconds']) / (row['images'] - before['images']):.3f} s"
        )  # fmt: skip
        memory = f"{row['worker_mib']:.0f} | {row['flow_mib']:.0f}"
        print(f"| {row['images']:,} | {row['seconds']:.1f} | {further} | {memory} |")


if __name__ == "__main__":
    typer.run(main)
