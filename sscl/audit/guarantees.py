"""What a verdict rests on: the commitment, its time stamp and the pulse, and whether they follow each other."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sscl.audit import beacon
from sscl.audit.opening import commitment_digest
from sscl.audit.timestamp import STAMP_MARGIN


def guarantees(
    commitment: dict[str, Any] | None,
    opening: dict[str, Any] | None,
    pulse: beacon.Pulse | None,
    stamped: datetime | None,
) -> list[str]:
    """What a verdict rests on, and what is missing, one sentence each; for reports, verdicts and bundles."""
    if commitment is None or opening is None:
        return ["MISSING: a commitment. Everything may have been chosen after seeing answers; this proves nothing."]
    found = [
        f"Commitment {commitment_digest(commitment)[:16]}, attempt {commitment['attempt']} for version "
        f"{commitment['version']} of {commitment['dataset']}, fixed the marks, the images and the test before the "
        "assignment was drawn."
    ]
    if stamped:
        found.append(
            f"A time-stamp token says that an authority saw the commitment at {stamped:%Y-%m-%d %H:%M:%S} UTC. Anybody "
            "can make such a token; it counts where `check --authority` verifies it with that authority's certificate."
        )
    else:
        found.append("MISSING: a time stamp. That the commitment is as old as it says rests on the owner's word.")
    if "recipient" in opening:
        found.append(
            f"This is the copy for {opening['recipient']}. With m copies, p counts m times; how many there are is the "
            "owner's word."
        )
    if pulse is None:
        found.append(
            "MISSING: a public beacon. The assignment follows from a secret that the owner chose; an owner who tries "
            "many secrets on models of his own can make innocents look guilty."
        )
    elif pulse.source == "drand":
        found.append(
            f"The assignment follows from drand round {pulse.number}, published {pulse.time:%Y-%m-%d %H:%M:%S} UTC, "
            "whose signature was verified."
        )
    else:
        found.append(
            f"The assignment follows from NIST's pulse of {pulse.time:%Y-%m-%d %H:%M:%S} UTC. Compare it with the "
            "archive at beacon.nist.gov: its signature was not verified here."
        )
    if pulse:
        found.append(
            "If the time stamp is genuine, it is older than that, and the owner could not choose the assignment."
            if stamped
            else "Only with a time stamp that is older than that is it certain that the owner could not choose it: "
            "whoever commits afterwards can try many secrets."
        )
    return found


def out_of_order(
    commitment: dict[str, Any], pulse: beacon.Pulse | None, stamped: datetime | None, started: datetime
) -> list[str]:
    """What is dated wrongly; empty if commitment, time stamp, pulse and first query follow each other."""
    created, wrong = datetime.fromisoformat(commitment["created"]), []
    if (commitment["beacon"] == "none") != (pulse is None):
        wrong.append("commitment: its beacon is not the one that the word was drawn with")
    if pulse and (commitment["beacon"], commitment["pulse"]) != (pulse.source, pulse.number):
        wrong.append(f"commitment: names pulse {commitment['pulse']}, and the word was drawn with {pulse.number}")
    if pulse and created > pulse.time:
        wrong.append("commitment: made after the pulse was published, so the word could be chosen")
    if pulse and stamped and stamped + STAMP_MARGIN > pulse.time:
        wrong.append(f"time stamp: not {STAMP_MARGIN.seconds} s before the pulse, so the word could be chosen")
    if created > started:
        wrong.append("commitment: made after the first query, so the result is not confirmatory")
    if any(moment and moment > started for moment in (stamped, pulse and pulse.time)):
        wrong.append("time stamp or pulse: after the first query, so the result is not confirmatory")
    return wrong
