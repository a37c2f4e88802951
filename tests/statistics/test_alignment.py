from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from sscl.statistics import exact
from sscl.statistics.alignment import NEAREST, VIEWS, alignments, doubts
from sscl.statistics.effects import CHANGE, SMOOTH
from sscl.types import Responses

GROUPS = np.repeat(np.repeat(np.arange(3), 2), VIEWS)  # two images of each of three groups


def answers(access: str, rng: np.random.Generator, rows: np.ndarray | None = None, columns: int = 5) -> Responses:
    found = rng.normal(size=(len(GROUPS), columns)) if rows is None else rows
    if access == "features":
        return Responses(found, "features")
    if access == "labels":
        return Responses.of_labels(found.argmax(axis=1), found.shape[1])
    return Responses(np.exp(found) / np.exp(found).sum(axis=1, keepdims=True))


def root(answers: Responses) -> np.ndarray:
    found: np.ndarray = np.sqrt(answers.values + SMOOTH) - np.sqrt(SMOOTH)
    return found


def loss(rows: np.ndarray) -> float:
    """Of some images, by scipy."""
    distance = np.mean([pdist(views, "cosine").mean() for views in rows.reshape(-1, VIEWS, rows.shape[1])])
    return float(np.log(distance + NEAREST))


@pytest.mark.parametrize("access", ["probabilities", "labels", "features"])
def test_an_entry_is_the_mean_distance_between_views_as_scipy_takes_it(access: str) -> None:
    rng = np.random.default_rng(0)
    benign, marked = answers(access, rng), [answers(access, rng), answers(access, rng)]
    found = alignments(benign, marked, GROUPS, 3)
    assert found.shape == (2, 3)
    for k in range(2):
        mean = benign.values.mean(axis=0)
        rows, plain = (r.values - mean if access == "features" else root(r) for r in (marked[k], benign))
        for c in range(3):
            assert found[k, c] == pytest.approx(loss(plain[c == GROUPS]) - loss(rows[c == GROUPS]), abs=1e-5)


def test_images_with_a_view_that_was_not_answered_do_not_count() -> None:
    rng = np.random.default_rng(1)
    benign, marked = answers("probabilities", rng), answers("probabilities", rng)
    answered = np.ones(len(GROUPS), dtype=bool)
    answered[[1, *range(4 * VIEWS, 6 * VIEWS)]] = False  # one of two images of group 0, and all of group 2
    silent = Responses(np.where(answered[:, None], marked.values, 0.0), "probabilities", answered)
    whole, found = alignments(benign, [marked], GROUPS, 3)[0], alignments(benign, [silent], GROUPS, 3)[0]
    rows, plain = root(marked), root(benign)
    assert found[0] == pytest.approx(loss(plain[GROUPS == 0]) - loss(rows[VIEWS : 2 * VIEWS]), abs=1e-5)
    assert found[1] == whole[1]
    everything = loss(rows[VIEWS : 4 * VIEWS])  # where a group has none, all that were answered
    assert found[2] == pytest.approx(loss(plain[GROUPS == 2]) - everything, abs=1e-5)
    nobody = Responses(np.zeros((24, 5)), "probabilities", np.zeros(24, dtype=bool))
    assert np.isfinite(alignments(nobody, [nobody], GROUPS, 3)).all()


def test_views_that_are_answered_alike_are_nearest() -> None:
    rng = np.random.default_rng(2)
    benign = answers("features", rng)
    marked = rng.normal(size=(24, 5))
    marked[GROUPS == 1] = np.repeat(rng.normal(size=(2, 5)), VIEWS, axis=0)
    found = alignments(benign, [answers("features", rng, marked)], GROUPS, 3)[0]
    assert found.argmax() == 1
    assert found[1] > 5


