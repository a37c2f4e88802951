"""Effects on a suspect of any kind, whose answers are read as probabilities of the owner's groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        within: float64 (R, R), the covariance within groups. inverse: of the shrunken one.
        identity: the multiple of the identity in the shrunken covariance: its variance in directions beyond ``axes``,
            and its least in any direction.
        centres: float64 (C, R), each group's mean; of a group without answers, the mean of all.
        moves: float64 (C,), by how much unseen changes can move each centre.
        shift: the same of an answer relative to its centre, as the root of the mean square.
        identity_moves: by how much unseen changes can move ``identity``.
        change: by how much they can move the shrunken covariance, in operator norm.
    """

    benign: Responses
    overall: np.ndarray
    axes: np.ndarray
    within: np.ndarray
    inverse: np.ndarray
    identity: float
    centres: np.ndarray
    moves: np.ndarray
    shift: float
    identity_moves: float
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

        here = identity(0.0) or SHRINKAGE
        identity_moves = max(identity(1.0) - here, here - identity(-1.0))
        covariance = apart.T @ apart / len(rows)
        return cls(
            benign,
            overall,
            axes,
            within=covariance,
            inverse=np.linalg.inv((1 - SHRINKAGE) * covariance + here * np.eye(len(axes))),
            identity=here,
            centres=centres,
            moves=moves_of,
            shift=float(np.sqrt((shifts**2).mean())),
            identity_moves=identity_moves,
            change=(1 - SHRINKAGE) * within_moves + identity_moves,
        )

    def odds(self, answers: Responses) -> np.ndarray:
        """Log-odds of each group against all others, float64 (N, C)."""
        weights = self.centres @ self.inverse
        placed = (doubtful(answers, self.benign)[0] - self.overall) @ self.axes.T
        found = placed @ weights.T - 0.5 * (self.centres * weights).sum(axis=1)
        rows, top = np.arange(len(found)), found.argmax(axis=1)
        best, others = found[rows, top], found.copy()
        others[rows, top] = -np.inf
        rest = np.logaddexp.reduce(others, axis=1)
        total = np.logaddexp(best, rest)[:, None]
        shares = np.exp(others - total)  # at most a half; 0 for the best
        odds: np.ndarray = found - total - np.log1p(-shares)
        odds[rows, top] = best - rest  # infinite if there is one group
        return odds

    def doubt(self, answers: Responses) -> np.ndarray:
        """By how much changes of ``CHANGE`` in all answers can change the log-odds, float64 (N, C).

        Two groups' discriminants differ by ``u' S^-1 v``, with ``u`` between the centres and ``v`` from their middle to
        the answer. Let these move by ``du``, ``dv`` and ``dS``, ``e`` be ``|dS|`` over the least variance, ``a`` be
        ``S^-1 u`` and ``b`` be ``S^-1 v``. The difference changes by at most

            (|a| |dv| + |du| |S^-1 (v + dv)|) / (1 - e) + |a' dS b| + |dS| |a| |b| e / (1 - e).

        ``dS`` is a multiple of the identity and what answers that move by ``h`` make of the mean of ``x x'``, so
        (Cauchy and Schwarz) ``|a' dS b|`` is at most ``h (|a| |b|_W + |a|_W |b| + h |a| |b|)`` for the latter, where
        ``|.|_W`` is the root of ``. W .``. A group's log-odds are the soft minimum of its differences to the others,
        and change by at most as much as any of them.
        """
        share = self.change / self.identity
        rows, moves, _ = doubtful(answers, self.benign)
        if not share < 1:
            return np.full((len(rows), len(self.centres)), np.inf)
        rows = rows - self.overall
        placed = rows @ self.axes.T
        beyond = np.maximum((rows**2).sum(axis=1) - (placed**2).sum(axis=1), 0.0) / self.identity**2
        weights, ways = self.centres @ self.inverse, placed @ self.inverse
        a, a_w = (_between(weights, metric) for metric in (np.eye(len(self.axes)), self.within))
        b, b_w = (
            _to_middles(ways, weights, metric, more)
            for metric, more in ((np.eye(len(self.axes)), beyond), (self.within, np.zeros(len(rows))))
        )
        dv, du = (moves + self.moves.max())[:, None], self.moves + self.moves.max()
        found: np.ndarray = (a * dv + du * (b + dv / self.identity)) / (1 - share)
        found += (1 - SHRINKAGE) * self.shift * (a * b_w + a_w * b + self.shift * a * b) + self.identity_moves * a * b
        found += self.change * a * b * share / (1 - share)
        return found


def _between(points: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """A bound on how far each of some points (C, R) is from any other, float64 (C,)."""
    apart = points - points.mean(axis=0)
    lengths = np.sqrt(np.maximum(((apart @ metric) * apart).sum(axis=1), 0.0))
    found: np.ndarray = lengths + lengths.max()
    return found


def _to_middles(rows: np.ndarray, points: np.ndarray, metric: np.ndarray, more: np.ndarray) -> np.ndarray:
    """A bound on how far each row (N, R) is from the middle of a point (C, R) and any other, float64 (N, C).

    ``more`` (N,) is added to the squares.
    """
    lengths = [((some @ metric) * some).sum(axis=1) for some in (rows, points)]
    squares = lengths[0][:, None] - 2 * rows @ metric @ points.T + lengths[1]
    far = np.sqrt(np.maximum(squares, 0.0) + more[:, None])
    found: np.ndarray = (far + far.max(axis=1, keepdims=True)) / 2
    return found


STATISTICS.register("attraction")(Statistic(attractions, doubts, matched=False))
