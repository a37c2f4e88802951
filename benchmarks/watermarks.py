"""Watermarks side by side over several seeds: strength, transfer to innocents, visibility, cost.

    python benchmarks/watermarks.py cifar10-small --seeds 3
    python benchmarks/watermarks.py demo --seeds 10
    python benchmarks/watermarks.py sub-imagenet-small --seeds 1

Each seed is the pipeline's own stages up to the user's model, in runs/watermarks/PROFILE-SEED; both methods share data
and surrogate. The clean models of a seed are the other seeds' surrogates (at least one more is trained). Finished rows
are kept, and repeated when parameters or code are others. Writes docs/results/main.json, one row a run, and
docs/images/delta_p.svg, and prints the table that the README shows.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure

from sscl import seeds
from sscl.artifacts import load_tensors, read_json, write_json
from sscl.audit.decoys import draw_decoys
from sscl.benchmark.measure import key_finding, suspect_scores
from sscl.compute import Compute
from sscl.config import Config, dump
from sscl.data.store import load_split
from sscl.models import Classifier
from sscl.models.io import load_classifier
from sscl.params import load
from sscl.perceptual import LPIPS, image_quality
from sscl.provenance import code_digest, machine, versions
from sscl.runner import run_stage
from sscl.stages.names import INDICES, MODEL
from sscl.stages.table import STAGES
from sscl.watermarks.base import KeyedWatermark
from sscl.watermarks.io import GENERATOR, load_watermark

RESULTS = Path("docs/results/main.json")
LPIPS_IMAGES = 1000  # marked images over which visibility is measured
METHODS = ["sscl_bw", "sscl_keyed"]


def stage(name: str, config: Config, root: Path) -> float:
    """Run one stage where it is missing; the seconds that it took when it ran."""
    print(f"{root.name}: {name}", flush=True)
    run_stage(STAGES[name], config, root, overwrite=True)
    seconds: float = read_json(next((root / ".sscl/stages").glob(f"{name}*.json")))["seconds"]
    return seconds


def configured(profile: str, seed: int, overrides: Sequence[str]) -> Config:
    """The profile under a seed."""
    return load(Path("params.yaml"), profile, [*overrides, f"seed={seed}"])


def surrogate(profile: str, seed: int, root: Path, overrides: Sequence[str]) -> Path:
    """A seed's data and surrogate."""
    out = root / f"{profile}-{seed}"
    config = configured(profile, seed, overrides)
    for name in ("prepare", "surrogate"):
        stage(name, config, out)
    return out / "private/surrogate" / MODEL


