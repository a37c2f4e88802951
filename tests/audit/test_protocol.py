"""Audits of simulated models: who is accused, who is not, and what makes a verdict inconclusive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sscl import seeds
from sscl.audit import KEY_TESTS
from sscl.audit.decoys import draw_decoys, load_decoys, save_decoys
from sscl.audit.protocol import BENIGN, RELEASED, Record, ask, key_order, verification_images
from sscl.audit.verdict import Finding, decide
from sscl.compute import Compute
from sscl.config import AuditConfig
from sscl.errors import InputError
from sscl.oracles import Context, Oracle
from sscl.types import ImageSet, Responses
from sscl.watermarks.base import FitContext, KeyedWatermark, State

CLASSES = 3
TARGET = 1


class Stamp(KeyedWatermark[None]):
    """A key is an 8-bit code that is written into the first row: the shortest keyed watermark."""

    Options = type(None)

    @property
    def eps(self) -> float:
        return 1.0

    def candidates(self, labels: Tensor) -> Tensor:
        return torch.nonzero(labels == self.target_class).flatten()

    def fit(self, train: ImageSet, surrogate: object, context: FitContext) -> State:
        return State(notes={"targets": [TARGET]})

    def draw_key(self, state: State, rng: torch.Generator) -> tuple[dict[str, Tensor], int]:
        targets = state.notes["targets"]
        code = torch.randint(1, 256, (8,), generator=rng, dtype=torch.uint8)
        return {"code": code}, targets[int(torch.randint(len(targets), (), generator=rng))]

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.trigger(images, state), labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        marked = images.clone()
        marked[:, 0, 0, :8] = state.tensors["key.code"]
        return marked


class Suspect(Oracle):
    """Answers by a function of the first row."""

    def __init__(self, rule: Any, compute: Compute, access: str = "probabilities") -> None:
        super().__init__("suspect", Context(("a", "b", "c"), compute), None)
        self.rule, self.access, self.favourite = rule, access, TARGET

    @classmethod
    def accepts(cls, address: str) -> bool:
        return False

    def identity(self) -> dict[str, str]:
        return {"kind": "simulated"}

    def answer(self, images: np.ndarray) -> Responses:
        p = np.array([self.rule(image[0, :8, 0]) for image in images], dtype=np.float64)
        valid = np.isfinite(p)
        if self.access == "labels":
            return Responses.of_labels(np.where(valid, np.where(p > 0.5, self.favourite, 0), -1), CLASSES)
        rows = np.zeros((len(p), CLASSES))
        rows[valid] = (1 - p[valid, None]) / (CLASSES - 1)
        rows[valid, self.favourite] = p[valid]
        return Responses(rows, "probabilities", valid)


@pytest.fixture(scope="module")
def watermark(compute: Compute) -> Stamp:
    return Stamp(None, TARGET, compute)


@pytest.fixture(scope="module")
def state(watermark: Stamp) -> State:
    return watermark.rekeyed(State(notes={"targets": [TARGET]}), seeds.generator(0, "released"))


@pytest.fixture(scope="module")
def images() -> ImageSet:
    pixels = torch.zeros(12, 1, 8, 8, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(12, dtype=torch.int64), ("a", "b", "c"))


def config(**changes: Any) -> AuditConfig:
    usual = {"test": "key_rank", "alpha": 0.05, "decoys": 39, "images": 12, "answered": 0.9}
    return AuditConfig(**{**usual, **changes})


def audited(suspect: Oracle, watermark: Stamp, state: State, images: ImageSet, protocol: AuditConfig) -> Finding:
    record = blank(images)
    ask(suspect, watermark, state, images, protocol, decoys(watermark, state), record, 0)
    return decide(record, protocol)


def decoys(watermark: Stamp, state: State, seed: int = 7) -> list[State]:
    return draw_decoys(watermark, state, 199, seed)


def blank(images: ImageSet) -> Record:
    return Record(CLASSES, images.labels.tolist())


def knows(state: State) -> Any:
    code = state.tensors["key.code"].numpy()
    return lambda row: 0.9 if (row == code).all() else 0.1


@pytest.mark.parametrize("test", list(KEY_TESTS))
@pytest.mark.parametrize("access", ["probabilities", "labels"])
def test_a_model_that_knows_the_key_is_found(
    test: str, access: str, compute: Compute, watermark: Stamp, state: State, images: ImageSet
) -> None:
    found = audited(Suspect(knows(state), compute, access), watermark, state, images, config(test=test))
    assert found.decision == "trained-on-it"
    assert found.p_value <= 0.05
    assert found.delta_p == pytest.approx(0.8 if access == "probabilities" else 1.0)
    assert "never" in found.reason


def test_the_sequential_test_stops_early(compute: Compute, watermark: Stamp, state: State, images: ImageSet) -> None:
    fixed = audited(Suspect(knows(state), compute), watermark, state, images, config(decoys=199))
    sequential = audited(
        Suspect(knows(state), compute), watermark, state, images, config(decoys=199, test="key_sequential")
    )
    assert sequential.decision == fixed.decision == "trained-on-it"
    assert sequential.queries <= fixed.queries / 3


INNOCENTS = {
    "fooled by any mark": lambda row: 0.99 if row.any() else 0.01,
    "constant": lambda row: 0.3,
    "disturbed by bright marks": lambda row: float(row.mean()) / 255,
    "erratic": lambda row: (int(row.astype(int) @ np.arange(1, 9)) % 97) / 97,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(INNOCENTS))
@pytest.mark.parametrize("test", list(KEY_TESTS))
@pytest.mark.parametrize("access", ["probabilities", "labels"])
def test_innocents_are_accused_at_most_alpha_of_the_time(
    name: str, test: str, access: str, compute: Compute, watermark: Stamp, images: ImageSet
) -> None:
    """The released key is drawn anew each time; the model never depends on it."""
    suspect = Suspect(INNOCENTS[name], compute, access)
    protocol = config(test=test, decoys=39, alpha=0.1)
    few = images.subset(torch.arange(2))
    accused = 0
    for number in range(120):
        state = watermark.rekeyed(State(notes={"targets": [TARGET]}), seeds.generator(number, "released"))
        record = blank(few)
        ask(suspect, watermark, state, few, protocol, decoys(watermark, state, 1000 + number), record, number)
        accused += decide(record, protocol).decision == "trained-on-it"
    assert accused <= stats.binom.ppf(0.999, 120, 0.1)


class Changing(Suspect):
    """An innocent that any mark fools, until its operator notices the audit and filters marks out."""

    def __init__(self, compute: Compute, patience: int) -> None:
        super().__init__(INNOCENTS["fooled by any mark"], compute)
        self.left = patience

    def answer(self, images: np.ndarray) -> Responses:
        self.left -= len(images)
        return super().answer(images if self.left > 0 else np.zeros_like(images))


@pytest.mark.slow
def test_an_innocent_that_changes_during_the_audit_is_not_accused_more_often(
    compute: Compute, watermark: Stamp, images: ImageSet
) -> None:
    """Whichever key is asked first is the only one with an effect: the released one must not always be that."""
    protocol, few = config(alpha=0.1), images.subset(torch.arange(2))
    accused = 0
    for number in range(200):
        state = watermark.rekeyed(State(notes={"targets": [TARGET]}), seeds.generator(number, "released"))
        record = blank(few)
        ask(Changing(compute, 5), watermark, state, few, protocol, decoys(watermark, state, number), record, number)
        accused += decide(record, protocol).decision == "trained-on-it"
    assert accused <= stats.binom.ppf(0.999, 200, 0.1)


def test_a_model_that_declines_marked_images_is_inconclusive(
    compute: Compute, watermark: Stamp, state: State, images: ImageSet
) -> None:
    suspect = Suspect(lambda row: np.nan if row.any() else 0.1, compute)
    found = audited(suspect, watermark, state, images, config())
    assert found.decision == "inconclusive"
    assert "answered only 0 %" in found.reason


def test_too_few_decoys_and_a_broken_off_audit(
    compute: Compute, watermark: Stamp, state: State, images: ImageSet
) -> None:
    found = audited(Suspect(knows(state), compute), watermark, state, images, config(decoys=9))
    assert (found.decision, found.floor) == ("inconclusive", 0.1)
    record = blank(images)
    protocol = config()
    ask(Suspect(knows(state), compute), watermark, state, images, protocol, decoys(watermark, state), record, 0)
    place = key_order(protocol, 0).index(RELEASED)
    for keys in (place, place + 2):  # broken off before the released key, and after it
        found = decide(replace(record, queries=record.queries[: 12 * (1 + keys) + 5]), protocol)
        assert (found.decision, found.p_value) == ("inconclusive", 1.0)
        assert f"broken off after {keys - (keys > place)} of up to 39" in found.reason
        assert (found.statistic is None) == (keys == place)
    with pytest.raises(ValueError, match="images without a mark"):
        decide(replace(record, queries=record.queries[:5]), protocol)


def test_conformal_p_beside_the_primary_one(compute: Compute, watermark: Stamp, state: State, images: ImageSet) -> None:
    record = blank(images)
    ask(Suspect(knows(state), compute), watermark, state, images, config(), decoys(watermark, state), record, 0)
    found = decide(record, config(), [0.0] * 18 + [99.0])
    assert found.conformal == {"p_value": 0.1, "floor": 0.05, "references": 19}
    assert found.adjusted == pytest.approx({"key_rank": 0.05, "conformal": 0.1})


def test_the_record_gives_answers_back(compute: Compute, watermark: Stamp, state: State, images: ImageSet) -> None:
    record = blank(images)
    suspect = Suspect(knows(state), compute)
    ask(suspect, watermark, state, images, config(), decoys(watermark, state), record, 0)
    marked = watermark.trigger(images.images, state).permute(0, 2, 3, 1).numpy()
    queries = record.by_key()
    again = record.responses(queries[RELEASED])
    np.testing.assert_array_equal(again.probabilities, suspect.query(marked).probabilities)
    assert len(queries[BENIGN]) == 12
    assert list(queries) == [BENIGN, *key_order(config(), 0)]


def test_verification_images_are_drawn_by_their_seed(test_set: ImageSet) -> None:
    chosen = verification_images(test_set, 20, 3)
    assert len(chosen) == 20
    assert torch.equal(chosen.images, verification_images(test_set, 20, 3).images)
    assert not torch.equal(chosen.images, verification_images(test_set, 20, 4).images)
    assert len(verification_images(test_set, 10**6, 3)) == len(test_set)


@pytest.fixture(scope="module")
def mixed() -> ImageSet:
    """Four images of each class."""
    return ImageSet(torch.zeros(12, 1, 8, 8, dtype=torch.uint8), torch.arange(12) % 3, ("a", "b", "c"))


def test_a_key_is_asked_about_images_that_are_not_of_its_class(compute: Compute, mixed: ImageSet) -> None:
    """Released key and decoys alike: leaving out only the released class would set the released key apart."""
    watermark = Stamp(None, TARGET, compute)
    state = watermark.rekeyed(State(notes={"targets": [0, 1, 2]}), seeds.generator(0, "released"))
    record = blank(mixed)
    suspect = Suspect(knows(state), compute)
    suspect.favourite = watermark.target(state)
    ask(suspect, watermark, state, mixed, config(), decoys(watermark, state), record, 0)
    assert record.targets[RELEASED] == watermark.target(state)
    assert set(record.targets) == {0, 1, 2}
    for key, queries in record.by_key().items():
        own = [query.image for query in queries]
        expected = mixed.labels != record.targets[key] if key != BENIGN else torch.ones(12, dtype=torch.bool)
        assert own == torch.nonzero(expected).flatten().tolist()
    assert decide(record, config()).decision == "trained-on-it"
    moved = replace(record, targets=[(watermark.target(state) + 1) % 3, *record.targets[1:]])
    with pytest.raises(ValueError, match="all images of other classes"):
        decide(moved, config())


@pytest.mark.slow
@pytest.mark.parametrize("favourite", range(3))
def test_an_innocent_with_a_favourite_class_is_not_accused_more_often(
    favourite: int, compute: Compute, watermark: Stamp, mixed: ImageSet
) -> None:
    """Every mark turns this model to one class: released keys that point there are no more often the highest."""
    protocol, accused = config(alpha=0.1), 0
    suspect = Suspect(lambda row: 0.2 + 0.7 * (row.sum() % 17) / 17 if row.any() else 0.1, compute)
    suspect.favourite = favourite
    for number in range(120):
        state = watermark.rekeyed(State(notes={"targets": [0, 1, 2]}), seeds.generator(number, "released"))
        record = blank(mixed)
        ask(suspect, watermark, state, mixed, protocol, decoys(watermark, state, 1000 + number), record, number)
        accused += decide(record, protocol).decision == "trained-on-it"
    assert accused <= stats.binom.ppf(0.999, 120, 0.1)


@pytest.mark.parametrize("name", list(KEY_TESTS))
def test_floors_are_what_no_loss_gives(name: str) -> None:
    test = KEY_TESTS[name](0.05, 199, 1.0)
    while not test.done:
        test.add(0.0)
    assert KEY_TESTS[name].floor(0.05, 199) <= test.p_value <= 0.05


@pytest.mark.parametrize("test", list(KEY_TESTS))
def test_a_record_that_leaves_out_decoys_accuses_nobody(
    test: str, compute: Compute, watermark: Stamp, state: State, images: ImageSet
) -> None:
    """Dropping the decoys that reach the released key would accuse anybody."""
    record, protocol = blank(images), config(test=test)
    ask(Suspect(knows(state), compute), watermark, state, images, protocol, decoys(watermark, state), record, 0)
    without = replace(record, queries=[query for query in record.queries if query.key != 1])
    if test == "key_rank":
        assert decide(without, protocol).decision == "inconclusive"
    else:
        with pytest.raises(ValueError, match="keys in turn, without gaps"):
            decide(without, protocol)
    thinned = replace(record, queries=[query for query in record.queries if (query.key, query.image) != (1, 0)])
    twice = replace(record, queries=[*record.queries, *record.by_key()[1]])
    for changed in (thinned, twice):
        with pytest.raises(ValueError, match="all images of other classes, in order"):
            decide(changed, protocol)
    assert len(record.by_key()) > 3
    with pytest.raises(ValueError, match="some of 0 to 1"):
        decide(record, config(test=test, decoys=1))


def test_decoys_come_back_from_their_file(compute: Compute, watermark: Stamp, state: State, tmp_path: Path) -> None:
    drawn = decoys(watermark, state)
    save_decoys(tmp_path / "d.safetensors", drawn)
    again = load_decoys(tmp_path / "d.safetensors", state)
    assert len(again) == len(drawn)
    for one, other in zip(drawn, again, strict=True):
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    with pytest.raises(InputError, match="not keys of this watermark"):
        load_decoys(tmp_path / "d.safetensors", State({"key.wave": torch.zeros(1)}))
