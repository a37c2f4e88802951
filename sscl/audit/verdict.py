"""From a record of answers to a verdict with its reason: the same function for the audit and for who checks it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sscl.audit import reading
from sscl.audit.record import Record
from sscl.audit.references import References
from sscl.audit.spending import level
from sscl.audit.trial import Trial, null_of
from sscl.config import AuditConfig
from sscl.errors import ConfigError
from sscl.keystream import Keystream
from sscl.statistics import words
from sscl.statistics.effects import centred
from sscl.statistics.paired import TESTS
from sscl.types import BENIGN, Responses

Decision = Literal["trained-on-it", "no evidence", "inconclusive"]
TAU = 0.25  # the published test's margin; its outcome is shown and decides nothing


@dataclass(frozen=True)
class Finding:
    """What an audit found.

    Attributes:
        decision, reason: the verdict, and why in plain words.
        test, p_value, floor: the committed test, its p-value, and the smallest p-value that it could give.
        alpha, occasion: the level that counts; with an occasion of a series, its share of the committed one.
        words, as_good: how many words there are or were drawn, and how many fit the answers as well as the released
            one; ``None`` if the audit ended on its first images.
        effect, least_effect: mean centred effect of the marks on their classes, and the committed least one.
        p_plain: p-value of all answers, references ignored; ``None`` where there are none.
        delta_p, wsr: mean change of the probability of a mark's class, and share of marked images answered with it.
        missing: how many images count nowhere, as ``Trial.missing``; p-values are multiplied by ``Trial.choices``.
        queries: how many images were sent.
        accuracy: share of images without a mark that are answered with their own class.
        effects: the matrix of effects, marks by groups, without what the references share.
        published: the published test's p-value, and whether it would accuse.
    """

    decision: Decision
    reason: str
    test: str
    p_value: float
    floor: float
    alpha: float
    occasion: int | None
    words: int | None
    as_good: int | None
    effect: float
    least_effect: float
    p_plain: float | None
    delta_p: float
    wsr: float
    missing: int
    queries: int
    accuracy: float
    effects: list[list[float]]
    published: dict[str, Any]


def decide(
    record: Record,
    config: AuditConfig,
    word: np.ndarray,
    *,
    references: References | None = None,
    occasion: int | None = None,
    null: Keystream | None = None,
    mapped: bool = False,
    omits: bool = False,
) -> Finding:
    """Derive every figure from the record.

    Args:
        record: what was asked and answered, perhaps broken off.
        config: the committed protocol.
        word: int (K,), the released one.
        references: effects on the owner's clean models, fixed with the commitment.
        occasion: which audit of this suspect it is, where they are repeated.
        null: draws the words of the null distribution where they are too many to list; independent of the references.
        mapped: whether a map says which class the suspect's labels are; its author may have known the word.
        omits: whether the suspect can leave images unanswered, as an API can and a file cannot.

    Raises:
        ValueError: the record does not have one mark's answers to its first images, asks out of order, or leaves images
            out: whoever could drop answers could accuse anybody.
    """
    trial = Trial(record, config, len(word), references, omits)
    alpha = config.alpha if occasion is None else level(config.alpha, occasion)
    p_exact = as_good = total = p_plain = None
    if trial.full:
        distribution = null_of(trial.matrix, null, trial.doubt)
        p_exact = trial.counted(distribution.p_value(word))
        as_good, total = distribution.at_least(word), len(distribution.statistics)
        if references:
            plain = null_of(trial.effects, null, trial.doubt, distribution.drawn)
            p_plain = trial.counted(plain.p_value(word))
    p_value, ended = _combined(trial, word, alpha, p_exact)
    matrix = trial.matrix
    middle = centred(matrix) if trial.full else matrix - matrix.mean(axis=1, keepdims=True)
    lowest = lowest_p(config, len(word), record.groups)
    effect = float(middle[np.arange(len(matrix)), word[: len(matrix)]].mean())
    outcome = Outcome(
        p_value=p_value,
        ended=ended,
        lowest=lowest,
        alpha=alpha,
        words=total,
        as_good=as_good,
        effect=effect,
        misread=reading.misread(trial),
        unshown=reading.unshown(trial, word) if mapped else [],
        slight=effect < config.least_effect and _told(trial, word) < config.least_effect,
    )
    decision, reason = _conclude(trial, outcome)
    return Finding(
        decision=decision,
        reason=reason,
        test=config.test,
        p_value=p_value,
        floor=lowest,
        alpha=alpha,
        occasion=occasion,
        words=total,
        as_good=as_good,
        effect=outcome.effect,
        least_effect=config.least_effect,
        p_plain=p_plain,
        missing=trial.missing,
        queries=len(record.queries),
        accuracy=reading.accuracy(trial),
        effects=matrix.tolist(),
        **_published(trial, word),
    )


def lowest_p(config: AuditConfig, marks: int, groups: int) -> float:
    """The smallest p-value that the committed test can give."""
    return words.floor(marks, groups) * (2 if config.test == "sequential" else 1)


def undecidable(lowest: float, alpha: float, marks: int, groups: int) -> str:
    """Why no answers could decide an audit that may use ``alpha``, and what would have helped."""
    try:
        remedy = f"commit to {words.marks_needed(groups, alpha / 2)} marks"
    except ConfigError:  # below what drawn words resolve
        remedy = "no number of marks would help, so commit to a larger alpha, or to fewer audits of one suspect"
    return (
        f"With {marks} marks and {groups} classes p cannot be below {lowest:.3g}, and this audit may use {alpha:.3g}. "
        f"No answer could decide it; {remedy}."
    )


@dataclass(frozen=True)
class Outcome:
    """The figures that a verdict follows from; named as in ``Finding``.

    ``ended``: the test reached one of its ends. ``unshown``: classes of the word of which no images show that they are
    read rightly. ``slight``: the effect is smaller than the committed least one, on labels alone as well.
    """

    p_value: float
    ended: bool
    lowest: float
    alpha: float
    words: int | None
    as_good: int | None
    effect: float
    misread: bool
    unshown: list[int]
    slight: bool


def _combined(trial: Trial, word: np.ndarray, alpha: float, p_exact: float | None) -> tuple[float, bool]:
    """The p-value of the committed test, and whether the audit reached one of its ends.

    A sequential audit spends half of the level on its first images, and half on all of them.
    """
    if trial.config.test == "exact":
        return (1.0, False) if p_exact is None else (p_exact, True)
    found = trial.bets(word, alpha / 2)
    p_value = 2 * min([found.p_value, *([] if p_exact is None else [p_exact])])
    return min(1.0, p_value), found.rejects or p_exact is not None


def _published(trial: Trial, word: np.ndarray) -> dict[str, Any]:
    """``delta_P``, WSR and the published t-test over all marks: images of other classes than the mark's."""
    record, images = trial.record, np.arange(trial.images)
    nothing: dict[str, Any] = {"delta_p": 0.0, "wsr": 0.0, "published": {}}
    if not trial.by_class:
        return nothing
    labels, benign = np.array(record.labels)[images], trial.answers[BENIGN].take(images)
    before, after, targets = [], [], []
    for mark in trial.asked:
        given = trial.answers[mark].take(images)
        rows = np.flatnonzero((labels != word[mark]) & given.valid & benign.valid)
        before.append(benign.values[rows])
        after.append(given.values[rows])
        targets.append(np.full(len(rows), word[mark]))
    target = np.concatenate(targets)
    if len(target) < 2:
        return nothing
    pair = [Responses(np.concatenate(p), record.access) for p in (before, after)]
    verdict = TESTS["paired_t"](TAU, trial.config.alpha).run(pair[0], pair[1], target)
    published = {"p_value": verdict.p_value, "accuses": verdict.rejected}
    return {"delta_p": verdict.delta_p, "wsr": verdict.wsr, "published": published}


