"""Effects on a suspect of any kind, whose answers are read as probabilities of the owner's groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from sscl.statistics.effects import (
    DECIMALS,
    ROUNDED,
    STATISTICS,
    Statistic,
    doubtful,
    flat,
    mean_over_others,
    moved_scores,
    same_images,
    scores_of,
)
from sscl.types import Responses

SHRINKAGE = 0.3  # share of the covariance within groups that is a multiple of the identity
LEAST_WITHIN = 1e-3  # of the variance within groups, as a share of all: answers of a perfect classifier have none
SPAN = 1e-9  # directions in which answers differ by less than this share of the most are none


def attractions(benign: Responses, marked: Sequence[Responses], groups: np.ndarray, count: int) -> np.ndarray:
    """Effects on a suspect of any kind: its answers are read as probabilities of the groups, and these compared.

    How to read them is learnt from the suspect's own answers to images without a mark, whose groups are known: linear
    discriminant analysis (Fisher 1936), with a shrunken covariance. The suspect's classes are never matched to the
    groups: any number, names and order will do, and so do features.

    Args:
        benign, marked, groups: as in ``effects``.
        count: ``C``, how many groups there are.

    Returns:
        float64 (K, C), ``effects`` on the probabilities of the groups; 0 if the answers are ``flat``.

    Examples:
        >>> groups = np.array([0, 0, 1, 1])
        >>> benign = Responses(np.array([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0], [-0.1, 1.0]]), "features")
        >>> marked = Responses(benign.values[[0, 1, 0, 1]], "features")
        >>> attractions(benign, [marked], groups, 2).round(2)  # the mark turns images of group 1 into group 0
        array([[11.59,  0.  ]])
    """
    same_images(benign, marked, groups)
    if flat(benign):
        return np.zeros((len(marked), count))
    reading = Reading.fitted(benign, groups, count)
    before = scores_of(reading.odds(benign))
    rows = [
        mean_over_others(scores_of(reading.odds(answers)) - before, benign.valid & answers.valid, groups)
        for answers in marked
    ]
    return np.round(rows, DECIMALS)


def doubts(benign: Responses, marked: Sequence[Responses], groups: np.ndarray, count: int) -> np.ndarray:
    """By how much changes of ``CHANGE`` in all answers can change each entry of ``attractions``, float64 (K, C).

    Where answers to images of one group are nearly alike, their differences are read with a large factor, and digits
    could decide between groups that fit an answer equally well.
    """
    if flat(benign):
        return np.full((len(marked), count), ROUNDED)
    reading = Reading.fitted(benign, groups, count)
    before = moved_scores(reading.odds(benign), reading.doubt(benign))
    rows = [
        mean_over_others(
            moved_scores(reading.odds(answers), reading.doubt(answers)) + before, benign.valid & answers.valid, groups
        )
        for answers in marked
    ]
    return np.stack(rows) + ROUNDED


@dataclass(frozen=True)
class Reading:
    """Linear discriminants of the groups, fitted to a suspect's answers without a mark.

    Attributes:
        benign: these answers. overall: float64 (D,), the mean of their ``directions``.
        axes: float64 (R, D), an orthonormal basis of what these span; coordinates are relative to ``overall``.
        inverse: float64 (R, R), of the shrunken covariance within groups. outside: its variance beyond the span, and
            the least that it has anywhere.
        centres: float64 (C, R), each group's mean; of a group without answers, the mean of all.
        moves: float64 (C,), by how much unseen changes can move each centre. change: the same of the covariance, as an
            operator.
    """

    benign: Responses
    overall: np.ndarray
    axes: np.ndarray
    inverse: np.ndarray
    outside: float
    centres: np.ndarray
    moves: np.ndarray
    change: float

    @classmethod
    def fitted(cls, benign: Responses, groups: np.ndarray, count: int) -> Reading:
        """Groups are equally likely beforehand."""
        found, moved, _ = doubtful(benign, benign)
        rows, moves, own = found[benign.valid], moved[benign.valid], groups[benign.valid]
        overall = rows.mean(axis=0)
        _, sizes, axes = np.linalg.svd(rows - overall, full_matrices=False)
        axes = axes[sizes > SPAN * sizes.max(initial=0.0)]  # with more columns than answers, a basis of what these span
        placed = (rows - overall) @ axes.T
        inside = [own == c for c in range(count)]
        centres = np.stack([placed[some].mean(axis=0) if some.any() else np.zeros(len(axes)) for some in inside])
        moves_of = np.array([moves[some].mean() if some.any() else moves.mean() for some in inside])

        # The identity's share has the mean variance of the directions that answers vary in. How many these are must
        # not jump when a digit adds one: the square of the sum of their deviations over the sum of their squares.
        apart = placed - centres[own]
        within, between_all = float((apart**2).sum(axis=1).mean()), float((sizes**2).sum()) / len(rows)
        shifts, all_shifts = moves + moves_of[own], moves + moves.mean()
        within_moves = float((2 * np.linalg.norm(apart, axis=1) * shifts + shifts**2).mean())
        lengths = np.linalg.norm(rows - overall, axis=1)
        all_moves = float((2 * lengths * all_shifts + all_shifts**2).mean())
        steps = np.linalg.norm(all_shifts)

        def identity(side: float) -> float:
            """The identity's factor; with ``side`` 1 or -1, the most or the least that changes can make of it."""
            spread = max(within + side * within_moves, LEAST_WITHIN * (between_all + side * all_moves), 0.0)
            total = np.sqrt((sizes**2).sum()) + side * steps
            deviations = sizes.sum() - side * np.sqrt(min(rows.shape)) * steps
            if side > 0 and deviations <= 0:
                return float("inf")
            return SHRINKAGE * spread * (max(total, 0.0) / deviations) ** 2 if deviations > 0 else 0.0

        outside = identity(0.0) or SHRINKAGE
        change = (1 - SHRINKAGE) * within_moves + max(identity(1.0) - outside, outside - identity(-1.0))
        covariance = (1 - SHRINKAGE) * apart.T @ apart / len(rows) + outside * np.eye(len(axes))
        inverse = np.linalg.inv(covariance)
        return cls(benign, overall, axes, inverse, outside, centres, moves_of, change)

    def odds(self, answers: Responses) -> np.ndarray:
        """Log-odds of each group against all others, float64 (N, C)."""
        weights = self.centres @ self.inverse
        placed = (doubtful(answers, self.benign)[0] - self.overall) @ self.axes.T
        found = placed @ weights.T - 0.5 * (self.centres * weights).sum(axis=1)
        odds = np.full(found.shape, np.inf)  # if there is one group
        for c in range(found.shape[1]):
            others = np.delete(found, c, axis=1)
            if others.size:
                odds[:, c] = found[:, c] - logsumexp(others, axis=1)
        return odds

    def doubt(self, answers: Responses) -> np.ndarray:
        """By how much changes of ``CHANGE`` in all answers can change the log-odds, float64 (N, C).

        Two groups' discriminants differ by ``u' S^-1 v``, with ``u`` between the centres and ``v`` from their middle to
        the answer. If these move by ``du``, ``dv`` and ``dS``, and ``e`` is ``|dS|`` over the least variance, the
        difference changes by at most ``(|S^-1 u| (|dv| + |dS| |S^-1 v|) + |du| |S^-1 (v + dv)|) / (1 - e)``. A group's
        log-odds are the soft minimum of its differences to the others, and change by at most as much as any of them.
        """
        share = self.change / self.outside
        rows, moves, _ = doubtful(answers, self.benign)
        if not share < 1:
            return np.full((len(rows), len(self.centres)), np.inf)
        rows = rows - self.overall
        placed = rows @ self.axes.T
        beyond = np.sqrt(np.maximum((rows**2).sum(axis=1) - (placed**2).sum(axis=1), 0.0)) / self.outside
        weights, ways = self.centres @ self.inverse, placed @ self.inverse
        squares = (ways**2).sum(axis=1)[:, None] - 2 * ways @ weights.T + (weights**2).sum(axis=1)
        far = np.sqrt(np.maximum(squares, 0.0) + beyond[:, None] ** 2)  # |S^-1 (x - centre)|
        far = (far + far.max(axis=1, keepdims=True)) / 2  # ... and to the middle of two centres
        steep = np.linalg.norm(weights - weights.mean(axis=0), axis=1)
        steep = steep + steep.max()  # |S^-1 u|
        of_v, of_u = (moves + self.moves.max())[:, None], self.moves + self.moves.max()
        found: np.ndarray = (steep * (of_v + self.change * far) + of_u * (far + of_v / self.outside)) / (1 - share)
        return found


STATISTICS.register("attraction")(Statistic(attractions, doubts, matched=False))
