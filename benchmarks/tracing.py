"""Whose copy a model was trained on: one suspect, a thousand recipients, one set of queries.

    python benchmarks/tracing.py out        # output root of a finished pipeline, e.g. after `make demo`

One recipient is guilty: a model is trained on its copy, another on two merged copies. Of the other recipients nothing
is needed but the word. Simulated audits of innocents count how often anybody is named
wrongly. Writes docs/results/tracing.json and prints the table of docs/release.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from sscl import seeds
from sscl.artifacts import read_json, write_json
from sscl.audit.examine import prepare
from sscl.audit.opening import copy_for, draw_word
from sscl.compute import Compute
from sscl.data.store import Card, load_split
from sscl.layout import MODEL, Root
from sscl.models.io import save_classifier
from sscl.params import build
from sscl.provenance import machine
from sscl.release import recipients
from sscl.statistics import words
from sscl.statistics.tracing import trace
from sscl.suspects import Context, open_oracle
from sscl.train import train_classifier
from sscl.types import ImageSet

RESULTS = Path("docs/results/tracing.json")
GUILTY, ACCOMPLICE = "licensee-0001", "licensee-0002"


def main(
    out: Annotated[Path, typer.Argument(help="Output root of a finished pipeline.")],
    count: Annotated[int, typer.Option(help="Recipients in all.")] = 1000,
    audits: Annotated[int, typer.Option(help="Simulated audits of innocents.")] = 200,
    *,
    level: Annotated[float, typer.Option(help="Corrected p at which a recipient is named.")] = 0.01,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Make the copies, train, trace, write the rows and print the table."""
    root = Root(out)
    config = build(read_json(root.metrics)["config"])
    compute = Compute.set_up(config.compute)
    copies = {name: recipients.protect(root, config, name) for name in (GUILTY, ACCOMPLICE)}
    sets = {name: load_split(copy.released, "train") for name, copy in copies.items()}
    images, labels = (torch.cat([getattr(one, part) for one in sets.values()]) for part in ("images", "labels"))
    both = ImageSet(images, labels, names_of(root))
    suspects = {GUILTY: sets[GUILTY], f"{GUILTY} and {ACCOMPLICE}, merged": both}
    key = seeds.secret(config.seed, config.key_file)
    case = prepare(root.watermark, root.opening, root.commitment)
    names = [f"licensee-{number:04d}" for number in range(1, count + 1)]
    words_of = {name: draw_word(copy_for(case.opening, name, key), None) for name in names}
    rows: list[dict[str, Any]] = []
    print("| trained on | recipients | named | their corrected p | next best |\n|---|---|---|---|---|")
    paths = {"clean data": out / "models/independent_model" / MODEL}
    for suspect, data in suspects.items():
        paths[suspect] = out / "licensees" / suspect.replace(" ", "-").replace(",", "") / MODEL
        if not paths[suspect].is_file():
            paths[suspect].parent.mkdir(parents=True, exist_ok=True)
            save_classifier(
                paths[suspect], train_classifier(data, config.user, compute, seed=config.seed, use=suspect).model
            )
    for suspect, path in paths.items():
        oracle = open_oracle(str(path), Context(names_of(root), compute))
        found = recipients.traced(case, oracle, words_of, level)
        named, others = ([row for row in found if (row.adjusted <= level) is flag] for flag in (True, False))
        row: dict[str, Any] = {"trained_on": suspect, "recipients": count, "named": [one.recipient for one in named]}
        row |= {"adjusted": [one.adjusted for one in named], "next": min(one.adjusted for one in others)}
        rows.append(row | {"machine": machine()})
        who = ", ".join(row["named"]) or "nobody"
        values = ", ".join(f"{p:.2g}" for p in row["adjusted"]) or "-"
        print(f"| {suspect} | {count:,} | {who} | {values} | {row['next']:.2g} |", flush=True)
        write_json(results, rows)
    rows.append(simulated(level, root, audits, count))
    print(f"\n{rows[-1]['wrong']} of {audits} simulated audits of innocents name anybody")
    write_json(results, rows)


def names_of(root: Root) -> tuple[str, ...]:
    """The dataset's classes."""
    return Card.read(root.clean).class_names


def simulated(level: float, root: Root, audits: int, count: int) -> dict[str, Any]:
    """How often an innocent's answers name anybody: effects as strong and as uneven as a guilty model's, at random."""
    opening = read_json(root.opening)
    marks, groups = opening["mark_count"], opening["groups"]
    rng, key, wrong = np.random.default_rng(0), seeds.secret(0, None).part("simulated"), 0
    for _ in range(audits):
        effects = rng.standard_normal((marks, groups)) * rng.exponential(size=(1, groups))
        drawn = words.draw(marks, groups, key, count)
        wrong += min(trace(effects, {str(n): word for n, word in enumerate(drawn)}, key).values()) <= level
    return {"trained_on": "simulated innocents", "recipients": count, "audits": audits, "wrong": int(wrong)}


if __name__ == "__main__":
    typer.run(main)
