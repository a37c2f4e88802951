"""Whether a suspect's classes are read as they are meant: its answers to images without a mark tell."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from sscl.audit.trial import Trial
from sscl.types import BENIGN

ANOTHER_ORDER = 0.1  # share of images by which another order of the classes may fit better by chance
GUESSING = 0.05  # level of the test that a model does better than guesses
SHOWN = 2  # images of a class that show which label is the class's


def _unmarked(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """What the answered images without a mark are answered, and their own classes."""
    images = np.arange(trial.images)
    benign = trial.answers[BENIGN].take(images)
    return benign.predictions[benign.valid], np.array(trial.record.labels)[images][benign.valid]


def accuracy(trial: Trial) -> float:
    """Share of the answered images without a mark that are answered with their class; 0 if the classes are others."""
    told, own = _unmarked(trial)
    return float((told == own).mean()) if trial.by_class and len(told) else 0.0


def misread(trial: Trial) -> bool:
    """Whether images without a mark are answered no better than by guesses, at 5 %, or better in another class order.

    The second also keeps an owner who knows the word from choosing an order that fits it.
    """
    record = trial.record
    if not trial.by_class:
        return False
    told, own = _unmarked(trial)
    rows, columns = (np.unique(seen, return_inverse=True)[1] for seen in (own, told))  # classes that occur
    confusion = np.zeros((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1))
    np.add.at(confusion, (rows, columns), 1)
    best = confusion[optimize.linear_sum_assignment(confusion, maximize=True)].sum()
    right, count = (own == told).sum(), len(told)
    guessed = stats.binom.sf(right - 1, count, 1 / record.classes) > GUESSING
    return bool(guessed or best - right > max(3, ANOTHER_ORDER * count))


def unshown(trial: Trial, word: np.ndarray) -> list[int]:
    """Classes of the word that images do not show to be read rightly: a map could name them at will.

    Two images must be answered with their class, and neither may another label be answered more often to its images,
    nor the label more often to images of another class.
    """
    if not trial.by_class:
        return []
    told, own = _unmarked(trial)
    classes = trial.record.classes
    found = []
    for group in np.unique(word).tolist():
        answered = np.bincount(told[own == group], minlength=classes)
        given = np.bincount(own[told == group], minlength=classes)
        if answered[group] < max(SHOWN, answered.max(), given.max()):
            found.append(group)
    return found