def _told(trial: Trial, word: np.ndarray) -> float:
    """The effect on the answered labels alone: a suspect that softens its probabilities does not soften these."""
    if trial.record.access in ("labels", "features"):
        return 0.0
    labels = Trial(trial.record.labels_only(), trial.config, trial.marks).effects
    middle = labels - labels.mean(axis=1, keepdims=True)
    return float(middle[np.arange(len(labels)), word[: len(labels)]].mean())


def _large(number: int) -> str:
    return f"{number:,}" if number < 10**9 else f"about 10^{math.floor(math.log10(number))}"


def _conclude(trial: Trial, outcome: Outcome) -> tuple[Decision, str]:
    record, config, marks = trial.record, trial.config, trial.marks
    p_value, alpha = outcome.p_value, outcome.alpha
    lowest = trial.counted(outcome.lowest)
    if outcome.lowest > alpha or (lowest > alpha and not trial.missing):
        return "inconclusive", undecidable(lowest, alpha, marks, record.groups)
    left_out = ""
    if trial.missing:
        left_out = (
            f" {trial.missing} of {trial.images // trial.views} images were not answered under every mark. Whoever "
            f"knows the assignment could have chosen them, so p is multiplied by {_large(int(trial.choices))}."
        )
    if lowest > alpha:
        return "inconclusive", f"No answer could decide this audit.{left_out} Ask for the missing answers again."
    if outcome.misread:
        return "inconclusive", (
            f"The model answers the {trial.images} images without a mark no better than by guessing, or better if its "
            "classes are put into another order. It is probably queried wrongly: check the range of pixel values, "
            "their normalisation, the channels, and the order of the classes, or audit with attraction if its classes "
            "are others."
        )
    if outcome.unshown:
        return "inconclusive", (
            f"The suspect's labels are read by a map of names, and for {len(outcome.unshown)} classes of the released "
            f"assignment fewer than {reading.SHOWN} images without a mark show that the map is right, or others say "
            "that it is wrong. Ask for indices instead of names, or commit to more audit.images."
        )
    if not outcome.ended:
        return "inconclusive", f"The audit was broken off after {len(record.queries)} images, too few for a result."
    crops = f", each in {trial.views} crops" if trial.views > 1 else ""
    each = f"{len(record.labels) // trial.views} images without a mark, and the same under each of {marks} marks{crops}"
    if outcome.words is None or outcome.as_good is None:
        found = "On the first of these images alone, bets on the released assignment won"
    else:
        kind = "possible" if outcome.words == words.count(marks, record.groups) else "randomly drawn"
        found = f"Of {outcome.words:,} {kind} assignments, {outcome.as_good:,} fit the answers at least as well "
        found += f"as the released one.{left_out}".removesuffix(".")
    released, innocent = "release", "that never saw the release"
    if config.protects == "encoder":
        released, innocent = "encoder", "that was not built on the encoder"
    if p_value > alpha:
        return "no evidence", (
            f"The audit sends {each}. {found}. A model {innocent} gives such a result, or a stronger "
            f"one, with probability up to {p_value:.3g}; the commitment asks for {alpha:.3g} or less."
        )
    if outcome.slight:
        return "inconclusive", (
            f"The audit sends {each}. {found} (p = {p_value:.3g}), but the effect of {outcome.effect:.3g} is "
            f"smaller than the {config.least_effect:g} that was committed to as worth mentioning, and so is that on "
            "its labels."
        )
    return "trained-on-it", (
        f"The audit sends {each}. Which class each mark was assigned to in the {released} was drawn at random, and a "
        f"model {innocent} cannot know it. {found}. The probability that such a model "
        f"gives this result, or a stronger one, is at most {p_value:.3g}; the commitment asks for "
        f"{alpha:.3g} or less."
    )
