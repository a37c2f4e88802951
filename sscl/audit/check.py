"""Derive every figure of a bundle again, offline, without the model or the secret."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from sscl.audit import beacon, bundle, timestamp
from sscl.audit.canonical import canonical
from sscl.audit.commitment import (
    LEAST_EFFECT,
    MOST_COMPARED,
    MOST_IMAGES,
    differences,
    draw_word,
    guarantees,
    null_key,
    out_of_order,
    references_for,
    sha256_of,
)
from sscl.audit.protocol import BENIGN, Query, Record
from sscl.audit.verdict import decide
from sscl.config import NAME, AuditConfig
from sscl.errors import InputError, printable
from sscl.layout import COMMITMENT, FINDING, OPENING
from sscl.parsing import parse
from sscl.statistics.effects import STATISTICS
from sscl.suspects.base import distributions
from sscl.suspects.http import LARGEST_REPLY, REFUSALS
from sscl.suspects.http_answers import Reader, Reading

AUDIT, QUERIES, RAW = "audit.json", "queries.jsonl", "raw.jsonl"
PULSE, TOKEN = "pulse.json", "commitment.tsr"
IMAGES, SEALED = "images.safetensors", "images.age"  # the queries: to be repeated by who checks, or sealed for him
MOST_MARKS, MOST_CELLS = 64, 20_000  # of an audit; cells: marks times classes
LARGEST_ALPHA = 0.05
MOST_NUMBERS = 40_000_000  # of all answers together
LARGEST_JSON, LARGEST_LINE = 1 << 24, 1 << 22  # bytes of a part, and of one answer: parsed, they are 30 times as large
AGREEMENT = 1e-9  # exponentials and logarithms differ in their last digits between processors
REQUIRED = (AUDIT, QUERIES, FINDING)
KIND = re.compile(r"[a-z]+(?:[ _-][a-z]+){0,2}")  # of a suspect; one that only looks like ``FILES`` would be no file
PARTICULAR = re.compile(r"[!-~]{1,2000}")
FILES = ("classifier", "model file")  # kinds of suspects that answer whatever they are asked
BUILT_IN = (*FILES, "http")  # no other kind may look like one of these
RECORDED = {"http": {"request"}, "model file": {"layout", "values", "dtype"}}  # what is known of how these were asked


@dataclass(frozen=True)
class Expected:
    """What who checks knows from elsewhere; ``None`` where he does not.

    Attributes:
        commitment: the published ``commitment.json``.
        signer: the owner's Ed25519 key in hexadecimal.
        token: the time-stamp token. authority: root certificates (PEM) of who issued it.
        suspect: SHA-256 of the suspect's file.
        images: the images that were sent, where the bundle has them sealed.
    """

    commitment: bytes | None = None
    signer: str | None = None
    token: bytes | None = None
    authority: bytes | None = None
    suspect: str | None = None
    images: bytes | None = None


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
    if large := [name for name in parts if _too_large(name, parts[name])]:
        return [*wrong, *(f"{name}: larger than in any audit" for name in large)]
    if unclear := [name for name in parts if not _plain(name, parts[name])]:
        return [*wrong, *(f"{name}: not canonical JSON, which has one reading only" for name in unclear)]
    try:
        return wrong + _derive(parts) + _unexpected(parts, expected)
    except Exception as error:  # whatever a hostile bundle leads to, it is not valid
        return [*wrong, f"contents: cannot be derived again ({type(error).__name__}: {error})"]


def _too_large(name: str, content: bytes) -> bool:
    """Whether JSON is so large that parsing it would exhaust the memory."""
    if name.endswith(".jsonl"):
        most = MOST_IMAGES * (MOST_MARKS + 1)
        return content.count(b"\n") > most or max(map(len, io.BytesIO(content)), default=0) > LARGEST_LINE
    return name.endswith(".json") and len(content) > LARGEST_JSON


def _plain(name: str, content: bytes) -> bool:
    """Whether JSON is as this program writes it: no key twice, no spaces, sorted."""
    if not name.endswith((".json", ".jsonl")):
        return True
    try:
        if name.endswith(".json"):
            return canonical(json.loads(content)) == content
        return all(canonical(json.loads(line)) + b"\n" == line for line in io.BytesIO(content))
    except (ValueError, RecursionError):
        return False


def _unexpected(parts: dict[str, bytes], expected: Expected) -> list[str]:
    wrong = []
    if expected.signer is not None and bundle.signer(parts) != expected.signer.lower():
        wrong.append(f"signer: {bundle.signer(parts) or 'nobody'}, expected {printable(expected.signer)}")
    committed = json.loads(parts[COMMITMENT]) if COMMITMENT in parts else None
    if expected.commitment is not None and not _same(committed, json.loads(expected.commitment)):
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


def config_names(opening: dict[str, Any]) -> list[Any]:
    """Version and attempt that the committed protocol names."""
    protocol = opening.get("protocol", {})
    return [protocol.get("version"), protocol.get("attempt")]


def _pulse(parts: dict[str, bytes]) -> beacon.Pulse | None:
    drawn = json.loads(parts[PULSE]) if PULSE in parts else None
    return beacon.read(drawn, drawn["source"]) if drawn else None


def pack_record(record: Record) -> bytes:
    """The queries as JSON lines, in order."""
    return b"".join(canonical(asdict(query)) + b"\n" for query in record.queries)


def unpack_record(content: bytes, audit: dict[str, Any]) -> Record:
    """Inverse of ``pack_record``; ``audit`` is what the bundle says of the audit.

    Raises:
        ValueError: a line that no audit writes. To Python ``2 == 2.0 == True + 1``, but as keys of what was committed
            to these are different, so only whole numbers are marks and images.
    """
    width, labels, numbers = len(audit["class_names"]), audit["labels"], 0
    occasion = audit["occasion"]
    if not all(type(number) is int for number in (audit["groups"], occasion or 0, *labels, *audit["word"])):
        raise ValueError("groups, labels, word and occasion must be whole numbers")
    queries = []
    for line in content.splitlines():
        query = Query(**json.loads(line))
        if not (type(query.mark) is type(query.image) is int and isinstance(query.sha256, str)):
            raise ValueError("a query's mark and image must be whole numbers, and its SHA-256 a text")
        if query.answer is not None:
            numbers += width
            if not (isinstance(query.answer, list) and len(query.answer) == width):
                raise ValueError(f"an answer must have {width} numbers")
            if numbers > MOST_NUMBERS or not all(type(value) in (int, float) for value in query.answer):
                raise ValueError(f"answers must be numbers, at most {MOST_NUMBERS:,} of them")
        queries.append(query)
    return Record(width, audit["groups"], labels, audit["access"], queries)


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
    if RAW in parts:
        record, unheard = _heard(parts[RAW], record, audit)
        if unheard:
            return unheard
    references = references_for(opening, record) if opening else None
    null = null_key(opening, _pulse(parts)) if opening else None
    word, occasion, mapped = np.array(audit["word"]), audit["occasion"], is_mapped(audit["reader"])
    found = decide(record, config, word, references=references, occasion=occasion, null=null, mapped=mapped)
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
    if audit["suspect"].get("kind") in FILES and any(query.answer is None for query in record.queries):
        wrong.append(f"{QUERIES}: a file that answers when it is asked has left images unanswered")
    if audit["confirmatory"] or COMMITMENT in parts:
        wrong += _committed(parts, audit, record)
    elif audit["guarantees"] != guarantees(None, None, None, None):
        wrong.append(f"{AUDIT}: claims guarantees without a commitment")
    return wrong


def is_mapped(reader: dict[str, Any] | None) -> bool:
    """Whether a map says which classes an API's labels are."""
    return bool(reader and reader.get("names"))


