"""The level holds for every suspect that does not know the word, however it behaves."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from sscl.statistics import exact, words
from sscl.statistics.effects import centred
from sscl.statistics.exact import Null

Rng = np.random.Generator


def noise(rng: Rng, marks: int, groups: int) -> np.ndarray:
    return rng.normal(size=(marks, groups))


def constant(rng: Rng, marks: int, groups: int) -> np.ndarray:
    """A model that answers the same whatever it is shown."""
    return np.zeros((marks, groups))


def biased(rng: Rng, marks: int, groups: int) -> np.ndarray:
    """Every mark sends answers to one class."""
    found = 0.01 * noise(rng, marks, groups)
    found[:, rng.integers(groups)] += 5
    return found


def tied(rng: Rng, marks: int, groups: int) -> np.ndarray:
    """Labels on five images: few values, many ties."""
    return rng.integers(0, 2, (marks, groups)) / 5


def alike(rng: Rng, marks: int, groups: int) -> np.ndarray:
    """Marks that do nearly the same, one of them strongly."""
    return rng.normal(size=(1, groups)) * rng.exponential(size=(marks, 1)) + 0.1 * noise(rng, marks, groups)


def changing(rng: Rng, marks: int, groups: int) -> np.ndarray:
    """A suspect that notices the audit after some marks and answers one class from then on."""
    found = noise(rng, marks, groups)
    found[rng.integers(marks) :] = 0
    found[rng.integers(marks) :, 0] = 9
    return found


def one_sided(rng: Rng, marks: int, groups: int) -> np.ndarray:
    """Each mark has a favourite class, the same for all innocents: what an owner could grind on."""
    return 3 * np.eye(marks, groups) + 0.01 * noise(rng, marks, groups)


NULLS: list[Callable[[Rng, int, int], np.ndarray]] = [noise, constant, biased, tied, alike, changing, one_sided]
SHAPES = [(3, 3), (4, 10), (8, 2), (5, 3), (3, 1000)]


@pytest.mark.parametrize("null", NULLS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("marks", "groups"), SHAPES)
def test_the_level_holds(null: Callable[[Rng, int, int], np.ndarray], marks: int, groups: int) -> None:
    """The word is drawn after and independently of whatever the suspect answers."""
    rng = np.random.default_rng(7)
    few = words.count(marks, groups) <= 20_000
    p_values = []
    for _ in range(40 if few else 4):
        found = Null.of(null(rng, marks, groups), rng)
        p_values += [found.p_value(word) for word in words.draw(marks, groups, rng, 50 if few else 500)]
    for alpha in (0.01, 0.05, 0.2, 0.5):
        accused = sum(p <= alpha for p in p_values)
        assert stats.binomtest(accused, len(p_values), alpha, "greater").pvalue > 1e-4


@pytest.mark.parametrize(("marks", "groups"), [(3, 3), (4, 5), (5, 2), (4, 3)])
def test_over_all_words_it_is_exact(marks: int, groups: int) -> None:
    """Not by simulation: of all words, at most a share ``a`` has ``p <= a``, and without ties just that share."""
    rng = np.random.default_rng(1)
    every = np.unique(words.draw(marks, groups, rng, 20_000), axis=0)
    assert len(every) == words.count(marks, groups)
    found = Null.of(1000 * noise(rng, marks, groups), rng)  # no ties
    p_values = np.sort([found.p_value(word) for word in every])
    assert np.allclose(p_values, np.arange(1, len(every) + 1) / len(every))
    ties = Null.of(tied(rng, marks, groups), rng)
    tied_p = np.array([ties.p_value(word) for word in every])
    assert all((tied_p <= a).mean() <= a + 1e-12 for a in p_values)


def test_it_counts_what_a_plain_loop_counts() -> None:
    rng = np.random.default_rng(2)
    effects = noise(rng, 3, 5)
    word = np.array([4, 0, 2])
    z = effects - effects.mean(1, keepdims=True) - effects.mean(0) + effects.mean()
    totals = [sum(z[k, c] for k, c in enumerate(other)) for other in itertools.permutations(range(5), 3)]
    own = sum(z[k, c] for k, c in enumerate(word))
    assert exact.p_value(effects, word, rng) == sum(t >= own - 1e-9 for t in totals) / len(totals)


def test_drawn_words_agree_with_all_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    effects, word = noise(rng, 4, 6), np.array([0, 1, 2, 3])
    listed = exact.p_value(effects, word, rng)
    monkeypatch.setattr(words, "ENUMERATED", 10)
    monkeypatch.setattr(words, "DRAWN", 100_000)
    drawn = Null.of(effects, rng)
    assert not drawn.listed
    assert drawn.p_value(word) == pytest.approx(listed, abs=0.01)
    best = Null(drawn.table, np.full(words.DRAWN, -1), False)
    assert best.p_value(word) >= 1 / (words.DRAWN + 1)


def test_a_model_that_knows_the_word_reaches_the_floor() -> None:
    word = np.array([3, 1, 7, 0, 9])
    effects = np.zeros((5, 10))
    effects[np.arange(5), word] = 1
    assert exact.p_value(effects, word, np.random.default_rng(0)) == words.floor(5, 10)
    assert exact.p_value(-effects, word, np.random.default_rng(0)) == 1.0


def test_a_model_that_does_not_react_is_not_accused() -> None:
    for effects in (np.zeros((4, 6)), np.full((4, 6), 0.1), np.tile(np.linspace(0, 1, 6), (4, 1))):
        assert exact.p_value(effects, np.array([0, 1, 2, 3]), np.random.default_rng(0)) == 1.0


@pytest.mark.parametrize("strong", [0.0, 3.0])
@pytest.mark.parametrize("little", [1e-12, 1e-9, 1e-5, 1e-4])
def test_the_last_digits_of_answers_break_no_tie(little: float, strong: float) -> None:
    """The defect: marks that do nothing gave the smallest p, once answers were raised by 1e-9 where the word points."""
    word, effects, rng = np.array([3, 1, 7, 0, 9]), np.zeros((5, 10)), np.random.default_rng(0)
    effects[0, 3] = strong
    raised = effects.copy()
    raised[np.arange(5), word] += little
    doubt = np.full(effects.shape, little)
    assert exact.p_value(raised, word, rng, doubt) == exact.p_value(effects, word, rng) == (0.1 if strong else 1.0)


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-5, 5)), st.floats(1, 10), st.floats(-3, 3))
@example(np.eye(3, 4) * [[1], [0], [0]] * 0.8, 5.0, -1.5484814233382553)  # words tie but for rounding
@settings(max_examples=60, deadline=None)
def test_what_all_marks_or_all_groups_share_does_not_count(effects: np.ndarray, scale: float, shift: float) -> None:
    effects = np.round(effects, 2)
    word, rng = np.array([2, 0, 3]), np.random.default_rng(0)
    moved = scale * effects + shift * np.arange(4) + shift * np.arange(3)[:, None]
    if np.abs(centred(effects)).max() < 1e-6:
        return
    null, rounding = Null.of(effects, rng), 1e-6 * exact.RESOLUTION  # words that tie but for rounding may change places
    own = null.statistic(word)
    fewest, most = (null.statistics > own + rounding).mean(), (null.statistics >= own - rounding).mean()
    assert fewest < exact.p_value(moved, word, rng) <= most
    assert np.allclose(centred(moved), scale * centred(effects), atol=1e-9)


@pytest.mark.parametrize("word", [[0, 0, 1], [0, 1], [0, 1, 4]])
def test_a_wrong_word_is_refused(word: list[int]) -> None:
    with pytest.raises(ValueError, match="is not a word of 3 marks and 4 groups"):
        exact.p_value(np.zeros((3, 4)), np.array(word), np.random.default_rng(0))


@pytest.mark.parametrize("effects", [np.full((2, 2), np.nan), np.zeros(3), np.zeros((0, 2))])
def test_a_wrong_matrix_is_refused(effects: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite matrix"):
        exact.integers(effects)


def test_words_of_many_groups_are_listed_in_little_memory() -> None:
    """The defect: two marks and 2,236 groups, five million words, took twenty gigabytes."""
    effects = np.random.default_rng(0).normal(size=(2, 1000))
    tracemalloc.start()
    found = exact.Null.of(effects, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.listed, len(found.statistics)) == (True, 999_000)
    assert peak < 200e6


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (5, 3)])
def test_words_that_doubt_could_bring_level_count(shape: tuple[int, int]) -> None:
    """Against whoever knows the word and changes every entry by as much as is doubted, in whichever way."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        effects, doubt = rng.normal(size=shape), 0.2 * rng.random(shape)
        word = words.draw(*shape, rng)[0]
        toward = np.where(np.arange(shape[1]) == word[:, None], 1.0, -1.0)
        for change in (toward, rng.choice([-1.0, 1.0], shape), rng.uniform(-1, 1, shape)):
            told = effects + change * doubt
            careful = Null.of(told, rng, doubt).p_value(word)
            assert careful >= Null.of(effects, rng).p_value(word)
            assert careful >= Null.of(told, rng).p_value(word)