def run(profile: str, method: str, seed: int, seed_count: int, root: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """One row: a release by the method, and the answers of a model trained on it and of clean ones."""
    config = configured(profile, seed, [*overrides, f"generator.method={method}"])
    out = root / f"{profile}-{seed}"
    surrogate(profile, seed, root, overrides)
    cost = {name: stage(name, config, out) for name in ("generator@release", "embed@release", "simulate@malicious")}
    compute = Compute.resolve(config.compute)
    train, test = (load_split(out / "clean", split) for split in ("train", "test"))
    released = load_split(out / "public/release", "train")
    marked = load_tensors(out / "private/watermark/release" / INDICES)[0]["indices"]
    some = marked[:LPIPS_IMAGES]
    row: dict[str, Any] = {
        "profile": profile,
        "method": method,
        "seed": seed,
        "rate": len(marked) / len(train),
        "seconds_generator": cost["generator@release"],
        "seconds_embed": cost["embed@release"],
    }
    row |= image_quality(LPIPS().to(compute.device), train.images[some], released.images[some])
    watermark, state = load_watermark(out / "private/watermark/release" / GENERATOR, test.classes, compute)
    row["eps"] = watermark.eps
    marked_test = watermark.trigger(test.images, state)

    def scores(model: Classifier) -> dict[str, float]:
        return suspect_scores(model, test, marked_test, watermark.target_class, config.verify, compute)

    guilty = opened(out / "models/malicious" / MODEL, compute)
    found = scores(guilty)
    row |= {"ba_watermarked": found["ba"], "delta_p": found["delta_p"], "wsr": found["wsr"]}
    row["p_key"] = None
    if isinstance(watermark, KeyedWatermark):
        decoys = draw_decoys(watermark, state, config.audit.decoys, seeds.derive(seed, "benchmark-decoys"))
        finding = key_finding(guilty, watermark, state, decoys, test, config.audit, compute, seed)
        row |= {"p_key": finding.p_value, "statistic": finding.statistic}
        row |= {"decoys_statistic": float(np.mean(finding.decoys))}
    others = [other for other in range(max(2, seed_count)) if other != seed]
    clean = [scores(opened(surrogate(profile, other, root, overrides), compute)) for other in others]
    row |= {
        "ba_clean": scores(opened(surrogate(profile, seed, root, overrides), compute))["ba"],
        "clean_delta_p": [innocent["delta_p"] for innocent in clean],
        "clean_wsr": [innocent["wsr"] for innocent in clean],
        "clean_accused": sum(innocent["p_paper"] < config.verify.alpha for innocent in clean),
    }
    return row | {"machine": machine(), "versions": versions(), "made_by": made_by(config)}


def made_by(config: Config) -> dict[str, Any]:
    """Parameters and code that a row depends on."""
    code = {name: code_digest(f"sscl.{name}") for name in ("stages.embed", "stages.simulate", "benchmark.measure")}
    return {"config": dump(config), "code": code}


def opened(path: Path, compute: Compute) -> Classifier:
    return compute.place(load_classifier(path)[0]).eval()


def markdown(rows: list[dict[str, Any]]) -> str:
    """The README's table, one column a profile and method."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for r in rows:
        groups.setdefault((r["profile"], r["method"]), []).append(r | {"ba_drop": r["ba_clean"] - r["ba_watermarked"]})
    head = " | ".join(f"`{p}`, `{m}`, {len(g)} seed{'s' * (len(g) > 1)}" for (p, m), g in groups.items())
    text = [f"| mean (range) | {head} |", "|---|" + "---|" * len(groups)]
    for title, name, scale, digits in LINES:
        text.append(f"| {title} | " + " | ".join(cell(g, name, scale, digits) for g in groups.values()) + " |")
    for title, count in COUNTS:
        text.append(f"| {title} | " + " | ".join(count(g) for g in groups.values()) + " |")
    return "\n".join(text)


def cell(rows: list[dict[str, Any]], name: str, scale: float, digits: int) -> str:
    """Mean and range over seeds (and clean models); rows of another command may lack a figure."""
    if any(name not in r for r in rows):
        return "-"
    values = [scale * v for r in rows for v in (r[name] if isinstance(r[name], list) else [r[name]])]
    low, high = min(values), max(values)
    if low == high:
        return f"{low:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _accused(rows: list[dict[str, Any]]) -> str:
    return f"{sum(r['clean_accused'] for r in rows)} of {sum(len(r['clean_delta_p']) for r in rows)}"


def _found(rows: list[dict[str, Any]]) -> str:
    if any(r["p_key"] is None for r in rows):
        return "no keys"
    return f"{sum(r['p_key'] <= 0.05 for r in rows)} of {len(rows)}"


LINES = [
    ("BA, clean model, %", "ba_clean", 100, 2),
    ("BA, model trained on the release, %", "ba_watermarked", 100, 2),
    ("BA lost, points", "ba_drop", 100, 2),
    ("WSR, %", "wsr", 100, 2),
    ("delta_P, malicious", "delta_p", 1, 3),
    ("delta_P, clean models", "clean_delta_p", 1, 3),
    ("WSR of clean models, %", "clean_wsr", 100, 2),
    ("eps, of 255", "eps", 255, 0),
    ("residual cosine", "residual_cosine", 1, 2),
    ("LPIPS at native size", "lpips", 1, 4),
    ("LPIPS resized to 64 px", "lpips_64", 1, 3),
    ("generator, seconds", "seconds_generator", 1, 0),
    ("embedding, seconds", "seconds_embed", 1, 0),
]
COUNTS = [
    ("clean models that the published test accuses", _accused),
    ("guilty models that the exact test finds", _found),
]
DOTS = [("delta_p", "trained on the release", "#b3261e"), ("clean_delta_p", "innocent: clean model", "#1a5fb4")]


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """One dot a model: delta_P, beside the published test's margin."""
    places = list(dict.fromkeys(f"{r['profile']}\n{r['method']}" for r in rows))
    figure = Figure(figsize=(8, 1.1 + 0.6 * len(places)), layout="constrained")
    axes = figure.subplots()
    for offset, (name, label, colour) in enumerate(DOTS):
        points = [
            (v, places.index(f"{r['profile']}\n{r['method']}") + 0.24 * offset - 0.12)
            for r in rows
            for v in np.atleast_1d(r[name]).tolist()
        ]
        axes.plot(*zip(*points, strict=True), "o", color=colour, alpha=0.6, label=label)
    axes.axvline(0.25, color="#5c5c66", linestyle="--", linewidth=1)
    axes.text(0.255, len(places) - 0.45, "tau: the published test accuses to the right", fontsize=8, color="#5c5c66")
    axes.set(xlim=(-0.1, 1.05), ylim=(len(places) - 0.3, -0.6), xlabel="delta_P")
    axes.set_yticks(range(len(places)), places)
    figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside upper center")
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "sscl"}):
        figure.savefig(path, metadata={"Date": None})


def main(
    profile: Annotated[str, typer.Argument(help="Profile of params.yaml.")],
    method: Annotated[list[str], typer.Option(help="Watermarks to compare.")] = METHODS,
    seed_count: Annotated[int, typer.Option("--seeds", help="Seeds 0 to this number less one.")] = 3,
    root: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs/watermarks"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set user.epochs=1.")] = None,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
    shown: Annotated[Path, typer.Option("--picture", help="Where the picture goes.")] = Path("docs/images/delta_p.svg"),
) -> None:
    """Run what is missing, then write the rows and print the table."""
    rows = json.loads(results.read_text()) if results.is_file() else []
    for seed in range(seed_count):
        for name in method:
            kept = root / f"{profile}-{seed}-{name}.json"
            config = configured(profile, seed, [*(overrides or ()), f"generator.method={name}"])
            if not kept.is_file() or read_json(kept)["made_by"] != made_by(config):
                write_json(kept, run(profile, name, seed, seed_count, root, overrides or ()))
            row = read_json(kept)
            print({k: v for k, v in row.items() if k not in ("versions", "machine", "made_by")}, flush=True)
            same = (profile, name, seed)
            rows = [r for r in rows if (r["profile"], r["method"], r["seed"]) != same] + [row]
            rows.sort(key=lambda r: (r["profile"], r["method"], r["seed"]))
            write_json(results, rows)
    picture(rows, shown)
    print(markdown(rows))


if __name__ == "__main__":
    typer.run(main)
