"""Other ways to prove the use of a dataset, beside the ownership code: the same images and networks.

    python benchmarks/peers.py demo --seeds 3
    python benchmarks/peers.py cifar10-small
    python benchmarks/peers.py demo --peer data_taggants
    python benchmarks/peers.py demo --first 3 --innocents 20

Every peer may mark as large a share of the images as the code, as strongly as the code may (``eps``). The innocent
model is trained on the clean images. Rows go to ``docs/results/peers.json``, one a peer, suspect, access and query
count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from benchmarks.shared.innocents import innocent, turn_of
from benchmarks.shared.rows import ROOT, Root, Sets, study_of, write
from sscl import seeds
from sscl.benchmark.study import SHOWN, Study
from sscl.compute import Compute
from sscl.models import Classifier
from sscl.peers import PEERS, Owner, Peer
from sscl.perceptual import LPIPS, image_quality
from sscl.provenance import machine
from sscl.train import benign_accuracy, predict, train_classifier
from sscl.types import ImageSet, Responses

RESULTS = Path("docs/results/peers.json")
QUERIES = (400, 4000)
OWN = "ownership_code"


def main(
    profile: str,
    count: Annotated[int, typer.Option("--seeds", help="How many seeds.")] = 1,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    *,
    names: Annotated[list[str] | None, typer.Option("--peer", help="[default: the code and all peers]")] = None,
    more: Annotated[int, typer.Option("--innocents", help="More innocent models, of other kinds and networks.")] = 0,
    root: Root = ROOT,
    overrides: Sets = None,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Train on every peer's release, and audit that model and an innocent one."""
    for seed in range(first, first + count):
        study = study_of(profile, seed, root, overrides=overrides)
        suspects = {"clean": study.opened(study.bench.trained(study.config, "user", study.data))}
        suspects |= others(study, more)
        command = " ".join(("peers", profile, *(overrides or ())))
        common: dict[str, Any] = {"command": command, "dataset": study.config.data.source, "profile": profile}
        common |= {"seed": seed, "machine": machine()}
        for name in names or (OWN, *PEERS):
            found = of_code(study, suspects) if name == OWN else of_peer(study, name, suspects)
            rows = [common | {"watermark": name} | row for row in found]
            for row in rows:
                print(seed, name, json.dumps({key: row[key] for key in ("suspect", "access", "queries", "p", "ba")}))
            write(results, rows)


def others(study: Study, count: int) -> dict[str, Classifier]:
    """Innocent models by kind and network."""
    found = {}
    for number in range(count):
        kind, network = turn_of(study, number)
        found[f"{kind}, {network}, {number}"] = innocent(study, kind, network, number)
    return found


def of_code(study: Study, suspects: dict[str, Classifier]) -> Iterator[dict[str, Any]]:
    """The ownership code's rows."""
    word = study.secret[0].targets(study.secret[1])
    guilty = study.opened(study.bench.trained(study.config, "user", study.release / "public"))
    lpips = changed(study.train, study.released, study.compute)
    for suspect, model in {"released": guilty, **suspects}.items():
        ba = benign_accuracy(model, study.test, study.compute)
        for row in study.findings(study.asked(model), word):
            base = {"suspect": suspect, "architecture": model.name, "ba": ba, "lpips": lpips}
            yield base | {n: row[n] for n in ("access", "queries", "p")}


def of_peer(study: Study, name: str, suspects: dict[str, Classifier]) -> Iterator[dict[str, Any]]:
    """A peer's rows."""
    peer, rate = PEERS[name], len(study.marked) / len(study.train)
    key = seeds.secret(study.seed, None).part("peer", name)
    owner = Owner(study.opened(study.surrogate), study.compute, key)
    started = time.monotonic()
    released, evidence = peer.release(study.train, rate, study.secret[0].eps, owner)
    seconds = time.monotonic() - started  # without the surrogate
    use = f"peer {name}"
    guilty = train_classifier(released, study.config.user, study.compute, seed=study.seed, use=use).model
    lpips = changed(study.train, released, study.compute) if len(released) == len(study.train) else 0.0
    for suspect, model in {"released": guilty.eval(), **suspects}.items():
        ba = benign_accuracy(model, study.test, study.compute)
        for access, queries, p_value in audited(study, peer, evidence, model):
            row = {"suspect": suspect, "architecture": model.name, "ba": ba, "lpips": lpips, "release_seconds": seconds}
            yield row | {"access": access, "queries": queries, "p": p_value}


def audited(study: Study, peer: Peer[Any], evidence: Any, model: Classifier) -> Iterator[tuple[str, int, float]]:
    """Access, queries that were asked, and p-value."""
    for access in ("probabilities", "labels"):
        for queries in QUERIES:
            asked = 0

            def ask(images: Tensor, access: str = access) -> Responses:
                nonlocal asked
                asked += len(images)
                return answers(study, model, access, images)

            p_value = peer.p_value(ask, evidence, queries)
            yield access, asked, p_value
            if asked < queries:  # all of its evidence was asked
                break


def answers(study: Study, model: Classifier, access: str, images: Tensor) -> Responses:
    """A model's answers to uint8 images."""
    found = predict(model, images, study.compute).double().numpy()
    return Responses.of_labels(found.argmax(axis=1), found.shape[1]) if access == "labels" else Responses(found)


def changed(before: ImageSet, after: ImageSet, compute: Compute) -> float:
    """Mean LPIPS over the images that differ."""
    differing = (before.images != after.images).flatten(1).any(dim=1).nonzero().flatten()[:SHOWN]
    metric = LPIPS().to(compute.device)
    return float(image_quality(metric, before.images[differing], after.images[differing])["lpips"])


if __name__ == "__main__":
    typer.run(main)
