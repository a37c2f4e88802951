"""Copies under words of their own, and whose copy a model knows."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sscl import seeds
from sscl.artifacts import digest, load_tensors, read_json, write_json
from sscl.audit.check import check
from sscl.audit.examine import Case, prepare
from sscl.audit.opening import copy_for, draw_word
from sscl.audit.session import audit_suspect
from sscl.compute import Compute
from sscl.config import Config
from sscl.data.store import Card, load_split
from sscl.errors import InputError
from sscl.layout import INDICES, Root
from sscl.release import recipients
from sscl.suspects import Context, Oracle
from sscl.types import Responses
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode

NAMES = ("ada", "bob", "eve")


@pytest.fixture(scope="module")
def copies(finished: Path, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A finished pipeline with three recipients' copies."""
    root = Root(tmp_path_factory.mktemp("copies") / "root")
    shutil.copytree(finished, root.path)
    for name in NAMES:
        recipients.protect(root, config, name)
    return root


def case_of(root: Root) -> Case:
    return prepare(root.watermark, root.opening, root.commitment)


class Knows(Oracle):
    """Answers as a model would that learnt the marks under some words and nothing else."""

    def __init__(self, root: Root, known: list[np.ndarray], compute: Compute) -> None:
        super().__init__("fake", Context(Card.read(root.clean).class_names, compute), None)
        self.kind = "simulated"
        watermark, state = load_watermark(root.watermark / GENERATOR, 3, compute)
        assert isinstance(watermark, OwnershipCode)
        self.answers: dict[bytes, np.ndarray] = {}
        for mark in range(watermark.options.marks):
            marked = watermark.asked(load_split(root.clean, "test").images, mark, state)
            towards = np.mean([np.eye(3)[word[mark]] for word in known] or [np.full(3, 1 / 3)], axis=0)
            self.answers |= {image.permute(1, 2, 0).numpy().tobytes(): towards for image in marked}

    @classmethod
    def accepts(cls, address: str) -> bool:
        return False

    def identity(self) -> dict[str, str]:
        return {"kind": self.kind}

    def answer(self, images: np.ndarray) -> Responses:
        return Responses(np.stack([self.answers.get(image.tobytes(), np.full(3, 1 / 3)) for image in images]))


def word_of(root: Root, name: str | None) -> np.ndarray:
    opening = read_json(root.opening)
    return draw_word(copy_for(opening, name, seeds.secret(0, None)) if name else opening, None)


def test_each_copy_has_the_same_marks_under_its_own_word(copies: Root) -> None:
    keys = [load_tensors(copies.watermark / GENERATOR)[0]]
    keys += [load_tensors(copies.recipient(name).watermark / GENERATOR)[0] for name in NAMES]
    assert len({tuple(key["word"].tolist()) for key in keys}) == 4
    assert all(torch.equal(keys[0][name], key[name]) for key in keys for name in key if name != "word")
    clean = load_split(copies.clean, "train")
    chosen = set()
    for name in NAMES:
        released = load_split(copies.recipient(name).released, "train")
        marked = load_tensors(copies.recipient(name).watermark / INDICES)[0]["indices"]
        assert torch.equal(released.labels, clean.labels)
        changed = (released.images != clean.images).flatten(1).any(dim=1)
        assert set(torch.nonzero(changed).flatten().tolist()) <= set(marked.tolist())
        assert len(marked) == 24
        chosen.add(tuple(marked.tolist()))
    assert len(chosen) == 3


def test_a_copy_is_made_once_and_the_same_again(copies: Root, config: Config, tmp_path: Path) -> None:
    again = Root(tmp_path / "again")
    shutil.copytree(copies.path, again.path, symlinks=True)
    made = digest(copies.recipient("ada").released)
    assert digest(recipients.protect(again, config, "ada").released) == made
    shutil.rmtree(again.recipient("ada").released)
    assert digest(recipients.protect(again, config, "ada").released) == made


def test_a_copy_that_was_handed_out_is_not_replaced(copies: Root, config: Config) -> None:
    released = copies.recipient("ada").released
    before = digest(released)
    with pytest.raises(InputError, match=r"ada: made from another release, configuration .* move the folder away"):
        recipients.protect(copies, replace(config, embed=replace(config.embed, rate=0.2)), "ada")
    assert digest(released) == before


def test_a_licensees_word_differs_between_datasets() -> None:
    """The defect: who had one dataset's copy knew the word of all that the owner gave the same licensee."""
    key = seeds.secret(0, None)
    one, other = (copy_for({"secret": secret * 32}, "ada", key)["secret"] for secret in ("00", "01"))
    assert one != other


@pytest.mark.parametrize("whose", [*NAMES, None])
def test_the_copy_that_a_model_knows_is_named(whose: str | None, copies: Root, config: Config) -> None:
    known = [word_of(copies, whose)] if whose else []
    found = recipients.trace(copies, case_of(copies), Knows(copies, known, Compute.set_up(config.compute)))
    assert {row.recipient for row in found} == {*NAMES, recipients.EVERYBODY}
    assert [row.recipient for row in found if row.named] == ([whose] if whose else [])
    assert all(row.adjusted >= row.p_value >= 1 / 630 for row in found)