def unclear(suspect: dict[str, Any], interface: Any, reader: Any) -> list[str]:
    """Particulars of a suspect, and settings, that could be taken for something else when they are printed."""
    kind = str(suspect.get("kind"))
    folded = re.sub("[_-]", " ", kind)
    if not KIND.fullmatch(kind) or (kind not in BUILT_IN and any(name in folded for name in BUILT_IN)):
        return [f"{AUDIT}: the suspect's kind is not one in plain letters"]
    settings = interface if isinstance(interface, dict) else {0: None}
    if not all(isinstance(said, str) and re.fullmatch("[a-z][a-z0-9_]*", str(name)) for name, said in settings.items()):
        return [f"{AUDIT}: its interface is not a table of names and texts"]
    if set(settings) & set(reader or {}):
        return [f"{AUDIT}: its interface and its reader have settings of the same name"]
    if missing := RECORDED.get(kind, set()) - set(settings):
        return [f"{AUDIT}: does not say how the suspect was asked ({', '.join(sorted(missing))})"]
    wrong = (name for name in ("url", "function", "sha256") if not PARTICULAR.fullmatch(str(suspect.get(name, "-"))))
    return [f"{AUDIT}: the suspect's {name} is not one word in ASCII of at most 2,000 characters" for name in wrong]


