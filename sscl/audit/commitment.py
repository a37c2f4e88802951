"""A commitment before the word is drawn: marks, groups, images, references and test are fixed, and none is revealed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sscl.artifacts import load_tensors, save_tensors
from sscl.audit import beacon
from sscl.audit.canonical import digest_of
from sscl.audit.opening import FORMAT, LEAST_EFFECT, salt_of
from sscl.audit.protocol import ask
from sscl.audit.questions import Questions
from sscl.audit.record import MOST_COMPARED, MOST_IMAGES, Record, Sent, parts, sha256_of
from sscl.audit.references import References
from sscl.audit.trial import Trial
from sscl.config import AuditConfig, BeaconConfig
from sscl.errors import ConfigError, InputError
from sscl.keystream import Keystream
from sscl.statistics import words
from sscl.statistics.effects import STATISTICS
from sscl.suspects import Oracle
from sscl.types import BENIGN

MOST_QUERIES = 200_000  # whose digests fill 13 MiB of the opening; `check` reads 16
MOST_BYTES = 1 << 28  # of its images under all marks: half of what a bundle or a sealed secret may have
MARGIN = 10  # a commitment whose smallest p-value is not this many times below alpha is refused


@dataclass(frozen=True)
class Draft:
    """What an owner commits with.

    Attributes:
        marks: SHA-256 of the marks, under no word.
        questions: the verification images, and what a suspect will be sent of them.
        config: the protocol.
        reference: a clean model of the owner's.
        encoder: the same asked for features, where those are compared; ``None`` where they are not.
    """

    marks: str
    questions: Questions
    config: AuditConfig
    reference: Oracle
    encoder: Oracle | None = None


def open_up(draft: Draft, key: Keystream) -> dict[str, Any]:
    """What is committed to.

    Args:
        draft: marks, images, protocol, reference.
        key: what the salt and the secret of the word are drawn from.

    Raises:
        ConfigError: so few marks that no answer could be evidence enough, or a least effect that says nothing.
    """
    if STATISTICS[draft.config.statistic].matched and draft.config.least_effect < LEAST_EFFECT:
        raise ConfigError(
            f"audit.least_effect: {draft.config.least_effect:g} is not possible with audit.statistic "
            f"{draft.config.statistic}, expected {LEAST_EFFECT:g} or more"
        )
    images, sent = draft.questions.images, draft.questions.sent
    check_floor(len(sent) - 1, images.classes, draft.config)
    check_size(sent, images.classes)
    effects = reference_effects(draft.questions, draft.config, draft.reference, draft.encoder)
    return {
        "format": FORMAT,
        "salt": salt_of(key).hex(),
        "secret": key.part("secret").take(32).hex(),
        "marks": draft.marks,
        "mark_count": len(sent) - 1,
        "groups": images.classes,
        "group_names": list(images.class_names),
        "protocol": asdict(draft.config),
        "labels": images.labels.tolist(),
        "queries": {str(mark): sha256_of(some) for mark, some in sent.items()},
        "references": {access: found.as_json() for access, found in effects.items()},
    }


def check_floor(marks: int, groups: int, config: AuditConfig) -> None:
    """Raises ``ConfigError`` with the number of marks that would do, if so many cannot be evidence enough."""
    lowest = words.floor(marks, groups)
    if lowest > config.alpha / MARGIN:
        wanted = words.marks_needed(groups, config.alpha / MARGIN)
        raise ConfigError(
            f"generator.ownership_code.marks: {marks} marks and {groups} classes give no p below {lowest:.3g}, which "
            f"is not {MARGIN} times below audit.alpha {config.alpha:g}; use a larger audit.alpha, {wanted} marks or "
            "more if the family has so many, or more classes"
        )


def check_size(sent: Sent, classes: int) -> None:
    """Raises ``ConfigError`` if evidence with these images would be larger than anybody reads."""
    asked, size = len(sent[BENIGN]), sum(images.nbytes for images in sent.values())
    if asked * classes > MOST_COMPARED:
        raise ConfigError(
            f"audit.images: {asked} images or crops of {classes} classes; images times classes may be "
            f"{MOST_COMPARED:,} in evidence; use fewer"
        )
    if asked > MOST_IMAGES or asked * len(sent) > MOST_QUERIES or size > MOST_BYTES:
        raise ConfigError(
            f"audit.images: {asked} images or crops without a mark, {asked * len(sent):,} queries and {size >> 20} "
            f"MiB under all marks; evidence has at most {MOST_IMAGES}, {MOST_QUERIES:,} and {MOST_BYTES >> 20} MiB; "
            "use fewer"
        )


def reference_effects(
    questions: Questions, config: AuditConfig, reference: Oracle, encoder: Oracle | None = None
) -> dict[str, References]:
    """The effects on the owner's clean model, for suspects that give probabilities, labels or features.

    Args:
        questions, config: what a suspect will be asked, and the protocol.
        reference, encoder: as of ``Draft``.
    """
    images, sent, whole = questions.images, questions.sent, replace(config, test="exact")
    record = Record(0, images.classes, images.labels.tolist())
    ask(reference, sent, whole, record=record)
    seen = {"probabilities": record, "labels": record.labels_only()}
    if encoder:
        seen["features"] = Record(0, images.classes, images.labels.tolist())
        ask(encoder, sent, whole, record=seen["features"])
    first = parts(config, len(images))[0][1]
    trials = {access: Trial(answers, whole, len(sent) - 1) for access, answers in seen.items()}
    return {
        access: References(*(np.round(trial.effects_over(span), 6) for span in (first, len(images))))
        for access, trial in trials.items()
    }


def store_queries(path: Path, sent: Sent) -> None:
    """Keep the images that will be sent: another kind of machine may round marks differently, and digests would too."""
    save_tensors(path, {str(mark): images for mark, images in sent.items()}, {})


def load_queries(path: Path, opening: dict[str, Any]) -> Sent:
    """The committed images; raises ``InputError`` if they are others than the opening's."""
    tensors, _ = load_tensors(path)
    wanted = opening["queries"]
    if set(tensors) != set(wanted) or any(sha256_of(tensors[mark]) != wanted[mark] for mark in wanted):
        raise InputError(f"{path}: not the committed images; restore the file that `sscl stage commit` wrote")
    return {int(mark): images for mark, images in tensors.items()}


def seal(opening: dict[str, Any], dataset: str, config: AuditConfig, source: BeaconConfig) -> dict[str, Any]:
    """The commitment to publish, with this machine's time; a time-stamp token says it with authority.

    It names the dataset, the version and the attempt, so that an owner who commits several times and keeps the attempt
    that he likes best shows it; and the beacon's pulse that the word will be drawn with, so that none can be chosen.
    """
    created = datetime.now(UTC).replace(microsecond=0)
    return {
        "format": FORMAT,
        "sha256": digest_of(opening),
        "dataset": dataset,
        "version": config.version,
        "attempt": config.attempt,
        "signer": config.signer,
        "created": created.isoformat(),
        "beacon": source.source,
        "pulse": beacon.promised(source.source, created, source.delay_seconds),
    }
