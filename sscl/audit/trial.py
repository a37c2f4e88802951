"""A record read under its protocol: whole answers, effects, bets on the word."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from sscl.audit.record import Record, parts
from sscl.audit.references import References
from sscl.config import AuditConfig
from sscl.keystream import Keystream
from sscl.statistics.effects import STATISTICS, Matrix, less_reference, row_centred, shape_of
from sscl.statistics.exact import Null
from sscl.statistics.sequential import Wealth
from sscl.types import BENIGN, Responses


def none_missing(omits: bool) -> Fraction:
    """By how much a p-value must be multiplied if every image was answered: ``omits`` as in ``Trial``."""
    return Fraction(4, 3) if omits else Fraction(1)


@dataclass(frozen=True)
class Trial:
    """What was answered, and what was committed to.

    Attributes:
        record: what was asked and answered, perhaps broken off.
        config: the committed protocol.
        marks: how many marks it has.
        references: effects on the owner's clean model, fixed with the commitment.
        omits: whether the suspect can leave images unanswered, as an API can and a file cannot.
    """

    record: Record
    config: AuditConfig
    marks: int
    references: References | None = None
    omits: bool = False

    @property
    def first(self) -> int:
        """How many images the first part of the audit has."""
        return parts(self.config, len(self.record.labels))[0][1]

    @property
    def by_class(self) -> bool:
        """Whether the suspect's classes are the groups, in their order."""
        return STATISTICS[self.config.statistic].matched and self.record.classes == self.record.groups

    @cached_property
    def full(self) -> bool:
        """Whether every query was asked.

        Raises:
            ValueError: queries that are left out, moved or added: whoever could drop answers could accuse anybody.
        """
        asked = [(query.mark, query.image) for query in self.record.queries]
        expected = [
            (mark, image)
            for first, last in parts(self.config, len(self.record.labels))
            for mark in range(BENIGN, self.marks)
            for image in range(first, last)
        ]
        if asked != expected[: len(asked)]:
            raise ValueError("the queries are not those of the protocol, in its order")
        return len(asked) == len(expected)

    @cached_property
    def answers(self) -> dict[int, Responses]:
        """By mark, the answers to all images; to the first images, of the marks so far, if not all were asked.

        Raises:
            ValueError: not even one mark's answers to the first images.
        """
        answers = self.record.answers()
        if self.full:
            return answers
        first = np.arange(self.first)
        whole = {mark: given.take(first) for mark, given in answers.items() if len(given) >= self.first}
        if len(whole) < 2:
            raise ValueError("the record lacks answers to the first images, without a mark and under one")
        return whole

    @property
    def asked(self) -> list[int]:
        """The marks with whole answers."""
        return [mark for mark in self.answers if mark != BENIGN]

    @property
    def images(self) -> int:
        """To how many images there are whole answers, from the first on."""
        return min(len(given) for given in self.answers.values())

    @cached_property
    def missing(self) -> int:
        """How many images lack an answer, without a mark or under a mark asked, in any view; they do not count."""
        return int((~self._whole(self.images).reshape(-1, self.views).all(axis=1)).sum())

    @property
    def choices(self) -> Fraction:
        """By how much a p-value must be multiplied because images may have been left out; 1 if none can be.

        For each choice of images that is made before the word is known, the p-value is exact. Whoever knows the word
        may have chosen how many to leave out, and which. Three quarters of the level are for none, and ``2^-(d + 2)``
        of it for ``d`` images, in equal parts for each choice (a weighted Bonferroni bound).
        """
        if not self.missing:
            return none_missing(self.omits)
        return Fraction(math.comb(self.images // self.views, self.missing) * 2 ** (self.missing + 2))

    def counted(self, p_value: float) -> float:
        """A p-value of one choice of images as one of all choices."""
        return float(min(Fraction(1), self.choices * Fraction(p_value)))

    def _whole(self, images: int, marks: int | None = None) -> np.ndarray:
        """Which of the first so many images, bool (N,), were answered without a mark and under the first so many.

        The others count under no mark, and in no view: whoever could leave out answers one by one could accuse anybody.
        """
        asked = (BENIGN, *self.asked[:marks])
        whole = np.logical_and.reduce([self.answers[mark].valid[:images] for mark in asked])
        return np.repeat(whole.reshape(-1, self.views).all(axis=1), self.views)

    @property
    def views(self) -> int:
        """In how many views each image is asked about."""
        return STATISTICS[self.config.statistic].views

    @cached_property
    def effects(self) -> np.ndarray:
        """The matrix of effects of the marks asked, as the suspect answered."""
        return self.effects_over(self.images)

    @cached_property
    def matrix(self) -> np.ndarray:
        """The same without what the owner's clean model shares."""
        if self.references is None:
            return self.effects
        reference = self.references.all if self.full else self.references.first
        return less_reference(self.effects, reference[: len(self.effects)], by_rows=not self.full)

    @cached_property
    def doubt(self) -> np.ndarray:
        """By how much unseen changes of answers can change each entry of ``matrix``, see ``Statistic``.

        The weight of the references follows from the answers, and can change with them.
        """
        found = self._doubt(self.images)
        if self.references is None:
            return found
        reference = self.references.all if self.full else self.references.first
        weighed: np.ndarray = found + _weighed_doubt(reference[: len(self.asked)], found, by_rows=not self.full)
        return weighed

    def _doubt(self, images: int, marks: int | None = None) -> np.ndarray:
        """The same of ``effects``."""
        return self._over(STATISTICS[self.config.statistic].doubt, images, marks)

    def effects_over(self, images: int, marks: int | None = None) -> np.ndarray:
        """The matrix of effects over the first so many images, of the first so many marks."""
        return self._over(STATISTICS[self.config.statistic].matrix, images, marks)

    def _over(self, figures: Matrix, images: int, marks: int | None = None) -> np.ndarray:
        rows, whole = np.arange(images), self._whole(images, marks)
        labels = np.array(self.record.labels)[rows]
        given = [self.answers[mark].take(rows) for mark in (BENIGN, *self.asked[:marks])]
        benign, *marked = given if whole.all() else [answers.only(whole) for answers in given]
        return figures(benign, marked, labels, self.record.groups)

    def bets(self, word: np.ndarray, alpha: float) -> Wealth:
        """The sequential test over the marks' first images, in order, until it ends.

        Each bet uses the answers under its mark and the marks before, and nothing after. There are no bets if one of
        the images is missing: leaving it out could be a choice.
        """
        wealth = Wealth(alpha, self.marks, self.record.groups)
        if not self._whole(self.first).all():
            return wealth
        for number, group in enumerate(word[: len(self.asked)].tolist(), start=1):
            if wealth.finished:
                break
            matrix = self.effects_over(self.first, number)
            bound = self._doubt(self.first, number)
            doubt = bound[-1]
            if self.references is not None:
                reference = self.references.first[:number]
                matrix = less_reference(matrix, reference, by_rows=True)
                doubt = doubt + _weighed_doubt(reference, bound, by_rows=True)[-1]
            wealth.add(matrix[-1], group, doubt)
        return wealth


def _weighed_doubt(reference: np.ndarray, doubt: np.ndarray, *, by_rows: bool) -> np.ndarray:
    """By how much unseen changes of answers, which change effects by ``doubt``, can change what is subtracted."""
    shape = np.abs(shape_of(reference))
    length = float((shape**2).sum())
    weight = float((shape * doubt).sum()) / length if length else 0.0
    found: np.ndarray = weight * (np.abs(row_centred(reference)) if by_rows else shape)
    return found


def enough(
    config: AuditConfig, word: np.ndarray, alpha: float, references: Callable[[Record], References | None]
) -> Callable[[Record], bool] | None:
    """Tells of a sequential audit's first answers whether they are evidence enough; ``None`` for other tests."""
    if config.test != "sequential":
        return None
    return lambda record: Trial(record, config, len(word), references(record)).bets(word, alpha / 2).rejects


def null_of(
    matrix: np.ndarray,
    key: Keystream | None = None,
    doubt: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
) -> Null:
    """All words' statistics, or those of words drawn with the key, which neither answers nor references depend on."""
    stream = Keystream(bytes(32)) if key is None else key
    return Null.of(matrix, stream.part("drawn"), doubt, drawn)
