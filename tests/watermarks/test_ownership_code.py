"""The ownership code as a watermark: strengths, words, and what is told to whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sscl import seeds
from sscl.compute import Compute
from sscl.config import EmbedConfig, TrainConfig
from sscl.errors import ConfigError, InputError
from sscl.models import build
from sscl.perceptual import LPIPS, lpips_at
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext, State, budget
from sscl.watermarks.ownership_code import (
    PREFERENCE,
    STRENGTHS,
    Options,
    OwnershipCode,
    largest,
    marks_digest,
    with_word,
)
from tests.conftest import shapes

USUAL: dict[str, object] = {"family": "waves", "marks": 3, "visible": 0.02, "eps": 24 / 255, "query_eps": 8 / 255}
USUAL |= {"choose": "hardest", "share": 1.0, "jpeg_quality": None}
TRAINING = TrainConfig("baseline_cnn", 1, 32, "adam", 1e-3, 0.0, "constant", "none")


def made(compute: Compute, seed: int = 0, **changes: object) -> tuple[OwnershipCode, State]:
    watermark = OwnershipCode(Options(**{**USUAL, **changes}), 0, compute)  # type: ignore[arg-type]
    surrogate = compute.place(build("baseline_cnn", 3, 32, classes=3))
    key = seeds.secret(seed, None)
    state = watermark.fit(shapes(60, 1, size=32, channels=3), surrogate, FitContext(compute, key, 0, "g", TRAINING))
    return watermark, state


def test_images_on_which_no_mark_is_faint_enough_stop_the_run(compute: Compute) -> None:
    """The defect: strengths were 0, and an unmarked set was committed to, packaged and called invisible."""
    with pytest.raises(InputError, match=r"visible: 1e-09 allows no mark on these images; raise it"):
        made(compute, visible=1e-9)
    with pytest.raises(InputError, match=r"JPEG at 5 alone has an LPIPS of 0\.\d+; set jpeg_quality: null"):
        made(compute, jpeg_quality=5)


def test_marks_are_as_visible_as_they_may_be(compute: Compute) -> None:
    watermark, state = made(compute)
    images, lpips = shapes(60, 1, size=32, channels=3).images, LPIPS()
    for mark, strength in enumerate(state.tensors[STRENGTHS].tolist()):

        def seen(eps: float, mark: int = mark) -> float:
            marked = watermark.marked(images, torch.full((60,), mark), torch.full((60,), eps), state)
            return float(lpips_at(lpips, images, marked).mean())

        assert seen(strength) <= 0.02 * 1.01
        assert strength == pytest.approx(24 / 255) or seen(strength + 1 / 255) > 0.02 * 0.99


@given(most=st.integers(1, 255), limit=st.integers(0, 255), guess=st.integers(0, 255), power=st.floats(0, 9))
def test_the_largest_strength_is_found_from_any_guess(most: int, limit: int, guess: int, power: float) -> None:
    tried: list[int] = []

    def distance(number: int) -> float:
        tried.append(number)
        return float(number**power) if number <= limit else number**power + 1e-9 + limit**power

    assert largest(distance, float(limit**power), most, guess) == min(most, limit)
    assert all(1 <= number <= most for number in tried)
    assert len(tried) == len(set(tried)) <= 3 * most.bit_length() + 1


def test_nothing_depends_on_the_word_but_where_marks_go(compute: Compute) -> None:
    """The list of queries of two words is identical, and so is the digest that is committed to."""
    watermark, state = made(compute)
    images = shapes(9, 3, size=32, channels=3).images
    one, other = (with_word(state, torch.tensor(word)) for word in ([0, 1, 2], [2, 0, 1]))
    for mark in range(3):
        assert torch.equal(watermark.asked(images, mark, one), watermark.asked(images, mark, other))
        assert torch.equal(watermark.asked(images, mark, one), watermark.asked(images, mark, state))
    assert torch.equal(watermark.trigger(images, one), watermark.trigger(images, other))
    assert marks_digest(one) == marks_digest(other) == marks_digest(state)
    with pytest.raises(ValueError, match="no word yet"):
        watermark.targets(state)


def test_each_mark_goes_to_its_class_alone(compute: Compute) -> None:
    watermark, state = made(compute)
    data, word = shapes(90, 4, size=32, channels=3), torch.tensor([2, 0, 1])
    coded = with_word(state, word)
    marked = watermark.embed(data, EmbedConfig(0.2, "dataset"), coded, seeds.secret(1, None))
    assert data.labels[marked.indices].bincount().tolist() == [6, 6, 6]
    for mark, group in enumerate(word.tolist()):
        mine = marked.indices[data.labels[marked.indices] == group]
        strengths = state.tensors[STRENGTHS][torch.full((len(mine),), mark)]
        expected = watermark.marked(data.images[mine], torch.full((len(mine),), mark), strengths, coded)
        assert torch.equal(marked.data.images[mine], expected)


def test_more_marks_than_classes_share_a_class(compute: Compute) -> None:
    watermark, state = made(compute, marks=5)
    word = torch.tensor([0, 1, 2, 0, 1])
    groups = watermark.shares(torch.arange(30) % 3, with_word(state, word))
    assert [share for _, share in groups] == pytest.approx([0.4, 0.4, 0.2])
    data = shapes(90, 4, size=32, channels=3)
    marked = watermark.embed(data, EmbedConfig(0.5, "dataset"), with_word(state, word), seeds.secret(1, None))
    assert data.labels[marked.indices].bincount().tolist() == [18, 18, 9]


def test_marks_go_to_the_harder_images_of_a_class(compute: Compute) -> None:
    watermark, state = made(compute, share=0.25)
    labels, loss = shapes(60, 1).labels, torch.arange(60.0)
    coded = with_word(replace(state, tensors={**state.tensors, PREFERENCE: loss}), torch.tensor([2, 0, 1]))
    for group, _ in watermark.shares(labels, coded):
        assert group.tolist() == [n for n in range(60) if labels[n] == labels[group[0]]][-5:]
    assert len(state.tensors[PREFERENCE]) == 60
    other_dataset = watermark.shares(torch.arange(90) % 3, coded)
    assert [len(group) for group, _ in other_dataset] == [30, 30, 30]


def test_queries_are_within_their_strength(compute: Compute) -> None:
    watermark, state = made(compute)
    images = shapes(9, 3, size=32, channels=3).images
    change = (watermark.asked(images, 1, state).int() - images.int()).abs().max()
    assert change == budget(8 / 255)


def test_another_key_gives_other_marks(compute: Compute) -> None:
    images = shapes(3, 3, size=32, channels=3).images
    (watermark, one), (_, other) = made(compute), made(compute, seed=1)
    assert not torch.equal(watermark.asked(images, 0, one), watermark.asked(images, 0, other))


def test_impossible_options(compute: Compute) -> None:
    for change, message in (
        ({"family": "stripes"}, "family: 'stripes' is not possible, expected one of"),
        ({"marks": 99}, "marks: 99 is not possible, expected 1 to"),
        ({"visible": 0}, "visible: 0 is not possible"),
        ({"query_eps": 0}, "query_eps: 0 is not possible"),
        ({"share": 0}, "share: 0 is not possible, expected a share"),
        ({"jpeg_quality": 0}, "jpeg_quality: 0 is not possible"),
    ):
        with pytest.raises(ConfigError, match=message):
            Options(**{**USUAL, **change})  # type: ignore[arg-type]
    watermark, _ = made(compute)
    data = shapes(9, 1, size=32, channels=3)
    alike = ImageSet(data.images, torch.zeros(9, dtype=torch.int64), data.class_names)
    context = FitContext(compute, seeds.secret(0, None), 0, "g", TRAINING)
    with pytest.raises(InputError, match="all images are of one class"):
        watermark.fit(alike, build("baseline_cnn", 3, 32, classes=3), context)
    assert replace(watermark.options, marks=2).marks == 2
