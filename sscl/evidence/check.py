"""Derive every figure of a bundle again, offline, without the model or the secret."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sscl.audit.protocol import BENIGN, Query, Record, key_order
from sscl.audit.verdict import decide
from sscl.config import AuditConfig
from sscl.errors import SSCLError
from sscl.evidence import bundle
from sscl.evidence.canonical import canonical
from sscl.evidence.commitment import differences, queries_digest
from sscl.oracles.http import REFUSALS
from sscl.oracles.http_answers import Reader
from sscl.parsing import parse
from sscl.stages.names import COMMITMENT, FINDING, OPENING

AUDIT, QUERIES, RAW = "audit.json", "queries.jsonl", "raw.jsonl"
REQUIRED = (AUDIT, QUERIES, FINDING)


def check(path: Path) -> list[str]:
    """What differs; empty if the bundle is valid.

    Raises:
        InputError: not a zip file.
    """
    parts, wrong = bundle.unpack(path)
    missing = [name for name in REQUIRED if name not in parts]
    known = {*REQUIRED, RAW, COMMITMENT, OPENING, bundle.MANIFEST, bundle.SIGNATURE}
    wrong += [f"{name}: missing" for name in missing] + [
        f"{name}: not a part of a bundle" for name in set(parts) - known
    ]
    if missing:
        return wrong
    try:
        return wrong + _derive(parts)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, SSCLError) as error:
        return [*wrong, f"contents: cannot be derived again ({type(error).__name__}: {error})"]


def verdict(parts: dict[str, bytes]) -> str:
    """What a valid bundle says, and whether that is confirmatory."""
    finding, audit = json.loads(parts[FINDING]), json.loads(parts[AUDIT])
    kind = "confirmatory" if audit["confirmatory"] else "exploratory: without a commitment it proves nothing"
    return f"{finding['decision']} ({kind}), p = {finding['p_value']:.4g} by {finding['test']}"


def pack_record(record: Record) -> bytes:
    """The queries as JSON lines, in order."""
    return b"".join(canonical(asdict(query)) + b"\n" for query in record.queries)


def unpack_record(content: bytes, audit: dict[str, Any]) -> Record:
    """Inverse of ``pack_record``; ``audit`` is what the bundle says of the audit."""
    queries = [Query(**json.loads(line)) for line in content.splitlines()]
    return Record(len(audit["class_names"]), audit["labels"], audit["targets"], audit["access"], queries)


def _derive(parts: dict[str, bytes]) -> list[str]:
    audit, stated = json.loads(parts[AUDIT]), json.loads(parts[FINDING])
    record = unpack_record(parts[QUERIES], audit)
    config = parse(AuditConfig, audit["protocol"], "protocol")
    found = asdict(decide(record, config, audit["references"]))
    derived = json.loads(canonical(found))
    wrong = [
        f"{FINDING}: {name} is {json.dumps(stated.get(name))[:60]}, derived {json.dumps(derived.get(name))[:60]}"
        for name in sorted(set(stated) | set(derived))
        if stated.get(name) != derived.get(name)
    ]
    if RAW in parts:
        wrong += _raw(parts[RAW], record, audit)
    elif audit["reader"]:
        wrong.append(f"{RAW}: missing, and the suspect is an API")
    if audit["confirmatory"] or COMMITMENT in parts:
        wrong += _committed(parts, audit, record, config)
    return wrong


def _raw(content: bytes, record: Record, audit: dict[str, Any]) -> list[str]:
    """The API's own words against the answers that were read from them."""
    lines = [json.loads(line) for line in content.splitlines()]
    if len(lines) != len(record.queries):
        return [f"{RAW}: {len(lines)} answers to {len(record.queries)} queries"]
    paths = audit["reader"]
    reader = Reader(audit["class_names"], paths["probabilities"], paths["labels"], paths["scores"])
    wrong = []
    for number, (line, query) in enumerate(zip(lines, record.queries, strict=True)):
        row = None if line["status"] in REFUSALS else reader.read(line["body"])
        same = query.answer is None if row is None else np.array_equal(row, np.array(query.answer or [], dtype=float))
        if not same:
            wrong.append(f"{RAW}: answer {number + 1} does not read as what {QUERIES} says")
    return wrong


def _asked(opening: dict[str, Any], record: Record, config: AuditConfig) -> list[str]:
    """Whether the images that were sent are the committed ones of each key, and keys came in the committed order."""
    asked = record.by_key()
    keys = [key for key in asked if key != BENIGN]
    if keys != key_order(config, opening["decoy_seed"])[: len(keys)]:
        return [f"{QUERIES}: keys in another order than was committed to"]
    expected = {BENIGN: opening["queries"]["benign"], **dict(enumerate(opening["queries"]["keys"]))}
    whole = [key for key, queries in asked.items() if len(queries) == len(record.asked(key))]
    return [
        f"{QUERIES}: key {key} was not asked about the images that were committed to"
        for key in whole
        if queries_digest([query.sha256 for query in asked[key]]) != expected[key]
    ]


def _committed(parts: dict[str, bytes], audit: dict[str, Any], record: Record, config: AuditConfig) -> list[str]:
    if COMMITMENT not in parts or OPENING not in parts:
        return [f"{COMMITMENT}: missing, and the audit is called confirmatory"]
    commitment, opening = json.loads(parts[COMMITMENT]), json.loads(parts[OPENING])
    wrong = differences(commitment, opening)
    if opening.get("protocol") != audit["protocol"] or opening.get("labels") != record.labels:
        wrong.append(f"{OPENING}: another protocol or other images than the audit's")
    if record.targets != [opening["target_class"], *opening["decoy_targets"]][: len(record.targets)]:
        wrong.append(f"{AUDIT}: other target classes than were committed to")
    wrong += _asked(opening, record, config)
    if datetime.fromisoformat(commitment["created"]) > datetime.fromisoformat(audit["started"]):
        wrong.append(f"{COMMITMENT}: made after the first query, so the result is not confirmatory")
    return wrong
