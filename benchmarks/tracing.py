"""Whose copy a model was trained on: licensees' copies, a real training on one of them, and what `trace` says.

    python benchmarks/tracing.py out        # output root of a finished pipeline, e.g. after `make demo`

A model trained on the release for everybody and a clean one are asked about as well. Writes docs/results/tracing.json,
one row a suspect and recipient, and prints the table of docs/release.md.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sscl.artifacts import read_json, write_json
from sscl.compute import Compute
from sscl.data.store import Card, load_split
from sscl.models.io import save_classifier
from sscl.oracles import Context, open_oracle
from sscl.params import build
from sscl.provenance import machine
from sscl.release import recipients
from sscl.release.places import CLEAN, METRICS, RELEASED
from sscl.stages.names import MODEL
from sscl.train import train_classifier

RESULTS = Path("docs/results/tracing.json")
LICENSEES = ["ada", "bob", "eve"]


def main(
    root: Annotated[Path, typer.Argument(help="Output root of a finished pipeline.")],
    licensees: Annotated[
        list[str], typer.Option("--recipient", help="A model is trained on each one's copy.")
    ] = LICENSEES,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Make the copies, train, trace, write the rows and print the table."""
    config = build(read_json(root / METRICS)["config"])
    compute = Compute.resolve(config.compute)
    copies = {name: recipients.protect(root, config, name) for name in licensees}
    suspects = {"the release for everybody": root / "models/malicious" / MODEL}
    suspects["clean data"] = root / "models/independent_model" / MODEL
    for name, copy in copies.items():
        suspects[f"{name}'s copy"] = root / "licensees" / name / MODEL
        if not suspects[f"{name}'s copy"].is_file():
            trained = train_classifier(load_split(copy / RELEASED, "train"), config.user, compute, config.seed, name)
            suspects[f"{name}'s copy"].parent.mkdir(parents=True, exist_ok=True)
            save_classifier(suspects[f"{name}'s copy"], trained.model)
    names = Card.read(root / CLEAN).class_names
    rows: list[dict[str, Any]] = []
    print("| trained on | named | corrected p | delta_P | others: corrected p | delta_P |\n|---|---|---|---|---|---|")
    for suspect, path in suspects.items():
        found = recipients.trace(root, config, open_oracle(str(path), Context(names, compute)))
        rows += [{"trained_on": suspect, **asdict(row), "machine": machine()} for row in found]
        write_json(results, rows)
        named, others = ([row for row in found if row.named is flag] for flag in (True, False))
        who = ", ".join(row.recipient for row in named) or "nobody"
        p_values, effects = (", ".join(f"{getattr(row, of):.3g}" for row in named) for of in ("adjusted", "delta_p"))
        rest = f"{min(row.adjusted for row in others):.3g} and more"
        most = f"{max(abs(row.delta_p) for row in others):.3f} at most"
        print(f"| {suspect} | {who} | {p_values} | {effects} | {rest} | {most} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
