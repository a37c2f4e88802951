"""An audit from the suspect's address to a bundle of evidence."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyrage import x25519
from safetensors.torch import save

from sscl.artifacts import load_tensors, read_json
from sscl.audit import beacon, bundle, timestamp
from sscl.audit.canonical import canonical
from sscl.audit.check_suspect import FILES, is_mapped, unclear
from sscl.audit.commitment import load_queries
from sscl.audit.guarantees import guarantees, out_of_order
from sscl.audit.opening import differences, draw_word, null_key
from sscl.audit.parts import AUDIT, IMAGES, PULSE, QUERIES, RAW, SEALED, TOKEN, pack_record
from sscl.audit.protocol import ask
from sscl.audit.record import Record, Sent, parts
from sscl.audit.references import references_for
from sscl.audit.spending import level
from sscl.audit.trial import enough, none_missing
from sscl.audit.verdict import Finding, decide, lowest_p, undecidable
from sscl.config import AuditConfig
from sscl.errors import BudgetError, ConfigError, InputError
from sscl.layout import COMMITMENT, DRAW, FINDING, OPENING, SENT
from sscl.parsing import parse
from sscl.provenance import versions
from sscl.statistics.effects import STATISTICS
from sscl.suspects import Oracle
from sscl.watermarks.base import State
from sscl.watermarks.io import GENERATOR
from sscl.watermarks.ownership_code import WORD, marks_digest

SAMPLE = 100  # answers that tell how large all will be


@dataclass(frozen=True)
class Case:
    """What the owner brings to an audit.

    Attributes:
        word: the released one, int64 (K,).
        opening: what was committed to.
        commitment: as published; ``None`` for an exploratory audit.
        pulse: the beacon's, with which the word was drawn; ``None`` without a beacon.
        token: the RFC 3161 response of a time-stamp authority; ``None`` without one.
        sent: the committed queries.
        config: the protocol.
    """

    word: np.ndarray
    opening: dict[str, Any]
    commitment: dict[str, Any] | None
    pulse: beacon.Pulse | None
    token: bytes | None
    sent: Sent
    config: AuditConfig

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.opening["group_names"])

    @property
    def suspects_classes(self) -> tuple[str, ...] | None:
        """The classes that a suspect must answer with; ``None`` where they may be its own."""
        return self.class_names if STATISTICS[self.config.statistic].matched else None

    @property
    def labels(self) -> list[int]:
        """The verification images' own classes."""
        return list(self.opening["labels"])

    @property
    def stamped(self) -> datetime | None:
        """When a time-stamp authority saw the commitment; raises ``InputError`` if the token is of something else."""
        return timestamp.read(self.token, self.commitment) if self.token and self.commitment else None


def prepare(secret: Path, opening: Path, commitment: Path | None) -> Case:
    """Load the secret and hold it against the commitment.

    Args:
        secret: private folder of the release.
        opening: ``opening.json`` of ``sscl stage commit``, with the queries beside it; its protocol counts.
        commitment: the published ``commitment.json``; its time stamp, if there is one, is found by ``reply_to``.
            ``None`` for an exploratory audit.

    Raises:
        ConfigError: a method without an exact test. InputError: files that are not the committed ones.
    """
    opened = read_json(opening)
    if "groups" not in opened:
        raise ConfigError(
            f"{opening}: its release was made by a method without an exact test; release with ownership_code to audit"
        )
    tensors, _ = load_tensors(secret / GENERATOR)
    config = parse(AuditConfig, opened.get("protocol", {}), f"{opening}: protocol")
    drawn = read_json(secret / DRAW)["pulse"]
    pulse = drawn and beacon.read(drawn, drawn["source"])
    published = read_json(commitment) if commitment else None
    if published is not None and (wrong := differences(published, opened)):
        raise InputError(f"{commitment}: {wrong[0]}; without the matching commitment no result is confirmatory")
    sent = load_queries(opening.with_name(SENT), opened)
    if marks_digest(State(tensors)) != opened["marks"]:
        raise InputError(f"{secret / GENERATOR}: the marks are not the committed ones; use the committed files")
    word = draw_word(opened, pulse)
    if WORD not in tensors or tensors[WORD].tolist() != word.tolist():
        raise InputError(
            f"{secret / GENERATOR}: its word does not follow from commitment and beacon; use the release's"
        )
    token = timestamp.reply_to(commitment) if commitment else None
    stamp = token.read_bytes() if token else None
    return Case(word, opened, published, pulse, stamp, sent, config)


