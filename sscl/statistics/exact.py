"""The exact test: how many words fit the answers at least as well as the released one does.

Null hypothesis: the answers do not depend on the word. The word was drawn uniformly, so given the answers, whatever
they are, every word is as likely to be the released one. With any statistic ``T`` of answers and word,

    p = #{words w': T(w') >= T(w)} / #{words}

then satisfies ``P(p <= a) <= a`` for every ``a`` (a randomisation test: Fisher 1935; Lehmann and Romano 2005, 15.2).
Where the words are too many to list, ``DRAWN`` of them are drawn and the released one is counted with them (Phipson and
Smyth 2010). Ties count against the owner. Words that the sixth decimal of answers could tell apart are ties, because
whoever knows the word could have changed that unseen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sscl.statistics import words
from sscl.statistics.effects import centred

RESOLUTION = 1 << 40  # of the largest entry; sums of integers tie exactly, in whatever order they are added


def integers(effects: np.ndarray) -> np.ndarray:
    """The centred effects in units of the largest one, int64 (K, C); all 0 if the marks do nothing.

    Raises:
        ValueError: not a finite matrix.
    """
    if effects.ndim != 2 or not effects.size or not np.isfinite(effects).all():
        raise ValueError(f"effects must be a finite matrix (marks, groups), got shape {effects.shape}")
    z = centred(effects)
    largest, least = np.abs(z).max(), 1e-12 * np.abs(effects).max()
    if largest <= least:  # what is left is rounding
        return np.zeros(z.shape, dtype=np.int64)
    found: np.ndarray = np.rint(z / largest * RESOLUTION).astype(np.int64)
    return found


@dataclass(frozen=True)
class Null:
    """The statistics of all words, or of many drawn ones, on one suspect's answers.

    Attributes:
        table: int64 (K, C), the centred effects.
        statistics: int64 (M,), sorted.
        listed: whether these are all words.
        doubt: int64 (K, C), by how much each entry may differ in words that tie; ``None``: by its rounding alone.
        drawn: int16 (M, K), the words if they were drawn.
    """

    table: np.ndarray
    statistics: np.ndarray
    listed: bool
    doubt: np.ndarray | None = None
    drawn: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        effects: np.ndarray,
        rng: words.Random,
        doubt: np.ndarray | None = None,
        drawn: np.ndarray | None = None,
    ) -> Null:
        """List the words, or draw them with ``rng``, which must not depend on the answers.

        Args:
            effects: float64 (K, C).
            rng: for the words where they are too many to list.
            doubt: float64 (K, C), by how much unseen changes of answers can change each entry of ``effects``; ``None``
                for not at all. Words that such changes could bring to the released one's statistic tie.
            drawn: those that the same ``rng`` gave before, so that it need not draw them again.
        """
        table = integers(effects)
        marks, groups = table.shape
        largest = float(np.abs(centred(effects)).max())
        moved = None
        if doubt is not None and np.isnan(doubt).any():
            raise ValueError("doubts must be numbers")
        if doubt is not None:  # centring takes the mean of the entry's group away, and a part of the entry itself
            doubt = np.minimum(doubt, 1e300)  # times nothing, an infinite one would be no number
            share = (doubt * (1 - 2 / marks) + doubt.mean(axis=0)) / (largest or 1.0)
            moved = np.ceil(RESOLUTION * np.clip(share, 0.0, 2.0 * marks)).astype(np.int64) + 1
        if words.count(marks, groups) <= words.ENUMERATED:
            return cls(table, np.sort(_all(table)), True, moved)
        kept = np.zeros((words.DRAWN, marks), dtype=np.int16) if drawn is None else drawn
        total = np.zeros(words.DRAWN, dtype=np.int64)
        for start in range(0, words.DRAWN, 100_000):  # fixed, so that a stream gives the same words everywhere
            some = kept[start : start + 100_000]
            if drawn is None:
                some[:] = words.draw(marks, groups, rng, len(some))
            total[start : start + 100_000] = table[np.arange(marks), some].sum(axis=1)
        return cls(table, np.sort(total), False, moved, kept)

    def statistic(self, word: np.ndarray) -> int:
        """``T``, the sum of the centred effects of each mark on its group.

        Raises:
            ValueError: not a word for this matrix.
        """
        marks, groups = self.table.shape
        if word.shape != (marks,) or not words.is_word(word, groups):
            raise ValueError(f"{word.tolist()} is not a word of {marks} marks and {groups} groups")
        return int(self.table[np.arange(marks), word].sum())

    def at_least(self, word: np.ndarray) -> int:
        """How many of the statistics are as large as this word's, ties included."""
        if self.doubt is None:
            equal = self.statistic(word) - len(word)
            return len(self.statistics) - int(np.searchsorted(self.statistics, equal, side="left"))
        marks = np.arange(len(word))
        raised = self.table + self.doubt + self.doubt[marks, word][:, None]  # where another word differs from this one
        raised[marks, word] = self.table[marks, word]
        total = _all(raised) if self.drawn is None else raised[marks, self.drawn].sum(axis=1)
        return int((total >= self.statistic(word) - len(word)).sum())

    def p_value(self, word: np.ndarray) -> float:
        """In ``[floor, 1]``."""
        at_least = self.at_least(word)
        return at_least / len(self.statistics) if self.listed else (1 + at_least) / (1 + len(self.statistics))


def p_value(effects: np.ndarray, word: np.ndarray, rng: words.Random, doubt: np.ndarray | None = None) -> float:
    """The exact p-value of one word.

    Args:
        effects: float64 (K, C); reference effects that were fixed with the commitment may be subtracted before.
        word: int (K,), the released one.
        rng: for the words where they are too many to list; fixed by the commitment.
        doubt: as for ``Null.of``; an audit always has one.

    Examples:
        >>> p_value(np.eye(5), np.arange(5), np.random.default_rng(0)) == 1 / 120  # the best of 5! words
        True
    """
    return Null.of(effects, rng, doubt).p_value(word)


def _all(table: np.ndarray) -> np.ndarray:
    """The statistic of every word, mark by mark."""
    marks, groups = table.shape
    few, more = divmod(marks, groups)
    sums, uses = np.zeros(1, dtype=np.int64), np.zeros((1, groups), dtype=np.int8)
    for number, row in enumerate(table, start=1):
        extra_left = (uses == few + 1).sum(axis=1) < more
        found, kept = [], []
        for group in range(groups):
            allowed = (uses[:, group] < few) | ((uses[:, group] == few) & extra_left)
            found.append(sums[allowed] + row[group])
            if number < marks:  # whole words take no further mark, and there are most of them
                taken = uses[allowed]
                taken[:, group] += 1
                kept.append(taken)
        sums = np.concatenate(found)
        uses = np.concatenate(kept) if kept else uses
    return sums
