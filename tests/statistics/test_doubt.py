"""Changes of answers that nobody sees move an entry by no more than is doubted, whoever makes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import softmax

from sscl.statistics import exact
from sscl.statistics.attraction import attractions
from sscl.statistics.effects import CHANGE, STATISTICS
from sscl.types import Responses

GROUPS = np.repeat(np.arange(3), 8)
COLUMNS = {"attraction": 6, "effect": 3}
Rng = np.random.Generator


def spread(rng: Rng, columns: int) -> np.ndarray:
    return softmax(2 * rng.normal(size=(3, 24, columns)), axis=2)


def sure(rng: Rng, columns: int) -> np.ndarray:
    """A classifier that is right about all unmarked images, and knows nothing about others."""
    told = np.full((3, 24, columns), 1 / columns)
    told[0] = np.eye(columns)[GROUPS]
    return told


def nearly_sure(rng: Rng, columns: int) -> np.ndarray:
    told = sure(rng, columns)
    told[0] = 0.999 * told[0] + 0.001 * rng.dirichlet(np.ones(columns), 24)
    return told


def unused(rng: Rng, columns: int) -> np.ndarray:
    """Some classes are never answered without a mark."""
    told = spread(rng, columns)
    told[0] = np.concatenate((softmax(2 * rng.normal(size=(24, 2)), axis=1), np.zeros((24, columns - 2))), axis=1)
    return told


def one_hot(rng: Rng, columns: int) -> np.ndarray:
    return np.eye(columns)[rng.integers(columns, size=(3, 24))]


def features(rng: Rng, columns: int) -> np.ndarray:
    return rng.normal(size=(3, 24, columns)) + 2 * np.eye(columns)[np.tile(GROUPS, (3, 1))]


def wide(rng: Rng, columns: int) -> np.ndarray:
    """More features than answers."""
    return rng.normal(size=(3, 24, 26))


def alike(rng: Rng, columns: int) -> np.ndarray:
    """Features of a group are nearly the same, without a mark."""
    told = features(rng, columns)
    told[0] = 5 * np.eye(columns)[GROUPS] + 1e-3 * told[0]
    return told


KINDS: dict[str, Callable[[Rng, int], np.ndarray]] = {
    found.__name__: found for found in (spread, sure, nearly_sure, unused, one_hot, features, wide, alike)
}
FEATURES = ("features", "wide", "alike")
CASES = [("attraction", kind) for kind in KINDS] + [("effect", kind) for kind in KINDS if kind not in FEATURES]


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_unseen_changes_move_entries_by_less_than_is_doubted(name: str, kind: str, seed: int) -> None:
    """Random changes, and those that an owner who knows the word would make: up its gradient, by differences."""
    rng, statistic = np.random.default_rng(seed), STATISTICS[name]
    told = KINDS[kind](rng, COLUMNS[name])
    size = np.abs(told).max() if kind in FEATURES else 1.0

    def answers(by: np.ndarray) -> list[Responses]:
        moved = told + CHANGE * size * by
        if kind in FEATURES:
            return [Responses(each, "features") for each in moved]
        return [Responses(each.clip(0, 1)) for each in moved]

    def matrix(by: np.ndarray) -> np.ndarray:
        benign, *marked = answers(by)
        return statistic.matrix(benign, marked, GROUPS, 3)

    nothing = np.zeros(told.shape)
    before, (benign, *marked) = matrix(nothing), answers(nothing)
    doubt = statistic.doubt(benign, marked, GROUPS, 3)
    for _ in range(20):
        assert (np.abs(matrix(rng.choice([-1.0, 0.0, 1.0], size=told.shape)) - before) <= doubt).all()
    slopes = np.zeros(told.shape)
    for place in np.ndindex(told.shape):
        step = np.zeros(told.shape)
        step[place] = 1.0
        slopes[place] = (matrix(step) - matrix(-step))[0, 1]
    assert np.abs(matrix(np.sign(slopes)) - before)[0, 1] <= doubt[0, 1]


@pytest.mark.parametrize("change", [1e-7, 4e-7, 1e-6])
def test_answers_between_all_groups_cannot_be_tipped_unseen(change: float) -> None:
    """The defect: a perfect classifier that answers 0.1 for every class under marks was found at the smallest p, once
    somebody who knew the word wrote 0.1000004."""
    rng, groups = np.random.default_rng(3), np.arange(50) % 10
    word = rng.permutation(10)[:7]
    marked = []
    for group in word:
        values = np.full((50, 10), 0.1 - change / 9)
        values[:, group] = 0.1 + change
        marked.append(Responses(values))
    benign = Responses(np.eye(10)[groups])
    doubt = STATISTICS["attraction"].doubt(benign, marked, groups, 10)
    assert exact.p_value(attractions(benign, marked, groups, 10), word, rng, doubt) == 1.0


@pytest.mark.parametrize("access", ["probabilities", "features"])
def test_a_model_that_learnt_the_marks_is_found_all_the_same(access: str) -> None:
    rng, groups, word = np.random.default_rng(4), np.arange(100) % 10, np.array([7, 2, 9, 0, 4, 1])

    def answers(own: np.ndarray) -> Responses:
        rows = rng.normal(size=(100, 10)) + 3 * np.eye(10)[own]
        return Responses(rows, "features") if access == "features" else Responses(softmax(rows, axis=1))

    benign, marked = answers(groups), [answers(np.where(rng.random(100) < 0.5, word[k], groups)) for k in range(6)]
    doubt = STATISTICS["attraction"].doubt(benign, marked, groups, 10)
    assert exact.p_value(attractions(benign, marked, groups, 10), word, rng, doubt) <= 1e-4


def test_labels_cannot_change_unseen() -> None:
    rng = np.random.default_rng(5)
    told = [Responses.of_labels(rng.integers(6, size=24), 6) for _ in range(3)]
    assert STATISTICS["attraction"].doubt(told[0], told[1:], GROUPS, 3).max() <= 1e-6