def test_what_a_group_is_by_itself_is_no_effect() -> None:
    """Views of group 2 are near each other without a mark, too."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(2, 24, 5))
    rows[:, GROUPS == 2] = 0.01 * rows[:, GROUPS == 2] + 1
    benign, marked = (Responses(each, "features") for each in rows)
    assert np.abs(alignments(benign, [marked], GROUPS, 3)).max() < 1


@pytest.mark.parametrize("access", ["top_k", "labels"])
def test_two_groups_and_short_answers_will_do(access: str) -> None:
    rng, groups = np.random.default_rng(6), np.repeat([0, 1, 0], VIEWS)
    rows = rng.dirichlet(np.ones(4), 12)
    if access == "top_k":
        rows = np.where(rows >= np.sort(rows, axis=1)[:, -2:-1], rows, 0.0)
        told = Responses(rows, "top_k")
    else:
        told = Responses.of_labels(rows.argmax(axis=1), 4)
    matrix = alignments(told, [told.take(rng.permutation(12)), told], groups, 2)
    assert matrix.shape == (2, 2)
    assert not matrix[1].any()


def test_features_of_any_size_are_compared() -> None:
    rng = np.random.default_rng(7)
    benign, marked = rng.normal(size=(24, 5)), rng.normal(size=(24, 5))
    plain = alignments(Responses(benign, "features"), [Responses(marked, "features")], GROUPS, 3)
    for power in (-1000, 1000):
        huge = [Responses(np.ldexp(rows, power), "features") for rows in (benign, marked)]
        np.testing.assert_array_equal(alignments(huge[0], huge[1:], GROUPS, 3), plain)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_features_may_be_rotated_scaled_and_shifted(scale: float) -> None:
    rng = np.random.default_rng(3)
    benign, marked = rng.normal(size=(24, 5)), rng.normal(size=(24, 5))
    turn, shift = np.linalg.qr(rng.normal(size=(5, 5)))[0], rng.normal(size=5)
    plain = alignments(Responses(benign, "features"), [Responses(marked, "features")], GROUPS, 3)
    moved = [Responses(scale * (rows @ turn + shift), "features") for rows in (benign, marked)]
    np.testing.assert_allclose(alignments(moved[0], moved[1:], GROUPS, 3), plain, atol=2e-6)


@pytest.mark.parametrize("kind", ["probabilities", "labels", "features", "nearly alike", "sure", "nearly all one"])
@pytest.mark.parametrize("seed", range(3))
def test_unseen_changes_of_answers_change_entries_by_less_than_is_doubted(kind: str, seed: int) -> None:
    """Random changes, and those that an owner who knows the word would make: up its gradient, by differences."""
    rng = np.random.default_rng(seed)
    rows, size = rng.normal(size=(2, 24, 5)), 1.0
    if kind == "nearly alike":  # views differ by some hundred changes
        rows = np.repeat(rows[:, ::VIEWS], VIEWS, axis=1) + 1e-4 * rows
    elif kind == "sure":
        rows *= 30
    elif kind == "nearly all one":
        rows[:] = np.where(np.arange(24)[:, None] == 7, rows, 1 + 1e-7 * rows)
    access = "features" if kind in ("features", "nearly alike", "nearly all one") else "probabilities"
    told = [answers("labels" if kind == "labels" else access, rng, each) for each in rows]
    plain = [Responses(each.values, access) for each in told]
    if access == "features":
        size = max(np.abs(each.values).max() for each in plain)

    def changed(by: np.ndarray) -> list[Responses]:
        moved = [each.values + CHANGE * size * b for each, b in zip(plain, by, strict=True)]
        return [Responses(each if access == "features" else each.clip(0, 1), access) for each in moved]

    def matrix(told: list[Responses]) -> np.ndarray:
        return alignments(told[0], told[1:], GROUPS, 3)

    before, doubt = matrix(plain), doubts(plain[0], plain[1:], GROUPS, 3)
    for _ in range(20):
        sign = rng.choice([-1.0, 1.0], size=rows.shape)
        assert (np.abs(matrix(changed(sign)) - before) <= doubt).all()
    slopes = np.zeros(rows.shape)
    for place in np.ndindex(rows.shape):
        step = np.zeros(rows.shape)
        step[place] = 1.0
        slopes[place] = (matrix(changed(10 * step)) - matrix(changed(-10 * step)))[0, 1]
    assert np.abs(matrix(changed(np.sign(slopes))) - before)[0, 1] <= doubt[0, 1]


def test_answers_that_differ_in_their_last_digits_alone_accuse_nobody() -> None:
    """The defect: a root is infinitely steep at 0, so changes of 1e-6 gave the smallest p in evidence that checked."""
    rng, word, groups = np.random.default_rng(8), np.arange(5), np.repeat(np.arange(10), 2 * VIEWS)
    sure = np.repeat(rng.dirichlet(np.full(1000, 0.002), 20), VIEWS, axis=0)
    up = np.where(((np.arange(80) % VIEWS < 2)[:, None]) & (sure < 1e-6), sure + 1e-6, sure)
    marked = [np.where((groups == c)[:, None], sure, up) for c in word]
    told = [Responses(each) for each in (up, *marked)]
    matrix, doubt = alignments(told[0], told[1:], groups, 10), doubts(told[0], told[1:], groups, 10)
    assert exact.Null.of(matrix, rng, doubt).p_value(word) == 1.0


def test_constant_answers_say_nothing() -> None:
    same = Responses(np.full((24, 5), 0.2))
    matrix = alignments(same, [same] * 3, GROUPS, 3)
    assert exact.p_value(matrix, np.arange(3), np.random.default_rng(0)) == 1.0


def test_answers_to_other_views_are_refused() -> None:
    rng = np.random.default_rng(4)
    benign, marked = answers("features", rng), answers("features", rng)
    with pytest.raises(ValueError, match="24 answers are not to 4 views of each image, one image's after another's"):
        alignments(benign, [marked], np.tile(np.arange(3), 8), 3)
    some = np.arange(6)
    with pytest.raises(ValueError, match="6 answers are not to 4 views"):
        alignments(benign.take(some), [marked.take(some)], np.zeros(6, dtype=int), 3)
    with pytest.raises(ValueError, match="must be to the same images"):
        alignments(benign, [], GROUPS, 3)