def _agree(said: Any, derived: Any) -> bool:
    """Whether two JSON values are the same, but for the last digits of numbers."""
    if isinstance(said, dict) and isinstance(derived, dict):
        return said.keys() == derived.keys() and all(_agree(said[key], derived[key]) for key in said)
    if isinstance(said, list) and isinstance(derived, list):
        return len(said) == len(derived) and all(map(_agree, said, derived))
    if isinstance(said, float | int) and isinstance(derived, float) and not isinstance(said, bool):
        return math.isclose(said, derived, rel_tol=AGREEMENT, abs_tol=AGREEMENT / 1000)
    return bool(said == derived)


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same to the byte: ``1``, ``1.0`` and ``true`` are three."""
    return canonical(one) == canonical(other)


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


def _asked(opening: dict[str, Any], record: Record) -> list[str]:
    """Whether the images that were sent are the committed ones under each mark."""
    sent: dict[int, list[str]] = {}
    for query in record.queries:
        sent.setdefault(query.mark, []).append(query.sha256)
    committed, marks = opening["queries"], opening["mark_count"]
    if set(committed) != set(map(str, range(BENIGN, marks))):
        return [f"{OPENING}: commits to images under other marks than its {marks}, so which were sent could be chosen"]
    return [
        f"{QUERIES}: other images were sent under mark {mark} than were committed to"
        for mark, digests in sent.items()
        if len(committed[str(mark)]) != len(record.labels) or digests != committed[str(mark)][: len(digests)]
    ]


def _committed(parts: dict[str, bytes], audit: dict[str, Any], record: Record) -> list[str]:
    if COMMITMENT not in parts or OPENING not in parts:
        return [f"{COMMITMENT}: missing, and the audit is called confirmatory"]
    commitment, opening = json.loads(parts[COMMITMENT]), json.loads(parts[OPENING])
    wrong = differences(commitment, opening)
    names = [commitment.get("dataset"), commitment.get("version"), opening.get("recipient", "none")]
    if not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        return [*wrong, f"{OPENING}: its dataset, version or recipient is not a name"]
    if not _same([opening.get("protocol"), opening.get("labels")], [audit["protocol"], record.labels]):
        wrong.append(f"{OPENING}: another protocol or other images than the audit's")
    if config_names(opening) != [commitment.get("version"), commitment.get("attempt")]:
        wrong.append(f"{COMMITMENT}: another version or attempt than its opening's")
    if STATISTICS[audit["protocol"]["statistic"]].matched and audit["class_names"] != opening.get("group_names"):
        wrong.append(f"{AUDIT}: the suspect's classes are not the committed ones in their order")
    if not _same([opening.get("groups"), opening.get("mark_count")], [record.groups, len(audit["word"])]):
        return [*wrong, f"{OPENING}: other marks or groups than the audit's"]
    by = bundle.signer(parts)
    if commitment.get("signer") and by not in (None, commitment["signer"]):
        wrong.append(f"{bundle.ATTESTATION}: signed by another key than the committed one")
    wrong += _asked(opening, record)
    pulse = _pulse(parts)
    stamped = timestamp.read(parts[TOKEN], commitment) if TOKEN in parts else None
    if not _same(draw_word(opening, pulse).tolist(), audit["word"]):
        wrong.append(f"{AUDIT}: its word does not follow from the committed secret and the beacon")
    wrong += out_of_order(commitment, pulse, stamped, datetime.fromisoformat(audit["started"]))
    if audit["guarantees"] != guarantees(commitment, opening, pulse, stamped):
        wrong.append(f"{AUDIT}: its guarantees are not those of the commitment")
    return wrong
