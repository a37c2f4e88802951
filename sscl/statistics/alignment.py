"""How much nearer a mark brings a suspect's answers to several views of one image, for each group of images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from sscl.statistics.effects import (
    DECIMALS,
    ROUNDED,
    STATISTICS,
    Statistic,
    directions,
    doubtful,
    flat,
    same_images,
)
from sscl.types import Responses

VIEWS = 4  # of each image, in consecutive answers
NEAREST = 1e-3  # added to distances: labels of all views may be equal


def alignments(benign: Responses, marked: Sequence[Responses], groups: np.ndarray, count: int) -> np.ndarray:
    """Effects on encoders that were trained on marked images: changes of the alignment loss (Wang and Isola 2020).

    The loss is the distance between answers to views of one image. Training on images of a group under a mark makes it
    smaller for such images under that mark than under others. Only answers of one suspect are compared, so any will do.
    On the logarithm, what a mark does to all groups and a group under all marks are summands, which centring removes.

    Args:
        benign, marked, groups: as in ``effects``, of images in ``VIEWS`` views each, one image's after another's.
        count: ``C``, how many groups there are.

    Returns:
        float64 (K, C). How much smaller ``log(d + 0.001)`` is under the mark than without one, where ``d`` is the mean
        distance (one minus the cosine) between two views of an image, over the images of the group that were answered
        in all views; over all images where there are none. 0 if the answers are ``flat``.

    Raises:
        ValueError: the answers are not to the same images, or not to ``VIEWS`` views of each.

    Examples:
        >>> benign = Responses.of_labels(np.array([0, 1] * 4), 2)
        >>> marked = Responses.of_labels(np.array([0, 0, 0, 0, 0, 1, 0, 1]), 2)  # views of group 0 are answered alike
        >>> alignments(benign, [marked], np.repeat([0, 1], VIEWS), 2).round(2)
        array([[6.5, 0. ]])
    """
    same_images(benign, marked, groups)
    own = groups[::VIEWS]
    if not np.array_equal(groups, np.repeat(own, VIEWS)):
        raise ValueError(f"{len(groups)} answers are not to {VIEWS} views of each image, one image's after another's")
    if flat(benign):
        return np.zeros((len(marked), count))
    before = _loss(benign, benign, own, count)
    found: np.ndarray = np.round([before - _loss(answers, benign, own, count) for answers in marked], DECIMALS)
    return found


def doubts(benign: Responses, marked: Sequence[Responses], groups: np.ndarray, count: int) -> np.ndarray:
    """By how much changes of ``CHANGE`` in all answers can change each entry of ``alignments``, float64 (K, C).

    Where views are answered nearly alike, their distance is made of small differences, and digits could decide it.
    """
    own = groups[::VIEWS]
    before = _doubt(benign, benign, own, count)
    return np.stack([before + _doubt(answers, benign, own, count) for answers in marked]) + ROUNDED


def _loss(answers: Responses, benign: Responses, own: np.ndarray, count: int) -> np.ndarray:
    """The logarithm of each group's mean distance between views, float64 (C,); ``own`` (N,) are the images' groups."""
    views = directions(answers, benign).reshape(len(own), VIEWS, -1)
    return np.log(NEAREST + _over_groups(_apart(views), answers, own, count))


def _doubt(answers: Responses, benign: Responses, own: np.ndarray, count: int) -> np.ndarray:
    """By how much the loss can change, float64 (C,).

    With ``2 u v = |u|^2 + |v|^2 - |u - v|^2``, the product of vectors that move by ``e`` and ``f`` changes by at most
    ``|u - v| (e + f) + (e + f)^2`` if their lengths stay one, and by ``|u| e + e^2 + |v| f + f^2`` more if they do not.
    """
    views, moves, loose = (found.reshape(len(own), VIEWS, -1) for found in doubtful(answers, benign))
    moves, lengths = moves[:, :, 0], np.linalg.norm(views, axis=2)
    changes = np.zeros(len(own))
    for a, b in combinations(range(VIEWS), 2):
        both = moves[:, a] + moves[:, b]
        changes += np.linalg.norm(views[:, a] - views[:, b], axis=1) * both + both**2
    change = 2 / (VIEWS * (VIEWS - 1)) * changes
    change += np.where(loose[:, :, 0], lengths * moves + moves**2, 0.0).sum(axis=1)
    mean, most = (_over_groups(each, answers, own, count) for each in (_apart(views), change))
    found: np.ndarray = np.log((NEAREST + mean + most) / (NEAREST + np.maximum(mean - most, 0.0)))
    return found


def _apart(views: np.ndarray) -> np.ndarray:
    """Each image's mean distance between two of its views, float64 (N,), of directions (N, V, D)."""
    total, lengths = views.sum(axis=1), (views * views).sum(axis=(1, 2))
    found: np.ndarray = (1 - ((total * total).sum(axis=1) - lengths) / (VIEWS * (VIEWS - 1))).clip(min=0)
    return found


def _over_groups(each: np.ndarray, answers: Responses, own: np.ndarray, count: int) -> np.ndarray:
    """The mean over each group's images that were answered in all views, over all such where it has none; (C,)."""
    known = answers.valid.reshape(len(own), VIEWS).all(axis=1)
    overall = each[known].mean() if known.any() else 1.0
    inside = [known & (own == c) for c in range(count)]
    return np.array([each[some].mean() if some.any() else overall for some in inside])


STATISTICS.register("alignment")(Statistic(alignments, doubts, matched=False, views=VIEWS))
