"""What a bundle of evidence says, in words: whom it is about, its verdict, and what that rests on."""

from __future__ import annotations

import json
from typing import Any

from sscl.audit import bundle, timestamp
from sscl.audit.check import Expected
from sscl.audit.check_suspect import FILES, LONG, LONGEST
from sscl.audit.opening import commitment_digest
from sscl.audit.parts import AUDIT, IMAGES, QUERIES, RAW, TOKEN, unpack_record
from sscl.errors import printable
from sscl.layout import COMMITMENT, FINDING


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
    found |= {f"setting {name}": str(spoken[name]) for name in sorted(spoken)} or {"settings": "none recorded"}
    found["answers"] = str(audit["access"]).replace("_", " ") + _lengths(parts, audit)
    found["protects"] = f"the {audit['protocol']['protects']}"
    found["effect"] = f"{finding['effect']:.3g}, at least {finding['least_effect']:g} counts"
    found["alpha"] = f"{finding['alpha']:.3g}"
    found["signer"] = bundle.signer(parts) or "nobody: anybody could have made it"
    if COMMITMENT in parts and bundle.signer(parts):
        known = json.loads(parts[COMMITMENT]).get("signer") == bundle.signer(parts)
        found["signer"] += ", the committed key" if known else ", a key that the commitment does not name"
    longest = {"setting names": LONGEST, "suspect": 2 * LONG}
    return {printable(name): printable(value, longest.get(name, LONG)) for name, value in found.items()}


def _lengths(parts: dict[str, bytes], audit: dict[str, Any]) -> str:
    """How many classes top-k answers list: whoever knows the assignment could have cut some lists short."""
    if audit["access"] != "top_k":
        return ""
    answers = [query.answer or [] for query in unpack_record(parts[QUERIES], audit).queries]
    counts = sorted(sum(value > 0 for value in answer) for answer in answers if answer)
    return f", {counts[0]} to {counts[-1]} classes in an answer" if counts else ""


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
    if left := json.loads(parts[FINDING])["missing"]:
        found.append(
            f"MISSING: answers to {left:,} images, under one mark or more. Who left them out is not visible here, so p "
            "is multiplied, as if they had been chosen."
        )
    file = audit["suspect"].get("kind") in FILES
    if not file and RAW not in parts:
        found.append("MISSING: the suspect's own replies. What it was asked and answered rests on the owner's word.")
    if not file and not audit["interface"]:
        found.append("MISSING: how the suspect was asked. A request can hold more than an image.")
    if not file or audit["interface"]:
        found.append(
            "How the suspect was queried was set after the assignment was known. If m settings were tried, "
            "multiply p by m; only the owner knows m."
        )
    where = "the bundle has the images" if IMAGES in parts else "ask for the images, and check them with --images"
    return [
        *found,
        "Not visible here: that the suspect gave these answers, and that no other commitment was made for this dataset "
        "(see where and when this one was published).",
        f"Repeat some queries: {where}. Answers should agree to six decimals. If they vary, repeat all of them, and "
        "derive p from these answers.",
    ]
