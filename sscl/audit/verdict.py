"""From a record of answers to a verdict with its reason: the same function for the audit and for who checks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sscl.audit.base import KEY_TESTS
from sscl.audit.protocol import BENIGN, RELEASED, Record, result_of
from sscl.audit.statistic import Effect, effect
from sscl.config import AuditConfig
from sscl.types import Responses
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
        statistic, delta_p, wsr: the released key's effect (on labels only: of hits); ``None`` if it was not asked.
        decoys: the statistics of the decoys that were asked, by number.
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
    statistic: float | None
    delta_p: float | None
    wsr: float | None
    decoys: list[float]
    answered: float
    queries: int
    adjusted: dict[str, float]
    conformal: dict[str, Any] | None
    published: dict[str, Any]


def decide(record: Record, config: AuditConfig, references: list[float] | None = None) -> Finding:
    """Derive every figure from the record.

    Args:
        record: what was asked and answered, perhaps broken off.
        config: the committed protocol.
        references: the released key's statistic on clean reference models, for the conformal test.

    Raises:
        ValueError: the record does not even have answers to images without a mark, asks a key twice, or leaves out
            images; or, where keys are asked in turn, leaves out keys: whoever could drop decoys could accuse anybody.
    """
    answers = _complete(record, config)
    benign = answers.pop(BENIGN)
    pairs = {key: (benign.take(np.array(record.asked(key), dtype=int)), marked) for key, marked in answers.items()}
    effects = {key: effect(*pair, record.targets[key]) for key, pair in pairs.items()}
    test = result_of(config, {key: found.statistic for key, found in effects.items()})
    shares = [float(benign.valid.mean()), *(found.answered for found in effects.values())]
    observed = effects.pop(RELEASED, None)
    others = [effects[key].statistic for key in sorted(effects)]
    done = test is not None and test.done
    p_value = test.p_value if test is not None and test.done else 1.0
    lowest = KEY_TESTS[config.test].floor(config.alpha, config.decoys)
    conformal = None
    if references and observed:
        p_conformal = rank_p_value(observed.statistic, references)
        conformal = {"p_value": p_conformal, "floor": floor(len(references)), "references": len(references)}
    decision, reason = _conclude(config, p_value, lowest, observed if done else None, others, min(shares))
    all_tests = {config.test: p_value} | ({"conformal": conformal["p_value"]} if conformal else {})
    published = (
        TESTS["paired_t"](TAU, config.alpha).run(*pairs[RELEASED], record.targets[RELEASED])
        if observed and observed.answered * len(pairs[RELEASED][0]) >= 2
        else None
    )
    return Finding(
        decision=decision,
        reason=reason,
        test=config.test,
        p_value=p_value,
        alpha=config.alpha,
        floor=lowest,
        statistic=observed.statistic if observed else None,
        delta_p=observed.delta_p if observed else None,
        wsr=observed.wsr if observed else None,
        decoys=others,
        answered=min(shares),
        queries=len(record.queries),
        adjusted=holm(all_tests),
        conformal=conformal,
        published={"p_value": published.p_value, "accuses": published.rejected} if published else {},
    )


def _complete(record: Record, config: AuditConfig) -> dict[int, Responses]:
    """Every key's answers, without a last key at which the audit was broken off."""
    queries = record.by_key()
    keys = list(queries)
    in_turn = keys == list(range(BENIGN, len(keys) + BENIGN))
    if keys[:1] != [BENIGN] or not set(keys) <= set(range(BENIGN, 1 + config.decoys)):
        raise ValueError(f"keys must be {BENIGN}, then some of 0 to {config.decoys}")
    if not (in_turn or KEY_TESTS[config.test].asks_all):
        raise ValueError("this test asks keys in turn, without gaps")
    found = {}
    for key in keys:
        asked, wanted = [query.image for query in queries[key]], record.asked(key)
        if asked == wanted:
            found[key] = record.responses(queries[key])
        elif key != keys[-1] or asked != wanted[: len(asked)]:
            raise ValueError("every key but the last must have been asked about all images of other classes, in order")
    if BENIGN not in found or len(found.get(RELEASED, found[BENIGN])) < 2:
        raise ValueError("the record lacks answers to images without a mark, or to two images of the released key")
    return found


def _conclude(
    config: AuditConfig,
    p_value: float,
    lowest: float,
    observed: Effect | None,
    others: list[float],
    answered: float,
) -> tuple[Decision, str]:
    if lowest > config.alpha:
        return "inconclusive", (
            f"Too few keys: with {config.decoys} decoys p cannot be below {lowest:.3g}; {config.alpha:g} was asked."
        )
    if answered < config.answered:
        return "inconclusive", (
            f"The model answered only {100 * answered:.0f} % of some key's images; at least "
            f"{100 * config.answered:.0f} % was committed to. It may decline marked images, which would bias any test."
        )
    if observed is None:
        return "inconclusive", (
            f"Too few queries: the audit was broken off after {len(others)} of up to {config.decoys} decoy keys."
        )
    reached = sum(value >= observed.statistic for value in others)
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
