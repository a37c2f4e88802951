"""Stage ``attack``: the simulated thief tries to remove the watermark from the model that it trained."""

from __future__ import annotations

import shutil
from pathlib import Path

from sscl.attacks import REMOVALS, Attacker, known_clean, labelled_training
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import AttacksConfig, ComputeConfig, TrainConfig
from sscl.data.store import first_file, load_split
from sscl.layout import MODEL
from sscl.models.io import load_classifier, save_classifier
from sscl.train import benign_accuracy


def run(
    *,
    attacks: AttacksConfig,
    user: TrainConfig,
    compute: ComputeConfig,
    seed: int,
    data: Path,
    release: Path,
    model: Path,
    out: Path,
    checkpoint: Checkpoint,
) -> None:
    """Write each attacked model to a folder of its own in ``out``. Until the last is made, the others are kept."""
    resolved = Compute.set_up(compute)
    train, test = load_split(data, "train"), load_split(data, "test")
    known = known_clean(len(train), attacks.clean_share, seed)
    file = first_file(release)
    attacker = Attacker(
        train.subset(known), load_split(release, "train"), labelled_training(user), resolved, seed, file
    )
    stolen, _ = load_classifier(model / MODEL, test.classes)
    out.mkdir(parents=True)
    for attack in attacks.removals:
        kept = checkpoint.part(attack.name).folder
        if not (kept / MODEL).is_file():
            attacked = REMOVALS[attack.name](resolved.place(stolen), attacker, attack.strength)
            kept.mkdir(parents=True, exist_ok=True)
            save_classifier(kept / MODEL, attacked, benign_accuracy=benign_accuracy(attacked, test, resolved))
        (out / attack.name).mkdir()
        shutil.copyfile(kept / MODEL, out / attack.name / MODEL)
