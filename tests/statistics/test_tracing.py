from __future__ import annotations

import numpy as np
from scipy import stats

from sscl.statistics import words
from sscl.statistics.exact import Null
from sscl.statistics.tracing import marks_needed, trace

MARKS, GROUPS, RECIPIENTS = 6, 10, 1000


def recipients(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {str(number): word for number, word in enumerate(words.draw(MARKS, GROUPS, rng, RECIPIENTS))}


def knows(*known: np.ndarray) -> np.ndarray:
    """Effects on a model trained on copies with these words, merged."""
    found = np.random.default_rng(0).normal(scale=0.05, size=(MARKS, GROUPS))
    for word in known:
        found[np.arange(MARKS), word] += 1
    return found


def test_one_of_a_thousand_is_named() -> None:
    rng = np.random.default_rng(1)
    copies = recipients(rng)
    corrected = trace(Null.of(knows(copies["17"]), rng), copies)
    assert corrected["17"] <= 0.01
    assert [name for name, p in corrected.items() if p <= 0.05] == ["17"]


def test_merged_copies_name_both_of_few_recipients() -> None:
    """Every mixture of the two words fits as well as they do: 64 words with six marks."""
    rng = np.random.default_rng(2)
    copies = {name: word for name, word in recipients(rng).items() if int(name) < 20}
    corrected = trace(Null.of(knows(copies["3"], copies["4"]), rng), copies)
    assert {name for name, p in corrected.items() if p <= 0.05} == {"3", "4"}


def test_nobody_is_named_on_a_model_that_saw_no_copy() -> None:
    """200 audits of innocents, 100 recipients each: the chance of naming anybody is at most the level."""
    rng = np.random.default_rng(3)
    named = 0
    for _ in range(200):
        found = Null.of(rng.normal(size=(4, GROUPS)) + 2 * rng.normal(size=GROUPS), rng)
        copies = {str(n): word for n, word in enumerate(words.draw(4, GROUPS, rng, 100))}
        named += min(trace(found, copies).values()) <= 0.05
    assert stats.binomtest(named, 200, 0.05, "greater").pvalue > 1e-3


def test_how_many_marks_it_takes() -> None:
    assert marks_needed(GROUPS, 1, 0.01) == 3
    assert marks_needed(GROUPS, RECIPIENTS, 0.01) == MARKS
    assert words.floor(MARKS - 1, GROUPS) * RECIPIENTS > 0.01
