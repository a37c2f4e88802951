"""Copies under keys of their own, and whose copy a model knows."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sscl.artifacts import digest, load_tensors, read_json, save_tensors
from sscl.audit.decoys import draw_decoys
from sscl.audit.statistic import Effect
from sscl.compute import Compute
from sscl.config import Config
from sscl.data.store import Card, load_split
from sscl.errors import InputError
from sscl.evidence.bundle import unpack
from sscl.evidence.check import check
from sscl.evidence.session import audit_suspect
from sscl.oracles import Context, Oracle
from sscl.release import places, recipients
from sscl.stages.names import COMMITMENT, OPENING
from sscl.types import Responses
from sscl.watermarks.io import GENERATOR, load_watermark

NAMES = ("ada", "bob", "eve")
DRAWN: dict[tuple[int, int], list[Any]] = {}


@pytest.fixture(scope="module")
def copies(finished: Path, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pipeline with three recipients' copies; its 19 committed decoys are too few to name one of four."""
    root = tmp_path_factory.mktemp("copies") / "root"
    shutil.copytree(finished, root)
    for name in NAMES:
        recipients.protect(root, config, name)
    return root


@pytest.fixture(autouse=True)
def _decoys_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty take a minute, and are the same for every suspect."""

    def draw(watermark: Any, state: Any, count: int, seed: int) -> list[Any]:
        if (count, seed) not in DRAWN:
            DRAWN[count, seed] = draw_decoys(watermark, state, count, seed)
        return DRAWN[count, seed]

    monkeypatch.setattr(recipients, "draw_decoys", draw)


class Knows(Oracle):
    """Answers as a model would that learnt some marked images and nothing else."""

    def __init__(self, root: Path, known: Path | None, compute: Compute) -> None:
        super().__init__("fake", Context(Card.read(root / "clean").class_names, compute), None)
        self.known: set[bytes] = set()
        if known:
            secret = read_json(known / places.SECRET / "secret.json")
            self.target = secret["target_class"]
            watermark, state = load_watermark(known / places.SECRET / GENERATOR, 3, compute)
            marked = watermark.trigger(load_split(root / "clean", "test").images, state)
            self.known = {image.permute(1, 2, 0).numpy().tobytes() for image in marked}

    @classmethod
    def accepts(cls, address: str) -> bool:
        return False

    def identity(self) -> dict[str, str]:
        return {}

    def answer(self, images: np.ndarray) -> Responses:
        answers = np.full((len(images), 3), 1 / 3)
        for number, image in enumerate(images):
            if image.tobytes() in self.known:
                answers[number] = np.eye(3)[self.target] * 0.97 + 0.01
        return Responses(answers)


def test_each_copy_has_a_key_of_its_own_and_labels_stay(copies: Path) -> None:
    keys = [load_tensors(copies / places.SECRET / GENERATOR)[0]]
    keys += [load_tensors(copies / "recipients" / name / places.SECRET / GENERATOR)[0] for name in NAMES]
    patterns = {key["key.signs"].numpy().tobytes() for key in keys}
    assert len(patterns) == 4
    assert all(torch.equal(keys[0][name], key[name]) for key in keys for name in key if not name.startswith("key."))
    clean = load_split(copies / "clean", "train")
    for name in NAMES:
        released = load_split(copies / "recipients" / name / "public/release", "train")
        marked = load_tensors(copies / "recipients" / name / places.SECRET / "indices.safetensors")[0]["indices"]
        assert torch.equal(released.labels, clean.labels)
        changed = (released.images != clean.images).flatten(1).any(dim=1)
        assert set(torch.nonzero(changed).flatten().tolist()) <= set(marked.tolist())
        assert len(marked) == 24


def test_a_copy_is_made_once_and_the_same_again(copies: Path, config: Config, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(copies, again)
    made = digest(copies / "recipients/ada/public/release")
    assert digest(recipients.protect(again, config, "ada") / "public/release") == made
    shutil.rmtree(again / "recipients/ada/public")
    assert digest(recipients.protect(again, config, "ada") / "public/release") == made


def test_what_opens_a_copys_commitment_is_not_replaced(copies: Path, config: Config) -> None:
    opening = copies / "recipients/ada" / places.OPENED / OPENING
    before = opening.read_bytes()
    with pytest.raises(InputError, match=r"ada: made from another release, configuration .* move the folder away"):
        recipients.protect(copies, replace(config, audit=replace(config.audit, images=9)), "ada")
    assert opening.read_bytes() == before


@pytest.mark.parametrize("whose", [*NAMES, None])
def test_the_copy_that_a_model_knows_is_named(whose: str | None, copies: Path, config: Config) -> None:
    compute = Compute.resolve(config.compute)
    known = copies / "recipients" / whose if whose else None
    found = recipients.trace(copies, config, Knows(copies, known, compute))
    assert {row.recipient for row in found} == {*NAMES, recipients.EVERYBODY}
    assert [row.recipient for row in found if row.named] == ([whose] if whose else [])
    assert all(row.p_value >= 1 / 80 for row in found)
    assert all(row.adjusted >= row.p_value for row in found)


def test_the_release_for_everybody_is_traced_too(copies: Path, config: Config) -> None:
    found = recipients.trace(copies, config, Knows(copies, copies, Compute.resolve(config.compute)))
    assert [row.recipient for row in found if row.named] == [recipients.EVERYBODY]


def test_evidence_under_one_copys_commitment_can_be_checked(copies: Path, config: Config, tmp_path: Path) -> None:
    suspect, ada = str(copies / "models/independent_model/model.safetensors"), copies / "recipients/ada"
    finding, audit = audit_suspect(suspect, ada, config.compute, bundle=tmp_path / "ada.zip")
    assert finding.p_value is not None
    assert audit["confirmatory"]
    assert check(tmp_path / "ada.zip") == []
    committed = read_json(ada / places.COMMITTED / COMMITMENT)
    assert json.loads(unpack(tmp_path / "ada.zip")[0][COMMITMENT]) == committed


def test_a_suspect_that_changes_meanwhile_does_not_name_everybody(
    copies: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mark moves it more than the one before: whoever is asked last would be named."""
    moments = itertools.count()
    monkeypatch.setattr(recipients, "key_effect", lambda *given: Effect(float(next(moments)), 0.5, 0.5, 1.0))
    found = recipients.trace(copies, config, Knows(copies, None, Compute.resolve(config.compute)))
    assert not all(row.p_value <= 4 / 80 for row in found)


