"""A dishonest owner's forged marks against innocent models: with a beacon, and where the owner may choose the word.

    python benchmarks/forgery.py demo --count 20

The owner makes one change a mark that pushes a clean model of its own toward a class, calls it a mark, and commits.
With a beacon the word is drawn afterwards, and the p-value of an innocent model is uniform whatever the marks do.
Without one, the owner commits to the word that the marks were made for, and every model answers them. Rows go to
``docs/results/forgery.json``: ``forgery, suspect, architecture, seed, p_drawn, p_chosen, p_published``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy import stats
from torch import Tensor

from benchmarks.shared.innocents import innocent, turn_of
from benchmarks.shared.rows import Root, Sets, study_of
from sscl import seeds
from sscl.artifacts import write_json
from sscl.attacks.forgeries import FORGERIES
from sscl.audit.protocol import ask
from sscl.audit.record import Record
from sscl.audit.verdict import decide
from sscl.benchmark.study import Study
from sscl.models import Classifier
from sscl.provenance import machine
from sscl.statistics import words
from sscl.types import BENIGN

RESULTS = Path("docs/results/forgery.json")


def main(
    profile: str,
    count: Annotated[int, typer.Option(help="Innocent models.")] = 20,
    forgery: Annotated[list[str] | None, typer.Option(help="[default: all]")] = None,
    *,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Forge, ask innocents, and count whom the exact test accuses."""
    study = study_of(profile, 0, root, overrides=overrides)
    marks, groups = study.secret[0].options.marks, study.test.classes
    chosen = words.draw(marks, groups, seeds.secret(0, None).part("chosen"))[0]
    own, rows = study.opened(study.surrogate), list[dict[str, Any]]()
    sets = {name: forged(study, own, name, chosen) for name in forgery or FORGERIES}
    for number in range(count):
        kind, architecture = turn_of(study, number)
        model = innocent(study, kind, architecture, number)
        drawn = words.draw(marks, groups, seeds.secret(7000 + number, None).part("word"))[0]
        for name, sent in sets.items():
            record = Record(groups, groups, study.images.labels.tolist())
            ask(study.oracle(model), sent, study.exact, record=record)
            found = {word: decide(record, study.exact, at) for word, at in (("drawn", drawn), ("chosen", chosen))}
            row = {"forgery": name, "suspect": kind, "architecture": architecture, "seed": number}
            row |= {f"p_{word}": one.p_value for word, one in found.items()}
            rows.append(row | {"p_published": found["chosen"].published.get("p_value"), "machine": machine()})
        shown = {row["forgery"]: (row["p_drawn"], row["p_chosen"]) for row in rows[-len(sets) :]}
        print(kind, architecture, json.dumps(shown), flush=True)
        write_json(results, rows)
    print_table(rows)


def forged(study: Study, own: Classifier, name: str, word: np.ndarray) -> dict[int, Tensor]:
    """What the audit sends: the images as they are (``BENIGN``), and under each forged mark."""
    x, sent = study.compute.floats(study.images.images), {BENIGN: study.images.images}
    for mark, group in enumerate(word.tolist()):
        wanted = torch.full((len(x),), group, device=x.device)
        with torch.no_grad():
            changed = FORGERIES[name](own, x, wanted, study.secret[0].options.query_eps)
        sent[mark] = (changed * 255).round().byte().cpu()
    return sent


def print_table(rows: list[dict[str, Any]]) -> None:
    """How many innocents are accused, by forgery."""
    print(
        "| forgery | innocents | word drawn by a beacon: p <= 0.05, p <= 0.001 | by chance | word chosen: p <= 0.001 |"
    )
    print("|---|---|---|---|---|")
    for name in dict.fromkeys(row["forgery"] for row in rows):
        drawn, chosen = (np.array([r[f"p_{w}"] for r in rows if r["forgery"] == name]) for w in ("drawn", "chosen"))
        low, high = stats.binom.interval(0.95, len(drawn), 0.05)
        found = f"{(drawn <= 0.05).sum()}, {(drawn <= 0.001).sum()} | {low:.0f} to {high:.0f}"
        print(f"| {name} | {len(drawn)} | {found} | {(chosen <= 0.001).sum()} |")


if __name__ == "__main__":
    typer.run(main)
