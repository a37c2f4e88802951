"""How near a suspect's answers to views of one image are, under each mark and for each group of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sscl.statistics.effects import DECIMALS, STATISTICS, Statistic, directions, same_images
from sscl.types import Responses

VIEWS = 4  # of each image, in consecutive answers
NEAREST = 1e-3  # added to distances: labels of all views may be equal


def alignments(benign: Responses, marked: Sequence[Responses], groups: np.ndarray, count: int) -> np.ndarray:
    """Minus the logarithm of the alignment loss (Wang and Isola 2020): how far apart answers to views of an image are.

    An encoder that was trained on images of a group under a mark gives their views nearly the same features, whatever
    the crop. It needs no more than that the answers differ from image to image, so any will do. On the logarithm, what
    a mark or a group does by itself is a sum, which centring removes.

    Args:
        benign, marked, groups: as in ``effects``, of images in ``VIEWS`` views each, one image's after another's.
        count: ``C``, how many groups there are.

    Returns:
        float64 (K, C). ``-log(d + 0.001)`` of the mean distance ``d`` (one minus the cosine) between two views of an
        image, over the images of the group that were answered in all views; over all images where there are none.

    Raises:
        ValueError: the answers are not to the same images, or not to ``VIEWS`` views of each.

    Examples:
        >>> benign = Responses.of_labels(np.array([0, 1] * 4), 2)
        >>> marked = Responses.of_labels(np.array([0, 0, 0, 0, 0, 1, 0, 1]), 2)  # views of group 0 are answered alike
        >>> alignments(benign, [marked], np.repeat([0, 1], VIEWS), 2).round(2)
        array([[6.91, 0.4 ]])
    """
    same_images(benign, marked, groups)
    own = groups[::VIEWS]
    if not np.array_equal(groups, np.repeat(own, VIEWS)):
        raise ValueError(f"{len(groups)} answers are not to {VIEWS} views of each image, one image's after another's")
    rows = []
    for answers in marked:
        views = directions(answers, benign).reshape(len(own), VIEWS, -1)
        known = answers.valid.reshape(len(own), VIEWS).all(axis=1)
        apart = _apart(views)
        overall = apart[known].mean() if known.any() else 1.0
        inside = (known & (own == c) for c in range(count))
        rows.append([apart[some].mean() if some.any() else overall for some in inside])
    found: np.ndarray = np.round(-np.log(np.array(rows) + NEAREST), DECIMALS)
    return found


def _apart(views: np.ndarray) -> np.ndarray:
    """One minus the mean cosine between two of an image's unit vectors: (N, V, D) to (N,)."""
    count = views.shape[1]
    total, lengths = views.sum(axis=1), (views * views).sum(axis=(1, 2))
    found: np.ndarray = 1 - ((total * total).sum(axis=1) - lengths) / (count * (count - 1))
    return found.clip(min=0)


STATISTICS.register("alignment")(Statistic(alignments, matched=False, views=VIEWS))
