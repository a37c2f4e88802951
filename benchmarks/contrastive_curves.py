"""How surely a dataset's marks are found in an encoder while it is trained, for several ways to mark.

    python benchmarks/contrastive_curves.py cifar10-contrastive --set data.train_images=8000 --set user.epochs=30

Every few epochs the encoder is asked for features, and a linear classifier on it, fitted to images without marks, for
labels, as in an audit. Rows go to ``docs/results/contrastive_curves.json``, one an epoch, access and statistic; earlier
ones of the same command, way and seed are replaced. A way whose run was broken off begins anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from benchmarks.contrastive import shown
from benchmarks.ownership import Root, Sets, commit, study_of
from sscl.artifacts import write_json
from sscl.audit.trial import Trial, null_of
from sscl.audit.verdict import decide
from sscl.benchmark.encoder_study import EncoderStudy
from sscl.learning.base import frozen
from sscl.learning.neighbours import knn_accuracy
from sscl.learning.train import train_encoder
from sscl.models import Classifier
from sscl.provenance import machine

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
app = typer.Typer(help="Measure how marks are learnt; see the top of this file.")


@dataclass(frozen=True)
class Curve:
    """One encoder in training, asked with every statistic."""

    benches: dict[str, EncoderStudy]

    def points(self, encoder: Classifier) -> Iterator[dict[str, Any]]:
        """How surely the word is found now."""
        for statistic, bench in self.benches.items():
            for access, model in (("features", encoder), ("labels", bench.built(encoder, "own", "linear", 0.0))):
                yield {"statistic": statistic, "access": access} | self.found(bench, model, access)

    @staticmethod
    def found(bench: EncoderStudy, model: Classifier, access: str) -> dict[str, float]:
        """``p`` of the audit, and ``z``: the word's standard score among all words."""
        watermark, state = bench.study.secret
        word = watermark.targets(state).numpy()
        record = bench.record(model, features=access == "features")
        record = record if access == "features" else record.labels_only()
        trial = Trial(record, bench.study.exact, len(word), bench.references[access])
        null = null_of(trial.matrix)
        z = (null.statistic(word) - null.statistics.mean()) / (null.statistics.std() or 1.0)
        finding = decide(record, bench.study.exact, word, references=bench.references[access])
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
            rows = list(grown(profile, seed, name, every=every, root=root, overrides=overrides or []))
            write(results, [{"command": command, "seed": seed, "way": name, **row} for row in rows])
    print_curves(pd.DataFrame(json.loads(results.read_text())))


def grown(
    profile: str, seed: int, way: str, *, every: int, root: Path, overrides: list[str]
) -> Iterator[dict[str, Any]]:
    """Rows of one encoder on a marked set."""
    sets = [*overrides, *WAYS[way]]
    benches = {
        name: EncoderStudy(study_of(profile, seed, root, overrides=[*sets, f"audit.statistic={name}"]), ("own",))
        for name in STATISTICS
    }
    study = next(iter(benches.values())).study
    config, compute, rows = study.config.user, study.compute, list[dict[str, Any]]()
    base = {"learning": config.learning, "architecture": config.model, "rate": len(study.marked) / len(study.train)}
    base |= {"lpips": study.visibility["lpips"], "machine": machine(), "commit": commit()}

    def watch(epochs: int, encoder: Classifier) -> None:
        if epochs % every:
            return
        now = frozen(encoder).eval()
        knn = knn_accuracy(now, study.train, compute, study.test)
        for point in Curve(benches).points(now):
            rows.append(base | {"epochs": epochs, "knn": knn} | point)
            shown({"way": way, **rows[-1]}, "way", "epochs", "knn", "statistic", "access", "p", "z")

    train_encoder(study.released, config, compute, seed=seed, use="user", watch=watch)
    yield from rows


def write(results: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows to a file, in place of earlier ones of the same encoder."""
    about = {(row["command"], row["seed"], row["way"]) for row in rows}
    kept = json.loads(results.read_text()) if results.is_file() else []
    write_json(results, [row for row in kept if (row["command"], row["seed"], row["way"]) not in about] + rows)


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
