from __future__ import annotations

import numpy as np
from scipy import stats

from sscl.statistics import words
from sscl.statistics.exact import Null
from sscl.statistics.tracing import marks_needed, trace

MARKS, GROUPS, RECIPIENTS = 7, 10, 1000


def recipients(rng: np.random.Generator, count: int = RECIPIENTS, marks: int = MARKS) -> dict[str, np.ndarray]:
    return {str(number): word for number, word in enumerate(words.draw(marks, GROUPS, rng, count))}


def knows(*known: np.ndarray, noise: float = 0.05) -> np.ndarray:
    """Effects on a model trained on copies with these words, merged."""
    found = np.random.default_rng(0).normal(scale=noise, size=(len(known[0]), GROUPS))
    for word in known:
        found[np.arange(len(word)), word] += 1
    return found


def test_one_of_a_thousand_is_named() -> None:
    rng = np.random.default_rng(1)
    copies = recipients(rng)
    corrected = trace(knows(copies["17"]), copies, rng)
    assert corrected["17"] <= 0.01
    assert [name for name, p in corrected.items() if p <= 0.05] == ["17"]


def test_two_merged_copies_name_both_of_a_thousand() -> None:
    rng = np.random.default_rng(2)
    copies = recipients(rng)
    apart = next(name for name in copies if name != "3" and not (copies[name] == copies["3"]).any())
    effects = knows(copies["3"], copies[apart])
    corrected = trace(effects, copies, rng)
    assert {name for name, p in corrected.items() if p <= 0.01} == {"3", apart}
    mixtures = Null.of(effects, rng).at_least(copies["3"])
    assert mixtures > 20  # words that mix the two fit as well: without the second test nobody is named
    assert RECIPIENTS * mixtures / words.count(MARKS, GROUPS) > 0.01


def test_a_single_recipient_is_tested_once() -> None:
    word = np.arange(5)
    assert trace(np.eye(5), {"ada": word}, np.random.default_rng(0)) == {"ada": 1 / 120}


def test_nobody_is_named_on_a_model_that_saw_no_copy() -> None:
    """200 audits of innocents, 100 recipients each: the chance of naming anybody is at most the level."""
    rng = np.random.default_rng(3)
    named = 0
    for _ in range(200):
        effects = rng.normal(size=(4, GROUPS)) + 2 * rng.normal(size=GROUPS)
        named += min(trace(effects, recipients(rng, 100, 4), rng).values()) <= 0.05
    assert stats.binomtest(named, 200, 0.05, "greater").pvalue > 1e-3


def test_nobody_is_named_beside_the_guilty() -> None:
    """The same where the model has learnt one copy, strongly or faintly: the second test may not accuse others."""
    rng = np.random.default_rng(4)
    named = 0
    for number in range(200):
        copies = recipients(rng, 100, 4)
        effects = rng.normal(size=(4, GROUPS))
        effects[np.arange(4), copies["0"]] += number % 4
        corrected = trace(effects, copies, rng)
        named += min(p for name, p in corrected.items() if name != "0") <= 0.05
    assert stats.binomtest(named, 200, 0.05, "greater").pvalue > 1e-3


def test_how_many_marks_it_takes() -> None:
    assert marks_needed(GROUPS, 1, 0.01) == 3
    assert marks_needed(GROUPS, RECIPIENTS, 0.01) == MARKS
    assert 2 * words.floor(MARKS - 1, GROUPS) * RECIPIENTS > 0.01
