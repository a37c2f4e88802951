"""Compare a bundle with the commitment in it: protocol, images, word, dates and guarantees."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sscl.audit import beacon, bundle, timestamp
from sscl.audit.canonical import same
from sscl.audit.guarantees import guarantees, out_of_order
from sscl.audit.opening import differences, draw_word
from sscl.audit.parts import AUDIT, PULSE, QUERIES, TOKEN
from sscl.audit.record import Record
from sscl.config import NAME
from sscl.layout import COMMITMENT, OPENING
from sscl.statistics.effects import STATISTICS
from sscl.types import BENIGN


def not_as_committed(parts: dict[str, bytes], audit: dict[str, Any], record: Record) -> list[str]:
    """Where the audit differs from the commitment."""
    if COMMITMENT not in parts or OPENING not in parts:
        return [f"{COMMITMENT}: missing, and the audit is called confirmatory"]
    commitment, opening = json.loads(parts[COMMITMENT]), json.loads(parts[OPENING])
    wrong = differences(commitment, opening)
    names = [commitment.get("dataset"), commitment.get("version"), opening.get("recipient", "none")]
    if not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        return [*wrong, f"{OPENING}: its dataset, version or recipient is not a name"]
    if not same([opening.get("protocol"), opening.get("labels")], [audit["protocol"], record.labels]):
        wrong.append(f"{OPENING}: another protocol or other images than the audit's")
    if _names(opening) != [commitment.get("version"), commitment.get("attempt")]:
        wrong.append(f"{COMMITMENT}: another version or attempt than its opening's")
    if STATISTICS[audit["protocol"]["statistic"]].matched and audit["class_names"] != opening.get("group_names"):
        wrong.append(f"{AUDIT}: the suspect's classes are not the committed ones in their order")
    if not same([opening.get("groups"), opening.get("mark_count")], [record.groups, len(audit["word"])]):
        return [*wrong, f"{OPENING}: other marks or groups than the audit's"]
    by = bundle.signer(parts)
    if commitment.get("signer") and by not in (None, commitment["signer"]):
        wrong.append(f"{bundle.ATTESTATION}: signed by another key than the committed one")
    wrong += _asked(opening, record)
    pulse = pulse_of(parts)
    stamped = timestamp.read(parts[TOKEN], commitment) if TOKEN in parts else None
    if not same(draw_word(opening, pulse).tolist(), audit["word"]):
        wrong.append(f"{AUDIT}: its word does not follow from the committed secret and the beacon")
    wrong += out_of_order(commitment, pulse, stamped, datetime.fromisoformat(audit["started"]))
    if audit["guarantees"] != guarantees(commitment, opening, pulse, stamped):
        wrong.append(f"{AUDIT}: its guarantees are not those of the commitment")
    return wrong


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


def _names(opening: dict[str, Any]) -> list[Any]:
    """Version and attempt that the committed protocol names."""
    protocol = opening.get("protocol", {})
    return [protocol.get("version"), protocol.get("attempt")]


def pulse_of(parts: dict[str, bytes]) -> beacon.Pulse | None:
    """The beacon's pulse that drew the word, if one did."""
    drawn = json.loads(parts[PULSE]) if PULSE in parts else None
    return beacon.read(drawn, drawn["source"]) if drawn else None
