"""A commitment before the word is drawn: marks, groups, images, references and test are fixed, and none is revealed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sscl.artifacts import load_tensors, save_tensors
from sscl.audit import beacon
from sscl.audit.canonical import digest_of
from sscl.audit.protocol import Record, Sent, ask, image_sha256, parts
from sscl.audit.questions import Questions
from sscl.audit.trial import References, Trial
from sscl.config import AuditConfig, BeaconConfig
from sscl.errors import ConfigError, InputError
from sscl.keystream import Keystream
from sscl.statistics import words
from sscl.statistics.effects import STATISTICS
from sscl.suspects import Oracle, nhwc
from sscl.types import BENIGN
from sscl.watermarks.ownership_code import OwnershipCode

FORMAT = "sscl-commitment/8"
MOST_COMPARED = 20_000_000  # images times classes
LEAST_REFERENCE, LARGEST_REFERENCE = 5e-7, 1e6  # sizes of a reference effect: they are rounded to six decimals
SURE = 1 - 1e-5  # probability: if most answers are so sure, they are compared with the reference's labels
LEAST_EFFECT = 0.01  # in the unit of the statistic ``effect``: less could come from the last digits of answers
MOST_IMAGES = 10_000  # of an audit, without a mark; a view counts as one
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
        "references": reference_effects(draft),
    }


def images_key(salt: bytes) -> Keystream:
    """What the committed verification images are drawn with: nobody knows them before the opening."""
    return Keystream(salt).part("images")


def salt_of(key: Keystream) -> bytes:
    """32 bytes that keep the commitment from being opened by trying, and draw the verification images."""
    return key.part("salt").take(32)


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


def reference_effects(draft: Draft) -> dict[str, dict[str, list[list[float]]]]:
    """The effects on the owner's clean model, for suspects that give probabilities, labels or features."""
    images, sent = draft.questions.images, draft.questions.sent
    config, marks = replace(draft.config, test="exact"), len(sent) - 1
    record = Record(0, images.classes, images.labels.tolist())
    ask(draft.reference, sent, config, record=record)
    seen = {"probabilities": record, "labels": record.labels_only()}
    if draft.encoder:
        seen["features"] = Record(0, images.classes, images.labels.tolist())
        ask(draft.encoder, sent, config, record=seen["features"])
    spans = {"first": parts(draft.config, len(images))[0][1], "all": len(images)}
    return {
        access: {
            name: np.round(Trial(answers, config, marks).effects_over(span), 6).tolist() for name, span in spans.items()
        }
        for access, answers in seen.items()
    }


def references_for(opening: dict[str, Any], record: Record) -> References:
    """The committed reference effects for a suspect that tells so much as its answers do, whatever they are called."""
    if record.access == "features":
        return references_of(opening, "features")
    first = takewhile(lambda query: query.mark == BENIGN, record.queries)  # what is known when the first bet is made
    told = [query.answer for query in first if query.answer is not None]
    sure = [max(row) >= SURE for row in told]  # most: one answer more or less, or a digit of one, changes nothing
    return references_of(opening, "labels" if 2 * sum(sure) > len(sure) else "probabilities")


def references_of(opening: dict[str, Any], access: str) -> References:
    """The committed reference effects for ``probabilities``, ``labels`` or ``features``.

    Raises:
        InputError: the commitment has none for this access.
    """
    found = opening["references"].get(access)
    if found is None:
        raise InputError(f"references: none for {access}; commit to attraction or alignment as audit.statistic")
    first, all_ = (np.array(found[part], dtype=np.float64) for part in ("first", "all"))
    for part in (first, all_):
        sizes = np.abs(part[part != 0])
        if part.shape != (opening["mark_count"], opening["groups"]) or not np.isfinite(part).all():
            raise InputError(
                "references: expected a finite number for each mark and group, as `sscl stage commit` writes"
            )
        if sizes.size and not (sizes.min() >= LEAST_REFERENCE and sizes.max() <= LARGEST_REFERENCE):
            raise InputError("references: sizes that no effects have; expected those that `sscl stage commit` writes")
    return References(first, all_)


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


def sha256_of(images: Tensor) -> list[str]:
    """Each image's digest as it is recorded when it is sent."""
    return [image_sha256(image) for image in nhwc(images)]


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


def commitment_digest(commitment: dict[str, Any]) -> str:
    """SHA-256 of a whole commitment, date and pulse included: what a time stamp is of, and what to publish.

    ``sha256`` in it is the opening's alone, so two commitments to one opening, for two pulses, share that.
    """
    return digest_of(commitment)


def copy_for(opening: dict[str, Any], recipient: str, key: Keystream) -> dict[str, Any]:
    """What is committed to for one recipient's copy: the same marks and images, and a secret of its own.

    It differs from one dataset, version and attempt to the next, as the release's does: a model that knows one copy's
    word knows no other. The secret comes from the release's key, so that who has one opening knows no other word. A
    copy has a commitment of its own: if the name alone decided the word, an owner could try names until one fits.
    """
    return {**opening, "recipient": recipient, "secret": key.part("copy", opening["secret"], recipient).take(32).hex()}


def null_key(opening: dict[str, Any], pulse: beacon.Pulse | None) -> Keystream:
    """What the words of the null distribution are drawn with, where they are too many to list.

    It follows from the pulse, as the word does: references that are committed to before cannot be fitted to it.
    """
    return Keystream(beacon.mixed(bytes.fromhex(opening["secret"]), pulse)).part("null words")


def require_for(opening: dict[str, Any], carrier: str) -> None:
    """Raise ``ConfigError`` if the commitment is for something else: its word is for one dataset, or one encoder."""
    found = opening["protocol"]["protects"]
    if found != carrier:
        raise ConfigError(
            f"audit.protects: {found}, and this would put the word into the {carrier}; commit with {carrier}, in an "
            "output root of its own"
        )


def draw_word(opening: dict[str, Any], pulse: beacon.Pulse | None) -> np.ndarray:
    """The word, int64 (K,): it follows from the committed secret, the beacon's pulse and what is protected.

    A dataset and an encoder have different words even if an owner commits to both with one secret.
    """
    stream = Keystream(beacon.mixed(bytes.fromhex(opening["secret"]), pulse))
    if opening["protocol"]["protects"] == "encoder":
        stream = stream.part("encoder")
    drawn: np.ndarray = words.draw(opening["mark_count"], opening["groups"], stream)[0]
    return drawn


def differences(commitment: dict[str, Any], opening: dict[str, Any]) -> list[str]:
    """Why the opening is not the commitment's; empty if it is."""
    if commitment.get("format") != FORMAT or opening.get("format") != FORMAT:
        return [f"commitment: format {commitment.get('format')!r}, expected {FORMAT}"]
    found = digest_of(opening)
    return [] if found == commitment.get("sha256") else ["commitment: its SHA-256 is not the opening's"]


def require_marks(watermark: object) -> OwnershipCode:
    """The watermark, if it can be tested exactly; raises ``ConfigError``."""
    if not isinstance(watermark, OwnershipCode):
        raise ConfigError(
            "generator.method: this method has no exact test; release with ownership_code to commit and audit"
        )
    return watermark