def test_a_suspect_that_can_leave_images_out_pays_for_it(copies: Root, config: Config) -> None:
    suspect = Knows(copies, [word_of(copies, "ada"), word_of(copies, "bob")], Compute.set_up(config.compute))
    could = recipients.trace(copies, case_of(copies), suspect)
    suspect.kind = "classifier"
    for api, file in zip(could, recipients.trace(copies, case_of(copies), suspect), strict=True):
        assert api.p_value == pytest.approx(min(1.0, 4 / 3 * file.p_value))
        assert api.adjusted == pytest.approx(min(1.0, 4 / 3 * file.adjusted))


def test_the_release_for_everybody_is_traced_too(copies: Root, config: Config) -> None:
    known = Knows(copies, [word_of(copies, None)], Compute.set_up(config.compute))
    found = recipients.trace(copies, case_of(copies), known)
    assert [row.recipient for row in found if row.named] == [recipients.EVERYBODY]


def test_tracing_takes_as_many_queries_as_one_audit(copies: Root, config: Config) -> None:
    oracle = Knows(copies, [], Compute.set_up(config.compute))
    answer, asked = oracle.answer, []

    def counted(images: np.ndarray) -> Responses:
        asked.append(len(images))
        return answer(images)

    oracle.answer = counted  # type: ignore[method-assign]
    recipients.trace(copies, case_of(copies), oracle)
    assert sum(asked) == 10 * 8


def test_a_suspect_with_classes_of_its_own_is_traced(copies: Root, config: Config) -> None:
    """Five classes, by a statistic that does not match them to the owner's."""
    compute, words = Compute.set_up(config.compute), {name: word_of(copies, name) for name in NAMES}
    case = case_of(copies)
    case = replace(case, config=replace(case.config, statistic="attraction"))

    class Others(Knows):
        def answer(self, images: np.ndarray) -> Responses:
            told = super().answer(images).values
            wide = np.concatenate((told, told[:, :2]), axis=1)
            return Responses(wide / wide.sum(axis=1, keepdims=True))

    suspect, test = Others(copies, [words["bob"]], compute), load_split(copies.clean, "test")
    for image, label in zip(test.images, test.labels.tolist(), strict=True):  # without marks it answers as any model
        suspect.answers[image.permute(1, 2, 0).numpy().tobytes()] = 0.1 + 0.7 * np.eye(3)[label]
    suspect.context, suspect.width = Context(None, compute), None
    found = {row.recipient: row.p_value for row in recipients.traced(case, suspect, words, case.config.alpha)}
    assert min(found, key=found.__getitem__) == "bob"
    assert found["bob"] < 0.05 < found["eve"]  # ada's word happens to be bob's but for one mark


def test_evidence_against_one_copys_model_can_be_checked(copies: Root, config: Config, tmp_path: Path) -> None:
    """Under the copy's own commitment."""
    suspect, ada = str(copies.path / "models/independent_model/model.safetensors"), copies.recipient("ada").path
    finding, audit = audit_suspect(suspect, ada, config.compute, bundle=tmp_path / "ada.zip")
    assert finding.p_value is not None
    assert audit["confirmatory"]
    assert audit["word"] == word_of(copies, "ada").tolist()
    assert check(tmp_path / "ada.zip") == []


def test_what_cannot_be_traced(copies: Root, finished: Path, config: Config, tmp_path: Path) -> None:
    oracle = Knows(copies, [], Compute.set_up(config.compute))
    with pytest.raises(InputError, match="no recipients; `sscl release create VERSION --recipient NAME` makes one"):
        recipients.trace(Root(finished), case_of(Root(finished)), oracle)
    with pytest.raises(InputError, match=r"recipient: .* is not possible"):
        recipients.protect(copies, config, "../x")
    other = Root(shutil.copytree(copies.path, tmp_path / "other", symlinks=True))
    shutil.copy(other.recipient("ada").watermark / GENERATOR, other.watermark / GENERATOR)
    with pytest.raises(InputError, match="its word does not follow from commitment and beacon"):
        recipients.trace(other, case_of(other), oracle)


def test_more_recipients_than_drawn_words_tell_apart(
    copies: Root, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sscl.statistics.words.DRAWN", 50)
    with pytest.raises(InputError, match=r"recipients are too many to name one at level 0\.02, .* a larger alpha"):
        recipients.trace(copies, case_of(copies), Knows(copies, [], Compute.set_up(config.compute)))


def test_a_copy_whose_commitment_was_changed_names_nobody(copies: Root, config: Config, tmp_path: Path) -> None:
    """Whoever could choose a recipient's word afterwards could accuse anybody of handing the copy on."""
    other = Root(shutil.copytree(copies.path, tmp_path / "other", symlinks=True))
    opening = other.recipient("ada").opening
    write_json(opening, read_json(opening) | {"secret": "00" * 32})
    with pytest.raises(InputError, match="ada: commitment: its SHA-256 is not the opening's; restore the copy"):
        recipients.trace(other, case_of(other), Knows(copies, [], Compute.set_up(config.compute)))


def test_names_are_in_no_public_file(copies: Root) -> None:
    for path in (copies.recipient("ada").path / "public").rglob("*"):
        if path.is_file():
            assert not re.search(rb"\bada\b", path.read_bytes())  # as a word: a digest may well have those digits
    assert read_json(copies.recipient("ada").commitment)["attempt"] == 1
