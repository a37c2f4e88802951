"""The tables of docs/contrastive*.md and docs/encoders.md, from the rows that ``contrastive.py`` made.

python benchmarks/contrastive_tables.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import typer
from scipy import stats

from sscl.benchmark.encoder_study import TASKS

RESULTS = Path("docs/results/contrastive.json")
ASKED = ("own", "pairs", "released", "released pairs")  # of encoders trained on a marked set
ACCURACY = ("own", "released")
REMOVED = ("none", "fine-tuning 1e-4", "pruning")


def main(results: Path = RESULTS) -> None:
    """Imprinted encoders, marked sets, poisons, and how often every test accuses innocents."""
    rows = pd.DataFrame(json.loads(results.read_text()))
    for command, group in rows[rows["kind"] == "encoder"].groupby("command", sort=False):
        print(f"\n`{command}`\n")
        print_encoders(group)
    datasets = rows[rows["command"].str.startswith("dataset")]
    if len(datasets):
        print_datasets(datasets)
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


def print_encoders(rows: pd.DataFrame) -> None:
    """The p-values of all seeds, one line for each attack and way to build a classifier on the encoder."""
    print(f"| attack | classifier | features | {' | '.join(f'{task}, labels' for task in TASKS)} |")
    print("|---" * (len(TASKS) + 3) + "|")
    rows = with_tasks(rows)
    for (attack, way), group in rows.groupby(["attack", "way"], sort=False):
        print(f"| {attack} | {way} | {' | '.join(over_seeds(group, TASKS))} |")
    own = rows[
        rows["task"].eq("own") & rows["access"].eq("labels") & rows["way"].eq("linear") & rows["attack"].eq("none")
    ]
    lost = ", ".join(f"{100 * value:.1f}" for value in (own["utility_clean"] - own["utility"]))
    print(f"\nPoints that a linear classifier on the owner's classes loses: {lost}\n")


def print_datasets(rows: pd.DataFrame) -> None:
    """The p-values of all seeds, one line for each kind of encoder: features, then labels of classifiers on it."""
    named = ["command", "learning", "encoder", "attack", "way"]
    heads = [*named[:-1], "classifier", "features", *ASKED, *(f"{task}, accuracy" for task in ACCURACY), "kNN", "LPIPS"]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    rows = rows.assign(encoder=rows["encoder"].str.partition(", seed")[0])  # of another seed, whichever it is
    for names, group in with_tasks(rows).groupby(named, sort=False):
        features = group[group["task"].eq("none") & group["attack"].eq("none")].sort_values("seed")
        labels = group[group["access"].eq("labels")].sort_values("seed")
        cells = over_seeds(group, ASKED)
        cells += [percent(labels[labels["task"].eq(task)]["utility"]) for task in ACCURACY] + [percent(features["knn"])]
        print(f"| {' | '.join((*map(str, names), *cells))} | {group['lpips'].max():.3f} |")


def percent(shares: pd.Series) -> str:
    """Shares of all seeds in percent."""
    return ", ".join(f"{100 * value:.1f}" for value in shares)


def with_tasks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with columns for the task and how a classifier for it was built."""
    split = rows["downstream"].str.partition(", ")
    return rows.assign(task=split[0], way=split[2].replace("", "linear"))


def over_seeds(rows: pd.DataFrame, tasks: tuple[str, ...]) -> list[str]:
    """The p-values of all seeds: from features, then from labels of classifiers for each task."""
    seen = [rows[rows["task"].eq("none")]]
    seen += [rows[rows["task"].eq(task) & rows["access"].eq("labels")] for task in tasks]
    return [", ".join(f"{p:.2g}" for p in some.sort_values("seed")["p"]) for some in seen]


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
