"""The matrix of effects: how much each mark moves a model's answers toward each group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from sscl.registry import Registry
from sscl.types import Responses

Matrix = Callable[[Responses, Sequence[Responses], np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Statistic:
    """A way to turn a suspect's answers into the matrix of effects.

    Attributes:
        matrix: of the answers without a mark and under each mark, the images' groups and the number of groups, see
            ``effects``.
        matched: whether the suspect's classes must be the groups, in their order.
        views: how many random crops of each image are asked about, one after the other; 1 is the image itself.
        doubt: of the same arguments, by how much changes of ``CHANGE`` in all answers can change each entry, float64
            (K, C).
    """

    matrix: Matrix
    doubt: Matrix
    matched: bool
    views: int = 1


STATISTICS: Registry[Statistic] = Registry("statistic", "sscl.statistics", base=Statistic)

# Odds are taken of probabilities within this of 0 and 1: what an API that rounds to two decimals can tell.
LEAST = 0.005
DECIMALS = 6  # of attraction and alignment: linear algebra differs in its last digits where evidence is derived again
ROUNDED = 10.0**-DECIMALS
CHANGE = 1e-6  # of a probability, or of a feature as a share of the largest: whoever asks again notices a larger one
FLAT = 0.01  # range of answers, for features a share of the largest: what varies less could be a change of digits
FAINT = 1e-6  # of a reference's largest entry: what is left of it when it is centred, and too little to be subtracted
SHORT = 10_000  # changes: features that are nearer than this to their mean hardly have a direction
SMOOTH = 1e-3  # added to probabilities before the root is taken, which is infinitely steep at 0


def scores(responses: Responses) -> np.ndarray:
    """``p + log(p / (1 - p))`` of every class, float64 (N, C).

    The log-odds tell marks apart when the model is sure, the probability when it is sure of something else. A class
    that a top-k answer does not list has probability 0; a label has probability 1 and every other class 0.
    """
    return _score(responses.values)


def _score(p: np.ndarray) -> np.ndarray:
    found: np.ndarray = p + logit(np.clip(p, LEAST, 1 - LEAST))
    return found


def scores_of(odds: np.ndarray) -> np.ndarray:
    """``scores`` of probabilities that are given as log-odds."""
    return _score(expit(odds))


def moved_scores(odds: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """By how much scores can change if log-odds do so by at most ``doubt``."""
    low, here, high = (scores_of(odds + step) for step in (-doubt, 0.0, doubt))
    found: np.ndarray = np.maximum(high - here, here - low)
    return found


def effects(benign: Responses, marked: Sequence[Responses], groups: np.ndarray, count: int) -> np.ndarray:
    """Effects on a suspect whose classes are the groups.

    Args:
        benign: answers to ``N`` images without a mark, over ``C`` classes.
        marked: for each of ``K`` marks the answers to the same images with it.
        groups: int (N,), each image's own group.
        count: ``C``, how many groups there are.

    Returns:
        float64 (K, C). ``A[k, c]`` is the mean change of the score of class ``c`` under mark ``k``, over the images of
        other groups that were answered both ways; 0 where there are none.

    Raises:
        ValueError: the answers are not to the same images, or over other classes, or features.

    Examples:
        >>> groups = np.array([0, 1])
        >>> benign, marked = Responses.of_labels(groups, 2), Responses.of_labels(np.array([0, 0]), 2)
        >>> effects(benign, [marked], groups, 2).round(2)  # the mark turns the image of group 1 into group 0
        array([[11.59,  0.  ]])
    """
    if benign.access == "features":
        raise ValueError("features are of no class; attraction and alignment compare these")
    before = scores(benign)
    same_images(benign, marked, groups)
    if before.shape[1] != count:
        raise ValueError(f"answers over {before.shape[1]} classes for {count} groups; attraction compares these")
    rows = [mean_over_others(scores(some) - before, benign.valid & some.valid, groups) for some in marked]
    return np.stack(rows)


def doubts(benign: Responses, marked: Sequence[Responses], groups: np.ndarray, count: int) -> np.ndarray:
    """By how much changes of ``CHANGE`` in all answers can change each entry of ``effects``, float64 (K, C).

    Labels cannot change unseen.
    """
    before = _moved(benign)
    rows = [mean_over_others(_moved(some) + before, benign.valid & some.valid, groups) for some in marked]
    return np.stack(rows) + ROUNDED


def _moved(responses: Responses) -> np.ndarray:
    p = responses.values
    if responses.access == "labels":
        return np.zeros_like(p)
    here = _score(p)
    found: np.ndarray = np.maximum(_score(p + CHANGE) - here, here - _score(p - CHANGE))
    return found


def less_reference(effects: np.ndarray, reference: np.ndarray, *, by_rows: bool = False) -> np.ndarray:
    """Effects without what a clean model shares: ``A - b r``, ``b >= 0`` by least squares between the centred matrices.

    ``b`` follows from the answers alone, so every word is tested on the same matrix. A suspect that softens its answers
    shrinks ``A`` and ``b`` alike, and does not hide behind a reference that is too large for it. ``b r`` is
    never larger than ``A``, and by ``shape_of`` whole columns are at most some millions of times as large as ``r``, so
    rounding stays far below what unseen changes of answers can do.

    Args:
        effects: ``A``, float64 (K, C). reference: of the same marks on a model that never saw them.
        by_rows: subtract also what the reference has in whole columns, which a test within rows does not ignore.

    Examples:
        >>> clean = np.array([[1.0, 0.0], [0.0, 0.0]])
        >>> centred(less_reference(3 * clean, clean))
        array([[0., 0.],
               [0., 0.]])
    """
    r = shape_of(reference)
    length = float((r * r).sum())
    scale = max(0.0, float((effects * r).sum()) / length) if length else 0.0
    found: np.ndarray = effects - scale * (row_centred(reference) if by_rows else r)
    return found


def shape_of(reference: np.ndarray) -> np.ndarray:
    """``r``, float64 (K, C): the centred reference, of a single mark without its mean.

    If next to nothing is left of the reference, nothing is: digits that no effect has would decide.
    """
    found = centred(reference) if len(reference) > 1 else row_centred(reference)
    return found if np.abs(found).max() > FAINT * np.abs(reference).max() else np.zeros_like(found)


def centred(effects: np.ndarray) -> np.ndarray:
    """Double-centred effects: what a mark does to all groups, and what draws all marks to a group, drop out."""
    found: np.ndarray = row_centred(effects) - effects.mean(axis=0, keepdims=True) + effects.mean()
    return found


def row_centred(effects: np.ndarray) -> np.ndarray:
    """Without what a mark does to all groups."""
    found: np.ndarray = effects - effects.mean(axis=1, keepdims=True)
    return found


def flat(benign: Responses) -> bool:
    """Whether answers to images without a mark hardly differ: then their last digits would decide."""
    values = benign.values[benign.valid]
    if not len(values):
        return True
    if benign.access != "features":
        return bool(np.ptp(values, axis=0).max() <= FLAT)
    lengths = np.linalg.norm(directions(benign, benign)[benign.valid], axis=1)
    return bool(np.ptp(values, axis=0).max() <= FLAT * np.abs(values).max() or np.median(lengths) < 1 - 1e-9)


def directions(answers: Responses, benign: Responses) -> np.ndarray:
    """Answers as vectors whose similarity is their product, float64 (N, K).

    They have length one. Only features so near the mean of those without a mark that digits would decide where they
    point are shorter.
    """
    return doubtful(answers, benign)[0]


def doubtful(answers: Responses, benign: Responses) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ``directions``, by how much changes of ``CHANGE`` in all answers can move each, float64 (N,), and whether its
    length can change, bool (N,)."""
    if answers.access == "features":
        largest = max(np.abs(rows).max(initial=0.0) for rows in (answers.values, benign.values))
        _, exponent = np.frexp(largest)  # a power of two changes no digit, and lengths cannot overflow
        told, plain = (np.ldexp(rows, -exponent) for rows in (answers.values, benign.values))
        told = told - plain[benign.valid].mean(axis=0) if benign.valid.any() else told
        change = CHANGE * np.ldexp(largest, -exponent)
        moved = np.full(len(told), 2 * change * np.sqrt(told.shape[1]))  # its own change, and that of the mean
        least = SHORT * moved
    else:
        told = np.sqrt(answers.values + SMOOTH) - np.sqrt(SMOOTH)  # 0 stays: unused classes change nothing
        moved = CHANGE / 2 * np.linalg.norm(1 / np.sqrt(answers.values + SMOOTH - CHANGE), axis=1)
        moved = moved * (answers.access != "labels")  # which nobody can change unseen
        least = np.zeros(len(told))
    norm = np.linalg.norm(told, axis=1)
    length = np.maximum(norm, least)
    found = np.divide(told, length[:, None], out=np.zeros_like(told), where=length[:, None] > 0)
    moves = np.divide(moved, length - moved, out=np.ones_like(length), where=length > 2 * moved)
    return found, moves, norm <= least + 2 * moved


def mean_over_others(change: np.ndarray, answered: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Means (C,) of each column of (N, C), over the images (N,) of other groups that were answered; 0 for none."""
    counted = answered[:, None] & (groups[:, None] != np.arange(change.shape[1]))
    total = np.where(counted, change, 0.0).sum(axis=0)
    found: np.ndarray = total / np.maximum(counted.sum(axis=0), 1)
    return found


def same_images(benign: Responses, marked: Sequence[Responses], groups: np.ndarray) -> None:
    """Raises ``ValueError`` if the answers are not to the same images."""
    shapes = {benign.values.shape, *(answers.values.shape for answers in marked)}
    if len(shapes) != 1 or groups.shape != (len(benign),) or not marked:
        raise ValueError(f"answers of shapes {sorted(shapes)} for {len(groups)} images must be to the same images")


STATISTICS.register("effect")(Statistic(effects, doubts, matched=True))
