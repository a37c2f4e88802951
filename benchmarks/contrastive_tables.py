"""The tables of docs/contrastive.md, from the rows that ``contrastive.py`` made.

python benchmarks/contrastive_tables.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import typer
from scipy import stats

RESULTS = Path("docs/results/contrastive.json")
REMOVED = ("none", "fine-tuning 1e-4", "pruning")


def main(results: Path = RESULTS) -> None:
    """Poisons, and how often every test accuses innocents."""
    rows = pd.DataFrame(json.loads(results.read_text()))
    poisons = rows[rows["command"].str.startswith("poisons")]
    if len(poisons):
        print_poisons(poisons)
    for command, group in rows[rows["kind"] == "innocent"].groupby("command"):
        print(f"\n`{command}`\n\n| test | suspects | p <= 0.05 | by chance | p <= 0.001 |\n|---|---|---|---|---|")
        for (downstream, access), some in group.groupby(["downstream", "access"]):
            print_accused(f"exact: {downstream}, {access}", some["p"])
        published = pd.DataFrame(group["p_published"].dropna().tolist())
        for name in published:
            print_accused(f"published: {name}", published[name])


def print_accused(name: str, p: pd.Series) -> None:
    """How many are below a level, and how many chance puts there."""
    low, high = stats.binom.interval(0.95, len(p), 0.05)
    print(f"| {name} | {len(p)} | {(p <= 0.05).sum()} | {low:.0f} to {high:.0f} | {(p <= 0.001).sum()} |")


def print_poisons(rows: pd.DataFrame) -> None:
    """Fidelity, success and what is left of it after removals, one line a poison."""
    print(f"| poison | LPIPS | kNN, clean | {' | '.join(f'success, {name}' for name in REMOVED)} | success, clean |")
    print("|---" * (len(REMOVED) + 4) + "|")
    for name, group in rows.groupby("watermark"):
        clean, guilty = group[group["innocent"]], group[~group["innocent"]]
        means = [guilty[guilty["attack"] == attack]["success"].mean() for attack in REMOVED]
        shares = " | ".join(f"{100 * value:.1f} %" for value in [*means, clean["success"].mean()])
        knn = f"{100 * guilty['knn'].mean():.1f}, {100 * clean['knn'].mean():.1f} %"
        print(f"| {name} | {guilty['lpips'].mean():.3f} | {knn} | {shares} |")


if __name__ == "__main__":
    typer.run(main)