def test_what_cannot_be_traced(copies: Path, finished: Path, config: Config, tmp_path: Path) -> None:
    oracle = Knows(copies, None, Compute.resolve(config.compute))
    with pytest.raises(InputError, match="no recipients; `sscl release create VERSION --recipient NAME` makes one"):
        recipients.trace(finished, config, oracle)
    with pytest.raises(InputError, match=r"recipient: .* is not possible"):
        recipients.protect(copies, config, "../x")
    other = Path(shutil.copytree(copies, tmp_path / "other"))
    secret = other / "recipients/ada" / places.SECRET / GENERATOR
    tensors, metadata = load_tensors(secret)
    save_tensors(secret, {**tensors, "probe": tensors["probe"] + 1}, metadata)
    with pytest.raises(InputError, match="a copy of an older release"):
        recipients.trace(other, config, oracle)


def test_a_key_that_was_swapped_afterwards_names_nobody(copies: Path, config: Config, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copies, tmp_path / "other"))
    ada, eve = (other / "recipients" / name / places.SECRET / GENERATOR for name in ("ada", "eve"))
    shutil.copy(eve, ada)
    with pytest.raises(InputError, match="ada: its key is not the one that was committed to"):
        recipients.trace(other, config, Knows(copies, None, Compute.resolve(config.compute)))


def test_names_are_in_no_public_file(copies: Path) -> None:
    for path in (copies / "recipients/ada/public").rglob("*"):
        if path.is_file():
            assert not re.search(rb"\bada\b", path.read_bytes())  # as a word: a digest may well have those digits
    opening = json.loads((copies / "recipients/ada/private/commitment/opening.json").read_text())
    assert opening["generator"] == digest(copies / "recipients/ada" / places.SECRET / GENERATOR)
