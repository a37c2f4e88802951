"""Derive every figure of a bundle again, offline, without the model or the secret."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from sscl.answers.replies import LARGEST_REPLY, REFUSALS, Reader, Reading
from sscl.answers.scale import distributions
from sscl.audit import bundle, timestamp
from sscl.audit.canonical import canonical, same
from sscl.audit.check_commitment import not_as_committed, pulse_of
from sscl.audit.check_suspect import FILES, is_mapped, misnamed, unclear
from sscl.audit.guarantees import guarantees
from sscl.audit.opening import LEAST_EFFECT, null_key
from sscl.audit.parts import (
    AUDIT,
    IMAGES,
    MOST_MARKS,
    PULSE,
    QUERIES,
    RAW,
    REQUIRED,
    SEALED,
    TOKEN,
    is_canonical,
    too_large,
    unpack_record,
)
from sscl.audit.record import MOST_COMPARED, MOST_IMAGES, Record, sha256_of
from sscl.audit.references import references_for
from sscl.audit.verdict import decide
from sscl.config import AuditConfig
from sscl.errors import InputError, printable
from sscl.layout import COMMITMENT, FINDING, OPENING
from sscl.parsing import parse
from sscl.statistics.effects import STATISTICS
from sscl.types import BENIGN

MOST_CELLS = 20_000  # of an audit: marks times classes
LARGEST_ALPHA = 0.05
AGREEMENT = 1e-9  # exponentials and logarithms differ in their last digits between processors


@dataclass(frozen=True)
class Expected:
    """What who checks knows from elsewhere; ``None`` where he does not.

    Attributes:
        commitment: the published ``commitment.json``.
        signer: the owner's Ed25519 key in hexadecimal.
        token: the time-stamp token. authority: root certificates (PEM) of who issued it.
        suspect: SHA-256 of the suspect's file.
        images: the images that were sent, where the bundle has them sealed.

    Raises:
        InputError: the commitment is not JSON, or there is no certificate. Neither speaks against a bundle.
    """

    commitment: bytes | None = None
    signer: str | None = None
    token: bytes | None = None
    authority: bytes | None = None
    suspect: str | None = None
    images: bytes | None = None

    def __post_init__(self) -> None:
        if self.commitment is not None:
            try:
                json.loads(self.commitment)
            except (ValueError, RecursionError):
                raise InputError("--commitment: not JSON; expected commitment.json as it was published") from None
        if self.authority is not None:
            timestamp.certificates(self.authority)


def check(path: Path, expected: Expected | None = None) -> list[str]:
    """What differs; empty if the bundle is valid.

    Raises:
        InputError: not a zip file.
    """
    return examined(path, expected)[1]


def examined(path: Path, expected: Expected | None = None) -> tuple[dict[str, bytes], list[str]]:
    """The parts and what differs, of one reading of the file: it may change meanwhile."""
    parts, wrong = bundle.unpack(path)
    return parts, _differing(parts, wrong, expected or Expected())


def _differing(parts: dict[str, bytes], wrong: list[str], expected: Expected) -> list[str]:
    missing = [name for name in REQUIRED if name not in parts]
    known = {*REQUIRED, RAW, COMMITMENT, OPENING, PULSE, TOKEN, IMAGES, SEALED, bundle.ATTESTATION}
    wrong += [f"{name}: missing" for name in missing] + [
        f"{name}: not a part of a bundle" for name in set(parts) - known
    ]
    if missing:
        return wrong
    if large := [name for name in parts if too_large(name, parts[name])]:
        return [*wrong, *(f"{name}: larger than in any audit" for name in large)]
    if other := [name for name in parts if not is_canonical(name, parts[name])]:
        return [*wrong, *(f"{name}: not canonical JSON, which has one reading only" for name in other)]
    try:
        return wrong + _derive(parts) + _unexpected(parts, expected)
    except Exception as error:  # whatever a hostile bundle leads to, it is not valid
        return [*wrong, f"contents: cannot be derived again ({type(error).__name__}: {error})"]


def _unexpected(parts: dict[str, bytes], expected: Expected) -> list[str]:
    wrong = []
    if expected.signer is not None and bundle.signer(parts) != expected.signer.lower():
        wrong.append(f"signer: {bundle.signer(parts) or 'nobody'}, expected {printable(expected.signer)}")
    committed = json.loads(parts[COMMITMENT]) if COMMITMENT in parts else None
    if expected.commitment is not None and not same(committed, json.loads(expected.commitment)):
        wrong.append(f"{COMMITMENT}: not the one that was published")
    if expected.token is not None and parts.get(TOKEN) != expected.token:
        wrong.append(f"{TOKEN}: {'not the token that you have' if TOKEN in parts else 'missing'}")
    if expected.authority is not None:
        if TOKEN not in parts or committed is None:
            wrong.append(f"{TOKEN}: missing")
        else:
            try:
                timestamp.verify(parts[TOKEN], committed, expected.authority)
            except InputError as error:
                wrong.append(str(error))
    suspect = json.loads(parts[AUDIT])["suspect"]
    found = suspect.get("sha256") if suspect.get("kind") in FILES else None
    if expected.suspect is not None and found != expected.suspect:
        wrong.append(f"{AUDIT}: another suspect than this file" if found else f"{AUDIT}: is not about a file")
    if expected.images is not None:
        audit = json.loads(parts[AUDIT])
        try:
            wrong += _images(expected.images, unpack_record(parts[QUERIES], audit), audit)
        except SafetensorError:
            wrong.append(f"{IMAGES}: what you gave is no such file; decrypt images.age with age first")
    return wrong


def _derive(parts: dict[str, bytes]) -> list[str]:
    audit, stated = json.loads(parts[AUDIT]), json.loads(parts[FINDING])
    record = unpack_record(parts[QUERIES], audit)
    config = parse(AuditConfig, audit["protocol"], "protocol")
    opening = json.loads(parts[OPENING]) if OPENING in parts else None
    marks, most = len(audit["word"]), max(record.groups, record.classes)
    cells = marks * most > MOST_CELLS or len(record.labels) * most > MOST_COMPARED
    if marks > MOST_MARKS or len(record.labels) > MOST_IMAGES or cells:
        return [f"{AUDIT}: more marks, images or classes than any audit has"]
    shown = [query.answer for query in record.queries if query.answer is not None]
    if record.access == "features" and shown and distributions(np.array(shown)):
        return [f"{AUDIT}: says that answers are features, and they are probabilities"]
    if config.alpha > LARGEST_ALPHA:
        return [f"{AUDIT}: alpha {config.alpha:g}; above {LARGEST_ALPHA:g} a verdict accuses too many innocents"]
    if STATISTICS[config.statistic].matched and config.least_effect < LEAST_EFFECT:
        return [
            f"{AUDIT}: least_effect {config.least_effect:g}; below {LEAST_EFFECT:g} the last digits of answers decide"
        ]
    if unsaid := unclear(audit["suspect"], audit["interface"], audit["reader"]):
        return unsaid
    if misnamed(str(audit["suspect"].get("kind")), record.access, audit["interface"]):
        return [f"{AUDIT}: says that answers are {record.access}, and its settings do not"]
    if RAW in parts:
        record, unheard = _heard(parts[RAW], record, audit)
        if unheard:
            return unheard
    references = references_for(opening, record) if opening else None
    null = null_key(opening, pulse_of(parts)) if opening else None
    word, occasion, mapped = np.array(audit["word"]), audit["occasion"], is_mapped(audit["reader"])
    omits = audit["suspect"].get("kind") not in FILES
    found = decide(
        record, config, word, references=references, occasion=occasion, null=null, mapped=mapped, omits=omits
    )
    derived = json.loads(canonical(asdict(found)))
    wrong = [
        f"{FINDING}: {name} is {json.dumps(stated.get(name))[:60]}, derived {json.dumps(derived.get(name))[:60]}"
        for name in sorted(set(stated) | set(derived))
        if not _agree(stated.get(name), derived.get(name))
    ]
    wrong += _dated(parts, audit)
    if mapped and not STATISTICS[config.statistic].matched:
        wrong.append(f"{AUDIT}: maps names to the dataset's classes, which {config.statistic} does not compare")
    if IMAGES in parts:
        wrong += _images(parts[IMAGES], record, audit)
    if RAW not in parts and (audit["reader"] or audit["suspect"].get("kind") == "http"):
        wrong.append(f"{RAW}: missing, and the suspect is an API")
    if audit["suspect"].get("kind") in FILES and RAW in parts:
        wrong.append(f"{RAW}: an API's replies, and the suspect is a file")
    if audit["suspect"].get("kind") in FILES and any(query.answer is None for query in record.queries):
        wrong.append(f"{QUERIES}: a file that answers when it is asked has left images unanswered")
    if audit["confirmatory"] or COMMITMENT in parts:
        wrong += not_as_committed(parts, audit, record)
    elif audit["guarantees"] != guarantees(None, None, None, None):
        wrong.append(f"{AUDIT}: claims guarantees without a commitment")
    return wrong


def _agree(said: Any, derived: Any) -> bool:
    """Whether two JSON values are the same, but for the last digits of numbers."""
    if isinstance(said, dict) and isinstance(derived, dict):
        return said.keys() == derived.keys() and all(_agree(said[key], derived[key]) for key in said)
    if isinstance(said, list) and isinstance(derived, list):
        return len(said) == len(derived) and all(map(_agree, said, derived))
    if isinstance(said, float | int) and isinstance(derived, float) and not isinstance(said, bool):
        return math.isclose(said, derived, rel_tol=AGREEMENT, abs_tol=AGREEMENT / 1000)
    return bool(said == derived)


def _heard(content: bytes, record: Record, audit: dict[str, Any]) -> tuple[Record, list[str]]:
    """The record with the answers that the API's own words are read as, and where it says something else.

    Figures are derived from these: the record's may differ in their last digits, which whoever wrote it could choose.
    """
    lines = [json.loads(line) for line in content.splitlines()]
    if len(lines) != len(record.queries):
        return record, [f"{RAW}: {len(lines)} answers to {len(record.queries)} queries"]
    reader = Reader(audit["class_names"], parse(Reading, audit["reader"], "reader"))
    if reader.access != record.access:
        return record, [f"{AUDIT}: says that answers are {record.access}, and its reader reads {reader.access}"]
    wrong, queries = [], []
    for number, (line, query) in enumerate(zip(lines, record.queries, strict=True), start=1):
        if len(line["body"] or "") > LARGEST_REPLY:
            return record, [f"{RAW}: answer {number} is longer than any that an audit takes"]
        row = None if line["status"] in REFUSALS else reader.read(line["body"])
        queries.append(replace(query, answer=None if row is None else row.tolist()))
        if not _agree(query.answer, queries[-1].answer):
            wrong.append(f"{RAW}: answer {number} does not read as what {QUERIES} says")
    return replace(record, queries=queries), wrong


def _dated(parts: dict[str, bytes], audit: dict[str, Any]) -> list[str]:
    """Replies outside of the audit, or an audit in the future."""
    started, finished = (datetime.fromisoformat(audit[name]) for name in ("started", "finished"))
    said = [json.loads(line)["at"] for line in parts.get(RAW, b"").splitlines()]
    replied = [datetime.fromisoformat(at) for at in said]
    if not started <= finished <= datetime.now(UTC) + timedelta(days=1):
        return [f"{AUDIT}: started {started}, finished {finished}: not in this order, or in the future"]
    if any(not started <= at <= finished for at in replied):
        return [f"{RAW}: a reply is dated outside of the audit"]
    return []


def _images(content: bytes, record: Record, audit: dict[str, Any]) -> list[str]:
    """Whether the images to repeat the queries with are those that were sent, and no others."""
    tensors = load(content)
    marks = {str(mark) for mark in range(BENIGN, len(audit["word"]))}  # "0" and "00" would be two sets for one mark
    expected = (torch.uint8, len(record.labels))  # a shape may claim more than any content
    if marks != set(tensors) or any(
        (t.dtype, t.shape[0] if t.ndim == 4 else None) != expected or t.shape[1] not in (1, 3) or not t.numel()
        for t in tensors.values()
    ):
        return [f"{IMAGES}: not uint8 images, one for each query"]
    sent = {mark: sha256_of(images) for mark, images in ((int(name), tensors[name]) for name in tensors)}
    wrong = any(query.sha256 != sent[query.mark][query.image] for query in record.queries)
    return [f"{IMAGES}: not the images that were sent"] if wrong else []
