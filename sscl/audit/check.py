"""Derive every figure of a bundle again, offline, without the model or the secret."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load

from sscl.audit import beacon, bundle, timestamp
from sscl.audit.canonical import canonical
from sscl.audit.commitment import (
    MOST_COMPARED,
    MOST_IMAGES,
    commitment_digest,
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
from sscl.suspects.http import REFUSALS
from sscl.suspects.http_answers import Reader, Reading

AUDIT, QUERIES, RAW = "audit.json", "queries.jsonl", "raw.jsonl"
PULSE, TOKEN = "pulse.json", "commitment.tsr"
IMAGES, SEALED = "images.safetensors", "images.age"  # the queries: to be repeated by who checks, or sealed for him
MOST_MARKS, MOST_CELLS = 64, 20_000  # of an audit; cells: marks times classes
LARGEST_ALPHA = 0.05
LONG, LONGEST = 2000, 100_000  # characters of a setting, and of a map of class names
MOST_NUMBERS = 40_000_000  # of all answers together
LARGEST_JSON, LARGEST_LINE = 1 << 24, 1 << 22  # bytes of a part, and of one answer: parsed, they are 30 times as large
AGREEMENT = 1e-9  # exponentials and logarithms differ in their last digits between processors
REQUIRED = (AUDIT, QUERIES, FINDING)
KIND = re.compile(r"[a-z]+(?:[ _-][a-z]+){0,2}")  # of a suspect; one that only looks like ``FILES`` would be no file
PARTICULAR = re.compile(r"[!-~]{1,2000}")
FILES = ("classifier", "model file")  # kinds of suspects that answer whatever they are asked


@dataclass(frozen=True)
class Expected:
    """What who checks knows from elsewhere; ``None`` where he does not.

    Attributes:
        commitment: the published ``commitment.json``.
        signer: the owner's Ed25519 key in hexadecimal.
        token: the time-stamp token. authority: root certificates (PEM) of who issued it.
        suspect: SHA-256 of the suspect's file.
    """

    commitment: bytes | None = None
    signer: str | None = None
    token: bytes | None = None
    authority: bytes | None = None
    suspect: str | None = None


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
    return wrong


def particulars(parts: dict[str, bytes]) -> dict[str, str]:
    """Whom and what a bundle is about, as it says itself."""
    audit, finding = json.loads(parts[AUDIT]), json.loads(parts[FINDING])
    suspect = audit["suspect"]
    said = " ".join(str(suspect[name]) for name in ("kind", "url", "function", "sha256") if name in suspect)
    found = {"suspect": said, "asked": f"{audit['started']} to {audit['finished']}"}
    if COMMITMENT in parts:
        committed = json.loads(parts[COMMITMENT])
        found["commitment"] = f"{commitment_digest(committed)}, made {committed['created']}"
        found["release"] = f"{committed['dataset']} {committed['version']}, attempt {committed['attempt']}"
        stamped = timestamp.read(parts[TOKEN], committed) if TOKEN in parts else None
        found["time stamp"] = f"{stamped:%Y-%m-%d %H:%M:%S} UTC" if stamped else "none"
    spoken = {name: value for name, value in {**audit["interface"], **(audit["reader"] or {})}.items() if value}
    found |= {f"setting {name}": str(spoken[name]) for name in sorted(spoken)} or {"settings": "the defaults"}
    found["alpha"] = f"{finding['alpha']:.3g}"
    found["signer"] = bundle.signer(parts) or "nobody: anybody could have made it"
    if COMMITMENT in parts and bundle.signer(parts):
        known = json.loads(parts[COMMITMENT]).get("signer") == bundle.signer(parts)
        found["signer"] += ", the committed key" if known else ", a key that the commitment does not name"
    longest = {"setting names": LONGEST, "suspect": 2 * LONG}
    return {printable(name): printable(value, longest.get(name, LONG)) for name, value in found.items()}


def verdict(parts: dict[str, bytes]) -> str:
    """What a valid bundle says, and whether that is confirmatory."""
    finding, audit = json.loads(parts[FINDING]), json.loads(parts[AUDIT])
    kind = "confirmatory" if audit["confirmatory"] else "exploratory: without a commitment it proves nothing"
    result = f"p = {finding['p_value']:.4g} ({finding['test']} test), alpha {finding['alpha']:.3g}"
    return f"{finding['decision']} ({kind}), {result}"


def rests_on(parts: dict[str, bytes], expected: Expected | None = None) -> list[str]:
    """What a valid bundle's verdict rests on, what is missing, and what no check can see; a sentence each."""
    audit = json.loads(parts[AUDIT])
    found: list[str] = audit["guarantees"]
    if TOKEN in parts:
        known = expected is not None and expected.authority is not None
        found.append(
            "The time stamp's signature was verified with the certificate that you gave."
            if known
            else "MISSING: the time-stamp authority's root certificate (--authority). Without it nobody knows whether "
            "the time stamp is genuine."
        )
    answers = [query.answer for query in unpack_record(parts[QUERIES], audit).queries]
    if left := answers.count(None):
        found.append(
            f"MISSING: {left:,} of {len(answers):,} answers. The evidence does not show who left them out; whoever "
            "knows the assignment could choose them."
        )
    if audit["interface"] or audit["reader"]:
        found.append(
            "How the suspect was queried was set after the assignment was known. If m settings were tried, "
            "multiply p by m; only the owner knows m."
        )
    repeat = "repeat some: the bundle has the images" if IMAGES in parts else "ask for the images, and repeat some"
    return [
        *found,
        f"Not visible here: that the suspect gave these answers ({repeat}), and that no other commitment was made for "
        "this dataset (see where and when this one was published).",
    ]


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
        wrong += _images(parts[IMAGES], record)
    if RAW in parts:
        wrong += _raw(parts[RAW], record, audit)
    elif audit["reader"] or audit["suspect"].get("kind") == "http":
        wrong.append(f"{RAW}: missing, and the suspect is an API")
    wrong += _unclear(audit["suspect"])
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


def _unclear(suspect: dict[str, Any]) -> list[str]:
    """Particulars of a suspect that could be taken for something else when they are printed."""
    kind = str(suspect.get("kind"))
    folded = re.sub("[_-]", " ", kind)
    if not KIND.fullmatch(kind) or (folded in FILES and kind not in FILES):
        return [f"{AUDIT}: the suspect's kind is not one in plain letters"]
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


def _raw(content: bytes, record: Record, audit: dict[str, Any]) -> list[str]:
    """The API's own words against the answers that were read from them."""
    lines = [json.loads(line) for line in content.splitlines()]
    if len(lines) != len(record.queries):
        return [f"{RAW}: {len(lines)} answers to {len(record.queries)} queries"]
    reader = Reader(audit["class_names"], parse(Reading, audit["reader"], "reader"))
    if reader.access != record.access:
        return [f"{AUDIT}: says that answers are {record.access}, and its reader reads {reader.access}"]
    wrong = []
    for number, (line, query) in enumerate(zip(lines, record.queries, strict=True)):
        row = None if line["status"] in REFUSALS else reader.read(line["body"])
        if not _agree(query.answer, None if row is None else row.tolist()):
            wrong.append(f"{RAW}: answer {number + 1} does not read as what {QUERIES} says")
    return wrong


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


def _images(content: bytes, record: Record) -> list[str]:
    """Whether the images to repeat the queries with are those that were sent."""
    tensors = load(content)
    marks = {str(query.mark) for query in record.queries}
    expected = (torch.uint8, len(record.labels))  # a shape may claim more than any content
    if not marks <= set(tensors) or any(
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
