"""The README's table: the whole main job over several seeds, with its spread.

    python benchmarks/seeds.py --profile demo --profile cifar10-small --seeds 3

Each run is `sscl run` in runs/seeds/PROFILE-SEED; finished ones are reused. Writes docs/results/main.json, one row a
run, draws docs/images/delta_p.svg, and prints the table that the README shows.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import typer
from matplotlib.figure import Figure

from sscl.artifacts import read_json, write_json
from sscl.params import load
from sscl.runner import run_all

RESULTS = Path("docs/results/main.json")


def _eps(generator: dict[str, Any]) -> float:
    """Of the method that was used."""
    eps: float = generator[generator["method"]]["eps"]
    return eps


def row(profile: str, seed: int, metrics: dict[str, Any]) -> dict[str, Any]:
    """One run as a flat row."""
    verification = metrics["verification"]
    found: dict[str, Any] = {
        "profile": profile,
        "method": metrics["config"]["generator"]["method"],
        "seed": seed,
        "dataset": metrics["dataset"],
        "rate": metrics["marked_images"] / metrics["train_images"],
        "eps": _eps(metrics["config"]["generator"]),
        "ba_clean": metrics["benign_accuracy_clean"],
        "ba_watermarked": metrics["benign_accuracy_watermarked"],
        "wsr": metrics["watermark_success_rate"],
        "residual_cosine": metrics["quality"]["residual_cosine"],
        "lpips": metrics["lpips"],
        "lpips_64": metrics["lpips_64"],
        "seconds": sum(metrics["timings"].values()),
        "machine": metrics["machine"],
        "versions": metrics["versions"],
    }
    for scenario, verdict in verification.items():
        found |= {f"{scenario}_delta_p": verdict["delta_p"], f"{scenario}_p_value": verdict["p_value"]}
        found[f"{scenario}_wsr"] = verdict["wsr"]
        found[f"{scenario}_p_key"] = metrics["audits"][scenario]["p_value"]
    return found


def cell(rows: list[dict[str, Any]], name: str, scale: float = 1.0, digits: int = 3) -> str:
    """Mean and range over the seeds."""
    if any(r.get(name) is None for r in rows):
        return "-"
    values = [scale * r[name] for r in rows]
    low, high = min(values), max(values)
    if low == high:
        return f"{low:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The README's table, one column a profile and method."""
    profiles = list(dict.fromkeys((r["profile"], r["method"]) for r in rows))
    groups = {p: [r for r in rows if (r["profile"], r["method"]) == p] for p in profiles}
    for group in groups.values():
        for r in group:
            r["ba_drop"] = r["ba_clean"] - r["ba_watermarked"]
    lines = [
        ("BA, clean model, %", "ba_clean", 100, 2),
        ("BA, model trained on the release, %", "ba_watermarked", 100, 2),
        ("BA lost, points", "ba_drop", 100, 2),
        ("WSR, %", "wsr", 100, 2),
        ("delta_P, malicious", "malicious_delta_p", 1, 3),
        ("delta_P, Ind-M (innocent)", "independent_model_delta_p", 1, 3),
        ("delta_P, Ind-W (innocent)", "independent_watermark_delta_p", 1, 3),
        ("eps, of 255", "eps", 255, 0),
        ("residual cosine", "residual_cosine", 1, 2),
        ("LPIPS at native size", "lpips", 1, 4),
        ("LPIPS resized to 64 px", "lpips_64", 1, 3),
    ]
    text = [
        "| mean (range) | "
        + " | ".join(f"`{p}`, `{m}`, {len(g)} seed{'s' * (len(g) > 1)}" for (p, m), g in groups.items())
        + " |"
    ]
    text.append("|---|" + "---|" * len(groups))
    for title, name, scale, digits in lines:
        text.append(f"| {title} | " + " | ".join(cell(g, name, scale, digits) for g in groups.values()) + " |")
    accused = [sum(r[f"{s}_p_value"] < 0.05 for r in g for s in INNOCENTS) for g in groups.values()]
    tried = [len(INNOCENTS) * len(g) for g in groups.values()]
    cells = " | ".join(f"{a} of {n}" for a, n in zip(accused, tried, strict=True))
    text.append(f"| innocents that the published test accuses | {cells} |")
    found = [[r.get(f"{s}_p_key") for r in g for s in INNOCENTS] for g in groups.values()]
    cells = [f"{sum(p <= 0.05 for p in f)} of {len(f)}" if None not in f else "no keys" for f in found]
    guilty = [[r.get("malicious_p_key") for r in g] for g in groups.values()]
    hits = [f"{sum(p <= 0.05 for p in f)} of {len(f)}" if None not in f else "no keys" for f in guilty]
    text.append("| guilty models that the exact test finds | " + " | ".join(hits) + " |")
    text.append("| innocents that the exact test accuses | " + " | ".join(cells) + " |")
    return "\n".join(text)


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """One dot a model: delta_P of each scenario, beside the published test's margin."""
    profiles = list(dict.fromkeys(f"{r['profile']}\n{r['method']}" for r in rows))
    figure = Figure(figsize=(8, 1.1 + 0.9 * len(profiles)), layout="constrained")
    axes = figure.subplots()
    for place, profile in enumerate(profiles):
        for offset, (scenario, (label, colour)) in enumerate(DOTS.items()):
            values = [r[f"{scenario}_delta_p"] for r in rows if f"{r['profile']}\n{r['method']}" == profile]
            heights = [place + 0.2 * (offset - 1)] * len(values)
            axes.plot(values, heights, "o", color=colour, alpha=0.8, label=label if place == 0 else None)
    axes.axvline(0.25, color="#5c5c66", linestyle="--", linewidth=1)
    axes.text(0.255, len(profiles) - 0.45, "tau: the published test accuses to the right", fontsize=8, color="#5c5c66")
    axes.set(xlim=(-0.1, 1.05), ylim=(len(profiles) - 0.3, -0.6), xlabel="delta_P")
    axes.set_yticks(range(len(profiles)), profiles)
    figure.legend(frameon=False, fontsize=8, ncols=3, loc="outside upper center")
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "sscl"}):
        figure.savefig(path, metadata={"Date": None})


INNOCENTS = ("independent_model", "independent_watermark")
DOTS = {
    "malicious": ("trained on the release", "#b3261e"),
    "independent_model": ("innocent: clean model", "#1a5fb4"),
    "independent_watermark": ("innocent: another watermark", "#26852f"),
}


def main(
    profile: Annotated[list[str], typer.Option(help="Profiles to run, in this order.")],
    method: Annotated[list[str], typer.Option(help="Watermarks to run.")] = ["sscl_bw", "sscl_keyed"],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Seeds 0 to this number less one.")] = 3,
    root: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs/seeds"),
) -> None:
    """Run what is missing, then write the rows and print the table."""
    cases = [(name, kind) for name in profile for kind in method]
    kept = [r for r in json.loads(RESULTS.read_text()) if (r["profile"], r["method"]) not in cases]
    rows = []
    for name, kind in cases:
        for seed in range(seeds):
            out = root / f"{name}-{kind}-{seed}"
            config = load(Path("params.yaml"), name, [f"seed={seed}", f"generator.method={kind}"])
            run_all(config, out, before=lambda stage: print(stage.name, flush=True))
            rows.append(row(name, seed, read_json(out / "metrics.json")))
            print(f"{name} {kind} seed {seed}: {rows[-1]['seconds']:.0f} s", flush=True)
    write_json(RESULTS, kept + rows)
    picture(kept + rows, Path("docs/images/delta_p.svg"))
    print(markdown(kept + rows))


if __name__ == "__main__":
    typer.run(main)
