"""How surely a dataset's marks are found in an encoder while it is trained, for several ways to mark.

    python benchmarks/contrastive_curves.py cifar10-contrastive --set data.train_images=8000 --set user.epochs=30

Every few epochs the encoder is asked for features, and a linear classifier on it, fitted to images without marks, for
labels, as in an audit. Rows go to ``docs/results/contrastive_curves.json``, one an epoch, access and statistic, when a
way has been trained to its end; earlier ones of the same command, way and seed are replaced. Everything is kept under
``--root``: a run that was broken off goes on after its last epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmarks.contrastive import begun, shown
from benchmarks.shared.rows import Root, Sets, study_of, write
from sscl.artifacts import read_json, write_json
from sscl.audit.record import Record
from sscl.audit.trial import null_of
from sscl.audit.verdict import decide
from sscl.benchmark.encoder_study import EncoderStudy
from sscl.benchmark.study import Study
from sscl.benchmark.workshop import precision
from sscl.checkpoint import Checkpoint
from sscl.learning.base import frozen
from sscl.learning.train import train_encoder
from sscl.models import Classifier

RESULTS = Path("docs/results/contrastive_curves.json")
CODE = "generator.ownership_code"
WAYS = {  # what is changed in the profile
    "the profile's": (),
    "random images": (f"{CODE}.share=1.0",),
    "hardest images": (f"{CODE}.choose=hardest",),
    "whole images": (f"{CODE}.family=waves", f"{CODE}.share=1.0"),
    "stronger": (f"{CODE}.visible=0.2", f"{CODE}.eps=64/255", f"{CODE}.query_eps=64/255"),
}
STATISTICS = ("alignment", "attraction")
ROWS = "rows.json"
app = typer.Typer(help="Measure how marks are learnt; see the top of this file.")


def points(benches: dict[str, EncoderStudy], encoder: Classifier) -> Iterator[dict[str, Any]]:
    """How surely the word is found now, by every statistic."""
    classifier = next(iter(benches.values())).built(encoder, "own", "linear", 0.0)
    for statistic, bench in benches.items():
        for access, record in (
            ("features", bench.record(encoder, features=True)),
            ("labels", bench.record(classifier).labels_only()),
        ):
            yield {"statistic": statistic, "access": access} | found(bench, record, access)


def found(bench: EncoderStudy, record: Record, access: str) -> dict[str, float]:
    """``p`` of the audit, and ``z``: the word's standard score among all words."""
    watermark, state = bench.study.secret
    word = watermark.targets(state).numpy()
    finding = decide(record, bench.study.exact, word, references=bench.references[access])
    null = null_of(np.array(finding.effects))
    z = (null.statistic(word) - null.statistics.mean()) / (null.statistics.std() or 1.0)
    return {"p": finding.p_value, "z": float(z)}


@app.command()
def main(
    profile: str,
    count: Annotated[int, typer.Option("--seeds")] = 1,
    first: int = 0,
    way: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(WAYS)}.  [default: all]")] = None,
    every: Annotated[int, typer.Option(help="Epochs between two points.")] = 5,
    root: Root = Path("runs/code"),
    overrides: Sets = None,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Train an encoder for each way and seed, and ask it every few epochs."""
    if unknown := set(way or ()) - set(WAYS):
        raise typer.BadParameter(f"{sorted(unknown)[0]}: use one of {', '.join(WAYS)}", param_hint="--way")
    command = " ".join((profile, *(overrides or ())))
    for seed in range(first, first + count):
        for name in way or WAYS:
            sets = [*(overrides or ()), *WAYS[name]]
            benches = {
                by: EncoderStudy(study_of(profile, seed, root, overrides=[*sets, f"audit.statistic={by}"]), ("own",))
                for by in STATISTICS
            }
            rows = curve_of(benches[STATISTICS[0]].study, benches, command, every)
            write(results, [row | {"way": name} for row in rows])
    print_curves(pd.DataFrame(json.loads(results.read_text())))


def curve_of(study: Study, benches: dict[str, EncoderStudy], command: str, every: int) -> list[dict[str, Any]]:
    """Rows of one encoder on a marked set; kept, and so is what a broken-off run had measured."""
    config, workshop = study.config, study.bench.workshop
    parts = {"data": study.release / "public", "training": asdict(config.user), "audit": asdict(config.audit)}
    parts |= {"seed": study.seed, "every": every, "command": command, **precision(config.compute)}

    def build(out: Path, checkpoint: Checkpoint) -> None:
        measured = checkpoint.folder / ROWS

        def watch(epochs: int, encoder: Classifier) -> None:
            if epochs % every and epochs < config.user.epochs:
                return
            now = frozen(encoder).eval()
            base = begun(study, command, now, "released") | {"epochs": epochs}
            earlier = [row for row in read_json(measured) if row["epochs"] < epochs] if measured.is_file() else []
            rows = [base | point for point in points(benches, now)]
            for row in rows:
                shown(row, "epochs", "knn", "statistic", "access", "p", "z")
            measured.parent.mkdir(parents=True, exist_ok=True)
            write_json(measured, earlier + rows)

        train_encoder(
            study.released, config.user, study.compute, seed=study.seed, use="user", checkpoint=checkpoint, watch=watch
        )
        out.mkdir(parents=True)
        write_json(out / ROWS, read_json(measured))

    slot = workshop.slot("curves", "sscl.benchmark.encoder_study", **parts)
    rows: list[dict[str, Any]] = read_json(workshop.make(slot, build) / ROWS)
    return rows


def print_curves(rows: pd.DataFrame) -> None:
    """One line for each way and seed: ``z`` after every few epochs, and the last ``p``."""
    for (command, statistic, access), group in rows.groupby(["command", "statistic", "access"], sort=False):
        epochs = sorted(group["epochs"].unique())
        print(f"\n`{command}`: {statistic}, {access}\n")
        print(f"| way | seed | LPIPS | kNN, % | {' | '.join(f'z, {n}' for n in epochs)} | p at the end |")
        print("|---" * (len(epochs) + 5) + "|")
        for (way, seed), curve in group.groupby(["way", "seed"], sort=False):
            curve = curve.sort_values("epochs")
            last, at = curve.iloc[-1], curve.set_index("epochs")["z"]
            each = " | ".join(f"{at[n]:.2f}" if n in at else "-" for n in epochs)
            print(f"| {way} | {seed} | {last['lpips']:.3f} | {100 * last['knn']:.1f} | {each} | {last['p']:.2g} |")


if __name__ == "__main__":
    app()
