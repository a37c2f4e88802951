"""Every script in ``benchmarks/`` runs, on a tiny set: a figure whose command is broken cannot be made again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import ownership_tables, training
from sscl.params import load
from tests.conftest import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


@dataclass(frozen=True)
class Tiny:
    """What a script needs to run in seconds.

    Attributes:
        finished: output root of the tiny pipeline, to change at will.
        sets: ``--set`` options for the tiny dataset.
        bucket: on the test's S3 server.
        folder: where results go.
    """

    finished: Path
    sets: list[str]
    bucket: str
    folder: Path

    @property
    def rows(self) -> Path:
        return self.folder / "rows.json"


Arguments = Callable[[Tiny], list[str]]


ACCESS, SUSPECTS = ("probabilities", "labels"), ("released", "clean")


def rows_of(tiny: Tiny) -> Path:
    """Some rows as ``ownership.py`` writes them."""
    common = {
        "dataset": "mnist",
        "profile": "demo",
        "seed": 0,
        "architecture": "mlp",
        "access": "labels",
        "p": 0.1,
        "p_plain": 0.2,
        "delta_p": 0.5,
    }
    common |= {"p_published": 0.3, "p_sequential": 0.4, "p_grinding": 0.5, "ba": 0.9, "rate": 0.1}
    common |= {"lpips": 0.01, "psnr": 30.0, "suspect": "released", "attack": "none", "strength": 0.4}
    kinds = [
        {"command": f"{kind} demo", "access": how} for kind in ("guilty", "removal", "innocents") for how in ACCESS
    ]
    strangers = [{"command": "strangers demo", "seed": 0, "suspect": "plain", "access": how} for how in ACCESS]
    suspects = (*SUSPECTS, "clean, mlp, 0")
    peers = [{"command": "peers demo", "seed": 0, "watermark": "twins", "suspect": s, "queries": 4} for s in suspects]
    detector = {"command": "guilty demo", "profile": "demo", "detector": "strip", "auroc_within_class": 0.5}
    tiny.rows.write_text(json.dumps([*(common | kind for kind in (*kinds, *strangers, *peers)), detector]))
    return tiny.rows


def contrastive_rows(tiny: Tiny) -> Path:
    """Some rows as ``contrastive.py`` writes them."""
    poison = {"command": "poisons demo", "kind": "dataset", "watermark": "ctrl", "attack": "none", "success": 0.2}
    poison |= {"lpips": 0.01, "knn": 0.5}
    innocent = {"command": "innocents demo", "kind": "innocent", "innocent": True, "downstream": "none", "p": 0.3}
    innocent |= {"access": "features", "p_published": {"density": 0.01}}
    own = {
        "seed": 0,
        "innocent": False,
        "attack": "none",
        "access": "labels",
        "p": 0.01,
        "downstream": "own, linear",
        "knn": 0.5,
    }
    encoder = own | {"command": "encoder demo", "kind": "encoder", "utility": 0.5, "utility_clean": 0.51}
    dataset = own | {
        "command": "dataset demo",
        "kind": "dataset",
        "learning": "simclr",
        "encoder": "clean",
        "lpips": 0.1,
    }
    features = dataset | {"downstream": "none", "access": "features"}
    rows = [poison | {"innocent": False}, poison | {"innocent": True}, innocent, encoder, dataset, features]
    tiny.rows.write_text(json.dumps(rows))
    return tiny.rows


def seeds(tiny: Tiny) -> list[str]:
    kept = ["--root", str(tiny.folder / "kept"), "--results", str(tiny.rows)]
    return [*kept, *tiny.sets]


PEERS = ("--peer", "ownership_code", "--peer", "dyepack")  # the others craft images for minutes; tests/peers has them
TASK = ("--task", "pairs")  # `digits` would need MNIST
CONTRASTIVE = ("learning=simclr", "augment=views", "model=lenet5", "batch_size=32", "epochs=1", "optimizer=sgd")


def contrastive(tiny: Tiny) -> list[str]:
    """An encoder by SimCLR instead of the classifier."""
    sets = [f"{section}.{value}" for section in ("surrogate", "user") for value in CONTRASTIVE]
    sets += ["generator.ownership_code.family=waves", "imprint.steps=5", "imprint.batch_size=8"]
    sets += ["audit.statistic=attraction", "audit.images=9", "data.train_images=96", "embed.rate=0.2"]
    return [*seeds(tiny), *(part for value in sets for part in ("--set", value))]


# Script -> its arguments here, one list for each command. `rows`: whether it writes any.
CASES: dict[str, tuple[list[Arguments], bool]] = {
    "contrastive": (
        [
            lambda tiny: [
                "encoder",
                "demo",
                "--seeds",
                "1",
                "--attack",
                "pruning",
                "--attack",
                "overwriting",
                *TASK,
                *contrastive(tiny),
            ],
            lambda tiny: [
                "dataset",
                "demo",
                "--seeds",
                "2",
                "--no-paired",
                "--crossed",
                "--task",
                "released pairs",
                "--attack",
                "pruning",
                "--labelled",
                "60",
                *contrastive(tiny),
            ],
            lambda tiny: ["innocents", "demo", "--count", "1", *TASK, *contrastive(tiny)],
            lambda tiny: ["poisons", "demo", "--method", "corrupt_encoder", *contrastive(tiny)],
        ],
        True,
    ),
    "contrastive_curves": (
        [lambda tiny: ["demo", "--every", "1", "--way", "the profile's", *contrastive(tiny)]],
        True,
    ),
    "contrastive_tables": ([lambda tiny: ["--results", str(contrastive_rows(tiny))]], False),
    "embedding": ([lambda tiny: ["--size", "100", "--size", "200"]], False),
    "faults": (
        [lambda tiny: [f"s3://{tiny.bucket}", "--trials", "1", "--only", "no bucket", "--results", str(tiny.rows)]],
        True,
    ),
    "forgery": (
        [lambda tiny: ["demo", "--count", "1", "--forgery", "fgsm", "--forgery", "uap", *seeds(tiny)]],
        True,
    ),
    "hostile": (
        [lambda tiny: [str(tiny.finished), f"s3://{tiny.bucket}", "--quick", "--results", str(tiny.rows)]],
        True,
    ),
    "ownership": (
        [
            lambda tiny: ["guilty", "demo", "--seeds", "1", "--suspect", "released", *seeds(tiny)],
            lambda tiny: ["guilty", "demo", "--seeds", "1", *seeds(tiny)],
            lambda tiny: ["removal", "demo", "--attack", "pruning", "--strength", "0.5", *seeds(tiny)],
            lambda tiny: ["innocents", "demo", "--count", "5", "--tries", "5", *seeds(tiny)],
        ],
        True,
    ),
    "ownership_tables": ([lambda tiny: ["--results", str(rows_of(tiny))]], False),
    "peers": ([lambda tiny: ["demo", "--innocents", "1", *PEERS, *seeds(tiny)]], True),
    "picture": (
        [lambda tiny: ["demo", "--out", str(tiny.folder / "p.svg"), *seeds(tiny)[:2], *tiny.sets]],
        False,
    ),
    "scale": (
        [lambda tiny: [str(tiny.finished), "--size", "200", "--runner", "thread", "--results", str(tiny.rows)]],
        True,
    ),
    "servers": (
        [lambda tiny: ["--only", "fastapi", "--count", "3", "--root", str(tiny.folder), "--results", str(tiny.rows)]],
        True,
    ),
    "strangers": (
        [lambda tiny: ["demo", "--stranger", "plain", "--stranger", "class_merging", *seeds(tiny)]],
        True,
    ),
    "tracing": (
        [lambda tiny: [str(tiny.finished), "--count", "20", "--audits", "5", "--results", str(tiny.rows)]],
        True,
    ),
    "training": (
        [
            lambda tiny: ["--images", "64", "--rounds", "1"],
            lambda tiny: [
                "--images",
                "64",
                "--rounds",
                "1",
                "--epochs",
                "2",
                "--no-loader",
                "--set",
                "compute.bf16=false",
            ],
        ],
        False,
    ),
}


def test_every_script_is_here() -> None:
    assert list(CASES) == SCRIPTS


def test_every_timed_profiles_network_has_a_number_of_images() -> None:
    timed = [name for name, *_ in (*training.PROFILES, *training.ON_GPU)]
    assert {load(ROOT / "params.yaml", name).user.model for name in timed} == set(training.IMAGES)


def test_accuracy_lost_says_how_many_seeds_it_is_from() -> None:
    row = {"command": "guilty demo", "architecture": "mlp", "suspect": "released", "access": "labels", "ba": 0.9}
    row |= {"p": 0.01, "p_published": 0.3, "delta_p": 0.2, "rate": 0.1, "lpips": 0.01, "psnr": 30.0, "detector": None}
    pair = [row | {"seed": 1}, row | {"seed": 1, "suspect": "clean", "ba": 0.91}]
    alone = ownership_tables.guilty(pd.DataFrame([row | {"seed": 0}]))
    both = ownership_tables.guilty(pd.DataFrame([row | {"seed": 0}, *pair]))
    assert "| 90.0 % | - |" in alone[2]
    assert "| 90.0 % | 1.00 (1.00 to 1.00; 1 of 2) |" in both[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs(name: str, copy: Path, tiny: tuple[str, ...], bucket: str, tmp_path: Path, forks: None) -> None:
    commands, has_rows = CASES[name]
    given = Tiny(copy, [text for override in tiny for text in ("--set", override)], bucket, tmp_path)
    for arguments in commands:
        command = [sys.executable, "-m", "tests.script", f"benchmarks/{name}.py", *arguments(given)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip()
    assert not has_rows or json.loads(given.rows.read_text())
