"""Public randomness that nobody could know when the commitment was made: a drand round, or a pulse of NIST's beacon.

drand's signatures are verified here, so a round cannot be invented. NIST's are not: a checker compares the pulse with
the archive at https://beacon.nist.gov, and every verdict that rests on one says so.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import drand_verify
import httpx

from sscl.config import BeaconConfig
from sscl.errors import InputError, SSCLError, printable
from sscl.remote import fetch

SOURCES = ("drand", "nist")
# drand's network `quicknet` (League of Entropy); its public key is built into drand_verify.
QUICKNET = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
GENESIS, PERIOD = 1692803367, 3  # of quicknet: seconds of round 1, and between rounds
DRAND_URL = f"https://api.drand.sh/{QUICKNET}/public"
NIST_URL = "https://beacon.nist.gov/beacon/2.0/pulse/time"
SIGNATURE_BYTES = 48
NIST_PERIOD = 60
LARGEST = 1 << 20  # bytes of a pulse; a real one has some thousands


@dataclass(frozen=True)
class Pulse:
    """One published random value.

    Attributes:
        source: ``drand`` or ``nist``.
        number: drand's round; for NIST the Unix time of the pulse.
        randomness: 32 bytes (drand) or 64 (NIST).
        signature: drand's, hexadecimal; NIST's.
    """

    source: str
    number: int
    randomness: bytes
    signature: str

    @property
    def time(self) -> datetime:
        """When it was published."""
        return time_of(self.source, self.number)

    def as_json(self) -> dict[str, Any]:
        """What bundles keep; ``read`` is the inverse."""
        shown = {"randomness": self.randomness.hex(), "signature": self.signature}
        return {"source": self.source, "number": self.number, **shown}


def time_of(source: str, number: int) -> datetime:
    """When a pulse is published."""
    return datetime.fromtimestamp(GENESIS + PERIOD * (number - 1) if source == "drand" else number, UTC)


def first_after(source: str, moment: datetime) -> int:
    """The number of the first pulse at or after a moment."""
    seconds = math.ceil(moment.timestamp())
    if source == "nist":
        return -(-seconds // NIST_PERIOD) * NIST_PERIOD
    return max(1, 1 - (-(seconds - GENESIS) // PERIOD))


def promised(source: str, created: datetime, delay_seconds: int) -> int | None:
    """The pulse that a commitment made at ``created`` names; ``None`` without a beacon.

    Naming it beforehand leaves the owner no choice between pulses.
    """
    return None if source == "none" else first_after(source, created + timedelta(seconds=delay_seconds))


def obtain(source: str, number: int, given: str | None) -> Pulse:
    """The named pulse, from a file or a value, or over HTTP.

    Args:
        source: ``drand`` or ``nist``.
        number: the pulse that the commitment names.
        given: a file with the beacon's JSON answer, or drand's signature in hexadecimal; ``None`` to fetch it.

    Raises:
        InputError: another pulse, or not one at all. SSCLError: it cannot be fetched, or is not published yet.
    """
    if given is None:
        pulse = read(_fetch(source, number), source)
    elif source == "drand" and len(given) == 2 * SIGNATURE_BYTES and not Path(given).exists():
        pulse = read({"round": number, "signature": given.lower()}, source)
    else:
        pulse = read(_load(Path(given)), source)
    if pulse.number != number:
        raise InputError(
            f"beacon.pulse: it is pulse {pulse.number}, and the commitment names {number} ({time_of(source, number)})"
        )
    return pulse


def read(raw: Any, source: str) -> Pulse:
    """A pulse from what the beacon answers, or what a bundle keeps, with drand's signature verified.

    Raises:
        InputError: not a pulse, a forged one, or of a source that is not known.
    """
    if source not in SOURCES:
        raise InputError(f"beacon.source: {printable(str(source))!r} is unknown, expected {' or '.join(SOURCES)}")
    try:
        if source == "drand":
            number, signature = _whole(raw["round"] if "round" in raw else raw["number"]), str(raw["signature"])
            if not re.fullmatch(rf"[0-9a-f]{{{2 * SIGNATURE_BYTES}}}", signature):  # the verifier dies of others
                raise ValueError(f"its signature is not {2 * SIGNATURE_BYTES} hexadecimal digits in lower case")
            return Pulse(source, number, bytes.fromhex(drand_verify.verify_quicknet(number, signature)), signature)
        pulse = raw.get("pulse", raw)
        if "number" in pulse:
            number, value = _whole(pulse["number"]), bytes.fromhex(pulse["randomness"])
            return Pulse(source, number, value, str(pulse["signature"]))
        moment = datetime.fromisoformat(pulse["timeStamp"].replace("Z", "+00:00"))
        value = bytes.fromhex(pulse["outputValue"])
        if len(value) != 64:
            raise ValueError("outputValue is not of 512 bits")
        return Pulse(source, round(moment.timestamp()), value, str(pulse["signatureValue"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"beacon.pulse: not a pulse of {source} ({' '.join(str(error).split())[:80]})") from None


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise ValueError("its number is not a whole number")
    return number


def mixed(secret: bytes, pulse: Pulse | None) -> bytes:
    """The 32 bytes that the word is drawn from: HMAC-SHA256 of the pulse's randomness under the committed secret."""
    return hmac.digest(secret, pulse.randomness if pulse else b"no beacon", hashlib.sha256)


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"beacon.pulse: {path} is larger than a pulse")
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"beacon.pulse: {path}: {error.strerror}; name a file with the beacon's answer") from None
    except (ValueError, RecursionError):
        raise InputError(f"beacon.pulse: {path} is not JSON; expected the beacon's answer") from None


def _fetch(source: str, number: int) -> Any:
    moment = time_of(source, number)
    url = f"{DRAND_URL}/{number}" if source == "drand" else f"{NIST_URL}/{1000 * number}"
    if moment > datetime.now(UTC):
        raise SSCLError(
            f"beacon: the commitment names the pulse of {moment:%Y-%m-%d %H:%M:%S} UTC, which is not published yet; "
            "until then, `sscl stamp URL` and publish the folder public/commitment; afterwards run this again"
        )
    try:
        return json.loads(fetch("GET", url, largest=LARGEST, seconds=30))
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        reason = printable(str(error))
        raise SSCLError(
            f"beacon: {url} cannot be fetched ({reason}); fetch it elsewhere and name the file in beacon.pulse"
        ) from None


def promised_pulse(commitment: dict[str, Any], beacon: BeaconConfig) -> Pulse | None:
    """The pulse that a commitment names; ``None`` for one without a beacon. Raises as ``obtain``."""
    if commitment["beacon"] == "none":
        return None
    return obtain(commitment["beacon"], commitment["pulse"], beacon.pulse)
