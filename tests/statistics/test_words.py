from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sscl.errors import ConfigError
from sscl.keystream import Keystream
from sscl.statistics import words

SMALL = [(1, 2), (2, 2), (3, 2), (5, 2), (2, 3), (3, 3), (4, 3), (7, 3), (3, 5), (4, 4)]


def every_word(marks: int, groups: int) -> list[tuple[int, ...]]:
    """By trying all assignments: an independent view of what a word is."""
    found = []
    for word in itertools.product(range(groups), repeat=marks):
        uses = [word.count(group) for group in range(groups)]
        if max(uses) - min(uses) <= 1:
            found.append(word)
    return found


@pytest.mark.parametrize(("marks", "groups"), SMALL)
def test_the_count_is_that_of_trying_all(marks: int, groups: int) -> None:
    assert words.count(marks, groups) == len(every_word(marks, groups))


@pytest.mark.parametrize(("marks", "expected"), [(4, 5040), (5, 30_240), (10, 3_628_800)])
def test_ten_groups_as_published_in_any_table_of_permutations(marks: int, expected: int) -> None:
    assert words.count(marks, 10) == expected == math.perm(10, marks)
    assert words.floor(marks, 10) == 1 / expected


@pytest.mark.parametrize(("marks", "groups"), SMALL)
def test_drawn_words_are_words_and_all_are_equally_likely(marks: int, groups: int) -> None:
    drawn = words.draw(marks, groups, np.random.default_rng(0), 20_000)
    assert all(words.is_word(word, groups) for word in drawn[:100])
    seen = Counter(map(tuple, drawn.tolist()))
    assert set(seen) == set(every_word(marks, groups))
    assert stats.chisquare(list(seen.values())).pvalue > 1e-4


@pytest.mark.parametrize(("marks", "groups"), SMALL)
def test_chances_are_shares_of_the_words(marks: int, groups: int) -> None:
    everything = every_word(marks, groups)
    for word in everything[:: max(1, len(everything) // 7)]:
        for position in range(marks):
            same = [other[position] for other in everything if other[:position] == word[:position]]
            expected = np.bincount(same, minlength=groups) / len(same)
            uses = np.bincount(word[:position], minlength=groups)
            assert words.chances(uses, marks) == pytest.approx(expected)


@given(st.integers(1, 12), st.integers(2, 1000))
@settings(max_examples=30, deadline=None)
def test_a_thousand_groups(marks: int, groups: int) -> None:
    (word,) = words.draw(marks, groups, np.random.default_rng(marks))
    assert words.is_word(word, groups)
    assert 1 / words.ENUMERATED <= words.floor(marks, groups) <= 1


def test_words_that_are_drawn_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that has less memory than the audit had must draw the same null distribution."""
    whole = words.draw(7, 10, Keystream(bytes(32)), 1000)
    monkeypatch.setattr(words, "AT_A_TIME", 7)
    assert (words.draw(7, 10, Keystream(bytes(32)), 1000) == whole).all()


def test_two_classes_need_more_marks_than_ten() -> None:
    needed = words.marks_needed(2, 1e-4)
    assert needed == 15
    assert words.floor(needed, 2) == 1 / (2 * math.comb(15, 7))
    assert words.floor(needed - 1, 2) > 1e-4
    assert words.marks_needed(10, 1e-4) == 5


def test_what_no_number_of_marks_can_give() -> None:
    with pytest.raises(ConfigError, match="groups: 1 is not possible, expected 2 or more"):
        words.marks_needed(1, 0.01)
    with pytest.raises(ConfigError, match="alpha: 1e-07 is not possible, expected at least 1e-06"):
        words.marks_needed(10, 1e-7)


@pytest.mark.parametrize("word", [[0, 0, 1], [0, 1, 3], [-1, 0, 1], []])
def test_what_is_no_word(word: list[int]) -> None:
    assert not words.is_word(np.array(word, dtype=int), 3)