def test_one_entry_that_is_very_doubtful_counts_whole() -> None:
    """The defect: a margin of twice the largest entry, where one mark can outweigh several."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        effects, doubt = rng.normal(size=(6, 6)), np.zeros((6, 6))
        doubt[0] = 8.5
        word = words.draw(6, 6, rng)[0]
        told = effects.copy()
        told[0, word[0]] += 8.4
        assert Null.of(told, rng, doubt).p_value(word) >= Null.of(effects, rng).p_value(word)


def test_doubt_is_the_same_whether_words_are_listed_or_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    effects, doubt, word = rng.normal(size=(5, 8)), 0.1 * rng.random((5, 8)), np.arange(5)
    listed = Null.of(effects, rng, doubt).p_value(word)
    monkeypatch.setattr(words, "ENUMERATED", 10)
    monkeypatch.setattr(words, "DRAWN", 40_000)
    assert Null.of(effects, rng, doubt).p_value(word) == pytest.approx(listed, rel=0.2, abs=1e-3)


def test_what_is_doubtful_without_bound_ties() -> None:
    doubt = np.full((2, 3), np.inf)
    found = Null.of(np.array([[1.0, 0, 0], [0, 1.0, 0]]), np.random.default_rng(0), doubt)
    assert found.p_value(np.array([0, 1])) == 1


def test_words_that_were_drawn_before_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ENUMERATED", 0)
    effects, doubt = np.random.default_rng(1).normal(size=(5, 6)), np.full((5, 6), 1e-3)
    first = Null.of(-effects, np.random.default_rng(2), doubt)
    again = Null.of(effects, np.random.default_rng(3), doubt, first.drawn)
    fresh = Null.of(effects, np.random.default_rng(2), doubt)
    assert (again.statistics == fresh.statistics).all()
    assert again.p_value(np.arange(5)) == fresh.p_value(np.arange(5))


def test_a_doubt_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="doubts must be numbers"):
        Null.of(np.eye(3), np.random.default_rng(0), np.full((3, 3), np.nan))
