"""From a record of answers to a verdict with its reason: the same function for the audit and for who checks it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from sscl.audit.base import KEY_TESTS
from sscl.audit.protocol import BENIGN, RELEASED, Record
from sscl.audit.statistic import Effect, effect
from sscl.config import AuditConfig
from sscl.verify import TESTS
from sscl.verify.rank import floor, holm, rank_p_value

Decision = Literal["trained-on-it", "no evidence", "inconclusive"]
TAU = 0.25  # the published test's margin; its outcome is shown and decides nothing


@dataclass(frozen=True)
class Finding:
    """What an audit found.

    Attributes:
        decision, reason: the verdict, and why in plain words.
        test, p_value, alpha, floor: the primary test, its p-value, level, and the smallest p-value it could give.
        statistic, delta_p, wsr: the released key's effect (on labels only: of hits).
        decoys: the decoys' statistics in order.
        answered: share of images that were answered.
        queries: how many images were sent.
        adjusted: p-values of all tests about innocent models, corrected for their number (Holm).
        conformal: ``{"p_value", "floor", "references"}`` against clean reference models, or ``None``.
        published: the published test's p-value and what it would have said.
    """

    decision: Decision
    reason: str
    test: str
    p_value: float
    alpha: float
    floor: float
    statistic: float
    delta_p: float
    wsr: float
    decoys: list[float]
    answered: float
    queries: int
    adjusted: dict[str, float]
    conformal: dict[str, Any] | None
    published: dict[str, Any]


def decide(
    record: Record, target_class: int, classes: int, config: AuditConfig, references: list[float] | None = None
) -> Finding:
    """Derive every figure from the record.

    Args:
        record: what was asked and answered, perhaps broken off.
        target_class: of the release.
        classes: number of classes.
        config: the committed protocol.
        references: the released key's statistic on clean reference models, for the conformal test.

    Raises:
        ValueError: the record does not even have the released key's answers, or leaves out decoys: whoever could drop
            those that reach the released key could accuse anybody.
    """
    benign = record.responses(BENIGN, classes)
    released = record.responses(RELEASED, classes)
    if len(released) != len(benign) or len(benign) < 2:
        raise ValueError("the record lacks answers to the released key")
    _check_complete(record, config, len(benign))
    observed = effect(benign, released, target_class)
    others, shares = [], [observed.answered, float(benign.valid.mean())]
    test = KEY_TESTS[config.test](config.alpha, config.decoys, observed.statistic)
    for key in record.keys:
        answers = record.responses(key, classes)
        if key == RELEASED or len(answers) != len(benign):
            continue
        found = effect(benign, answers, target_class)
        others.append(found.statistic)
        shares.append(found.answered)
        test.add(found.statistic)
    p_value = test.p_value if test.done else 1.0
    lowest = KEY_TESTS[config.test].floor(config.alpha, config.decoys)
    conformal = None
    if references:
        p_conformal = rank_p_value(observed.statistic, references)
        conformal = {"p_value": p_conformal, "floor": floor(len(references)), "references": len(references)}
    decision, reason = _conclude(config, test.done, p_value, lowest, observed, others, min(shares))
    all_tests = {config.test: p_value} | ({"conformal": conformal["p_value"]} if conformal else {})
    published = (
        TESTS["paired_t"](TAU, config.alpha).run(benign, released, target_class)
        if observed.answered * len(benign) >= 2
        else None
    )
    return Finding(
        decision=decision,
        reason=reason,
        test=config.test,
        p_value=p_value,
        alpha=config.alpha,
        floor=lowest,
        statistic=observed.statistic,
        delta_p=observed.delta_p,
        wsr=observed.wsr,
        decoys=others,
        answered=min(shares),
        queries=len(record.queries),
        adjusted=holm(all_tests),
        conformal=conformal,
        published={"p_value": published.p_value, "accuses": published.rejected} if published else {},
    )


def _check_complete(record: Record, config: AuditConfig, images: int) -> None:
    keys = record.keys
    if keys != list(range(len(keys))) or len(keys) > 1 + config.decoys:
        raise ValueError(f"keys must be 0 to at most {config.decoys}, in order and without gaps")
    asked = Counter(query.key for query in record.queries)
    if any(asked[key] != images for key in keys[:-1]):
        raise ValueError("every key but the last must have been asked about all images")


def _conclude(
    config: AuditConfig,
    done: bool,
    p_value: float,
    lowest: float,
    observed: Effect,
    others: list[float],
    answered: float,
) -> tuple[Decision, str]:
    reached = sum(value >= observed.statistic for value in others)
    if lowest > config.alpha:
        return "inconclusive", (
            f"Too few keys: with {config.decoys} decoys p cannot be below {lowest:.3g}; {config.alpha:g} was asked."
        )
    if answered < config.answered:
        return "inconclusive", (
            f"The model answered only {100 * answered:.0f} % of some key's images; at least "
            f"{100 * config.answered:.0f} % was committed to. It may decline marked images, which would bias any test."
        )
    if not done:
        return "inconclusive", (
            f"Too few queries: the audit was broken off after {len(others)} of up to {config.decoys} decoy keys."
        )
    if p_value <= config.alpha:
        return "trained-on-it", (
            f"The released key moves p(target class) by {observed.delta_p:.3f} on average; of {len(others)} "
            f"keys that were drawn alike but never released, {reached} do as much. A model that never saw the "
            f"release cannot tell these keys apart, and would show this with probability at most {p_value:.3g}."
        )
    return "no evidence", (
        f"The released key moves p(target class) by {observed.delta_p:.3f} on average, and {reached} of {len(others)} "
        "keys that were never released do as much: what a model that never saw the release would show "
        f"(p = {p_value:.3g})."
    )