def examine(
    case: Case,
    oracle: Oracle,
    target: Path | None = None,
    *,
    key: Ed25519PrivateKey | None = None,
    occasion: int | None = None,
    seal_to: Sequence[x25519.Recipient] = (),
) -> tuple[Finding, dict[str, Any]]:
    """Audit one suspect and write the bundle to ``target``; the finding, and what else the evidence says of the audit.

    A spent budget leaves a finding on what was answered, inconclusive if that is too little.

    Args:
        occasion: which audit of this suspect under this commitment it is, if there may be several: they share alpha.
        seal_to: age public keys of who may see the queries; without any, everybody who has the bundle does.

    Raises:
        InputError: no answers could decide the audit, which is known before any query; commitment, time stamp, beacon
            and audit do not follow each other; or the bundle would be so large that nobody reads it, which the answers
            under the first mark show.
        SuspectError, SSCLError: it gives no answers, or stops answering; the answers so far of an API are kept.
    """
    started = datetime.now(UTC)
    if case.commitment and (wrong := out_of_order(case.commitment, case.pulse, case.stamped, started)):
        raise InputError(f"{wrong[0]}; such a result is not confirmatory")
    record = Record(0, len(case.class_names), case.labels)
    word, interruption = case.word, None
    alpha = case.config.alpha if occasion is None else level(case.config.alpha, occasion)
    omits = oracle.identity()["kind"] not in FILES
    lowest = lowest_p(case.config, len(word), len(case.class_names)) * float(none_missing(omits))
    if lowest > alpha:
        raise InputError(undecidable(lowest, alpha, len(word), len(case.class_names)))
    if unsaid := unclear(plain(oracle.identity()), oracle.interface, oracle.reading):
        raise InputError(f"{oracle.address}: `sscl check` would refuse the evidence: {unsaid[0]}")
    try:
        stop = enough(case.config, word, alpha, partial(references_for, case.opening))
        if target:
            stop = _bounded(target, case, oracle, stop)
        ask(oracle, case.sent, case.config, record=record, enough=stop)
    except BudgetError as error:
        interruption = str(error)
        if len(record.queries) < 2 * parts(case.config, len(case.labels))[0][1]:
            raise
    references = references_for(case.opening, record)
    null = null_key(case.opening, case.pulse)
    finding = decide(
        record,
        case.config,
        word,
        references=references,
        occasion=occasion,
        null=null,
        mapped=is_mapped(oracle.reading),
        omits=omits,
    )
    answered_at = [datetime.fromisoformat(line["at"]) for line in oracle.transcript if "at" in line]
    audit = {
        "suspect": plain(oracle.identity()),
        "class_names": list(oracle.class_names),
        "groups": len(case.class_names),
        "labels": record.labels,
        "word": word.tolist(),
        "protocol": asdict(case.config),
        "occasion": occasion,
        "access": record.access,
        "confirmatory": case.commitment is not None,
        "guarantees": guarantees(case.commitment, case.opening, case.pulse, case.stamped),
        "reader": oracle.reading,
        "interface": oracle.interface,
        "started": min([started, *answered_at]).isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "interruption": interruption,
        "versions": versions(),
    }
    if target:
        found = {AUDIT: canonical(audit), QUERIES: pack_record(record), FINDING: canonical(asdict(finding))}
        queries = save({str(mark): images for mark, images in case.sent.items()})
        if case.commitment:
            found |= {COMMITMENT: canonical(case.commitment), OPENING: canonical(case.opening)}
        if case.pulse:
            found[PULSE] = canonical(case.pulse.as_json())
        if case.token:
            found[TOKEN] = case.token
        found |= {SEALED: pyrage.encrypt(queries, seal_to)} if seal_to else {IMAGES: queries}
        if oracle.transcript:
            found[RAW] = b"".join(canonical(line) + b"\n" for line in oracle.transcript[: len(record.queries)])
        bundle.write(target, found, key)
    return finding, audit


def plain(identity: dict[str, str]) -> dict[str, str]:
    """A suspect's particulars as ``check`` takes them: but for the kind, blanks and non-ASCII are percent-encoded."""
    said = {name: quote(value, safe=string.punctuation) for name, value in identity.items()}
    return said | {"kind": identity["kind"]}


def _bounded(
    target: Path, case: Case, oracle: Oracle, stop: Callable[[Record], bool] | None
) -> Callable[[Record], bool]:
    """``stop``, after a look at the first answers: how large will the evidence be?"""
    looked = False

    def found(record: Record) -> bool:
        nonlocal looked
        if not looked:
            looked = True
            refuse_if_large(record)
        return stop(record) if stop else False

    def refuse_if_large(record: Record) -> None:
        some = replace(record, queries=record.queries[:SAMPLE])
        each = len(pack_record(some)) / len(some.queries)
        told = sum(len(canonical(line)) + 1 for line in oracle.transcript) / len(record.queries)
        size = int((each + told) * len(record.labels) * len(case.sent)) + sum(
            images.nbytes for images in case.sent.values()
        )
        if size > bundle.LARGEST:
            raise InputError(
                f"{target}: would have about {size >> 20} MiB, more than {bundle.LARGEST >> 20}: answers have "
                f"{record.classes} numbers, and replies {int(told):,} bytes; ask for less, or audit without a bundle"
            )

    return found
