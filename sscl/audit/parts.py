"""The parts of a bundle of evidence: their names, how large they may be, and how queries are written in one."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import Any, get_args

from sscl.audit.canonical import canonical
from sscl.audit.record import MOST_IMAGES, Query, Record
from sscl.layout import FINDING, TIMESTAMP_REPLY
from sscl.types import Access

AUDIT, QUERIES, RAW = "audit.json", "queries.jsonl", "raw.jsonl"
PULSE, TOKEN = "pulse.json", TIMESTAMP_REPLY
IMAGES, SEALED = "images.safetensors", "images.age"  # the queries: to be repeated by who checks, or sealed for him
REQUIRED = (AUDIT, QUERIES, FINDING)
MOST_MARKS = 64  # of an audit
MOST_NUMBERS = 40_000_000  # of all answers together
LARGEST_JSON, LARGEST_LINE = 1 << 24, 1 << 22  # bytes of a part, and of one answer: parsed, they are 30 times as large


def too_large(name: str, content: bytes) -> bool:
    """Whether JSON is so large that parsing it would exhaust the memory."""
    if name.endswith(".jsonl"):
        most = MOST_IMAGES * (MOST_MARKS + 1)
        return content.count(b"\n") > most or max(map(len, io.BytesIO(content)), default=0) > LARGEST_LINE
    return name.endswith(".json") and len(content) > LARGEST_JSON


def is_canonical(name: str, content: bytes) -> bool:
    """Whether JSON is as this program writes it: no key twice, no spaces, sorted."""
    if not name.endswith((".json", ".jsonl")):
        return True
    try:
        if name.endswith(".json"):
            return canonical(json.loads(content)) == content
        return all(canonical(json.loads(line)) + b"\n" == line for line in io.BytesIO(content))
    except (ValueError, RecursionError):
        return False


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
    if audit["access"] not in get_args(Access):
        raise ValueError(f"access must be one of {', '.join(get_args(Access))}")  # it is printed beside the verdict
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
