"""Whose copy: all have the same marks, each under a word of its own, so one set of answers is held against them all.

A model of two merged copies has learnt two words, and about ``2^K`` mixtures of them fit as well as either: the exact
test alone names at most one among many recipients. So every word is tested twice: on the effects as they are, and
without the effects of the other recipient who fits best.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sscl.statistics import words
from sscl.statistics.correction import holm
from sscl.statistics.exact import Null

TESTS = 2  # of every word


def trace(
    effects: np.ndarray,
    recipients: Mapping[str, np.ndarray],
    rng: words.Random,
    doubt: np.ndarray | None = None,
) -> dict[str, float]:
    """Corrected p-values by recipient (Holm 1979).

    A suspect that did not see a recipient's copy cannot know that word, whatever other copies it saw: given the answers
    and everybody else's words it is uniform. Which other recipient fits best follows from these alone, so both tests of
    the word are exact, and twice the smaller p-value is one. The chance of naming anybody wrongly is at most the level
    at which the corrected values are read.

    Args:
        effects: float64 (K, C), of the suspect's answers.
        recipients: name to word, int (K,).
        rng: for the words where they are too many to list; it must not depend on the answers.
        doubt: float64 (K, C), by how much unseen changes of answers can change each effect; ``None`` for not at all.

    Examples:
        >>> effects = np.zeros((5, 5))
        >>> effects[np.arange(5), np.arange(5)] = 1.0  # ada's copy
        >>> effects[np.arange(5), np.array([1, 2, 3, 4, 0])] = 0.9  # bob's, merged with it
        >>> copies = {"ada": np.arange(5), "bob": np.array([1, 2, 3, 4, 0]), "eve": np.array([4, 3, 0, 2, 1])}
        >>> found = trace(effects, copies, np.random.default_rng(0))
        >>> round(found["ada"], 3), round(found["bob"], 3), found["eve"] > 0.5  # 6 / 120: two tests, three recipients
        (0.05, 0.05, True)
    """
    p_values = _p_values(effects, recipients, rng, doubt)
    if len(recipients) > 1:
        best, second = sorted(p_values, key=lambda name: (p_values[name], name))[:2]
        rest = {name: word for name, word in recipients.items() if name != best}

        def less(name: str, words: Mapping[str, np.ndarray]) -> dict[str, float]:
            unsure = None if doubt is None else without(doubt, recipients[name])
            return _p_values(without(effects, recipients[name]), words, rng, unsure)

        others = less(best, rest) | less(second, {best: recipients[best]})
        p_values = {name: min(1.0, TESTS * min(p, others[name])) for name, p in p_values.items()}
    return holm(p_values)


def without(effects: np.ndarray, word: np.ndarray) -> np.ndarray:
    """Effects in which every mark does to the word's group what it does to the other groups on average.

    >>> without(np.array([[5.0, 1.0, 3.0]]), np.array([0]))
    array([[2., 1., 3.]])
    """
    found, marks = effects.astype(np.float64), np.arange(len(word))
    found[marks, word] = (effects.sum(axis=1) - effects[marks, word]) / max(1, effects.shape[1] - 1)
    return found


def marks_needed(groups: int, recipients: int, level: float) -> int:
    """The fewest marks with which one of so many recipients can be named at a corrected ``level``."""
    return words.marks_needed(groups, level / (recipients if recipients == 1 else TESTS * recipients))


def _p_values(
    effects: np.ndarray, recipients: Mapping[str, np.ndarray], rng: words.Random, doubt: np.ndarray | None
) -> dict[str, float]:
    null = Null.of(effects, rng, doubt)
    return {name: null.p_value(word) for name, word in recipients.items()}
