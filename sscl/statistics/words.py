"""Words: the assignments of marks to groups, one of which is drawn at random for a release.

With ``K`` marks and ``C`` groups a word assigns a group to every mark, no group twice. Where there are more marks than
groups, every group gets ``K // C`` marks and ``K % C`` of them one more. All words are equally likely.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from sscl.config import require

ENUMERATED = 5_000_000  # most words of which a test lists every one
DRAWN = 999_999  # words that a test draws where there are more
AT_A_TIME = 10_000  # permutations in memory


class Random(Protocol):
    """What words are drawn with: ``sscl.keystream.Keystream`` where they are secret, or numpy's generator."""

    def integers(self, high: int, /, *, size: tuple[int, int]) -> np.ndarray:
        """int64 of shape ``size``, uniform in ``[0, high)``."""

    def permuted(self, x: np.ndarray, *, axis: int) -> np.ndarray:
        """``x`` with each slice along ``axis`` in random order."""


def count(marks: int, groups: int) -> int:
    """How many words there are: ``C! / (C - K)!`` for ``K <= C``."""
    _check(marks, groups)
    few, more = divmod(marks, groups)
    alike = math.factorial(few) ** (groups - more) * math.factorial(few + 1) ** more
    found: int = math.comb(groups, more) * (math.factorial(marks) // alike)
    return found


def floor(marks: int, groups: int) -> float:
    """The smallest p-value that a test over these words can give.

    Examples:
        >>> floor(marks=7, groups=10) == 1 / (10 * 9 * 8 * 7 * 6 * 5 * 4)
        True
    """
    found = count(marks, groups)
    return 1 / found if found <= ENUMERATED else 1 / (DRAWN + 1)


def marks_needed(groups: int, alpha: float) -> int:
    """The fewest marks whose floor is at most ``alpha``.

    Examples:
        >>> [marks_needed(groups, alpha=1e-4) for groups in (2, 10, 1000)]
        [15, 5, 2]

    Raises:
        ConfigError: fewer than two groups, or a level below what drawn words resolve.
    """
    require(groups >= 2, "groups", groups, "2 or more: with one group there is nothing to assign")
    require(alpha >= 1 / (DRAWN + 1), "alpha", alpha, f"at least {1 / (DRAWN + 1):g}")
    marks = 1
    while floor(marks, groups) > alpha:
        marks += 1
    return marks


def draw(marks: int, groups: int, rng: Random, size: int = 1) -> np.ndarray:
    """Words drawn uniformly: int64 (size, marks), the group of each mark."""
    _check(marks, groups)
    few, more = divmod(marks, groups)
    if marks**2 <= groups:
        return _distinct(marks, groups, rng, size)
    if few == 0:  # row after row, so that parts of them give the same words
        rows = [min(AT_A_TIME, size - start) for start in range(0, size, AT_A_TIME)]
        return np.concatenate([_permutations(groups, rng, some)[:, :marks] for some in rows])
    extra = _permutations(groups, rng, size)[:, :more]
    slots = np.concatenate((np.tile(np.repeat(np.arange(groups), few), (size, 1)), extra), axis=1)
    return rng.permuted(slots, axis=1)


def _permutations(groups: int, rng: Random, size: int) -> np.ndarray:
    return rng.permuted(np.tile(np.arange(groups), (size, 1)), axis=1)


def _distinct(marks: int, groups: int, rng: Random, size: int) -> np.ndarray:
    """Rows of distinct groups where most random rows are: those with a repetition are drawn again."""
    found = rng.integers(groups, size=(size, marks))
    again = np.arange(size)
    while len(again):
        ordered = np.sort(found[again], axis=1)
        again = again[(np.diff(ordered, axis=1) == 0).any(axis=1)]
        found[again] = rng.integers(groups, size=(len(again), marks))
    return found


def is_word(word: np.ndarray, groups: int) -> bool:
    """Whether int (K,) assigns groups as words do."""
    if word.ndim != 1 or not len(word) or word.min() < 0 or word.max() >= groups:
        return False
    uses = np.bincount(word, minlength=groups)
    few = len(word) // groups
    return bool(((uses == few) | (uses == few + 1)).all())


def chances(uses: np.ndarray, marks: int) -> np.ndarray:
    """The distribution of the next mark's group, given the groups of the marks before it.

    Args:
        uses: int (C,), how many of the earlier marks each group has.
        marks: ``K``, of the whole word.

    Returns:
        float64 (C,), adding up to one: the share of the words that go on with each group.
    """
    if marks <= len(uses):
        ways = np.where(uses == 0, 1.0, 0.0)  # no group twice
    else:
        ways = np.array([_completions(uses + one, marks) for one in np.eye(len(uses), dtype=int)], dtype=np.float64)
    shares: np.ndarray = ways / ways.sum()
    return shares


def _completions(uses: np.ndarray, marks: int) -> float:
    """How many words begin with groups used so often, up to a factor that is the same for every next group.

    A group ends with ``few`` or ``few + 1`` marks, and ``more`` groups with the latter: the coefficient of ``x^more``
    in the product over groups of ``1 / (few - uses)! + x / (few + 1 - uses)!``.
    """
    few, more = divmod(marks, len(uses))
    polynomial = np.ones(1)
    for used in uses.tolist():
        ends = [_inverse_factorial(few - used), _inverse_factorial(few + 1 - used)]
        polynomial = np.convolve(polynomial, ends)
    return float(polynomial[more])


def _inverse_factorial(number: int) -> float:
    return 0.0 if number < 0 else 1 / math.factorial(number)


def _check(marks: int, groups: int) -> None:
    require(marks >= 1, "marks", marks, "1 or more")
    require(groups >= 1, "groups", groups, "1 or more")
