"""RFC 3161: ask a time-stamp authority to say that the commitment existed, and read its answer."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import rfc3161_client as rfc3161
from cryptography.x509 import Certificate, load_pem_x509_certificates

from sscl.artifacts import read_json, write_atomically
from sscl.audit.beacon import time_of
from sscl.audit.canonical import canonical
from sscl.errors import InputError, SSCLError, printable
from sscl.foreign import content_of
from sscl.layout import COMMITTED, TIMESTAMP_REPLY, TIMESTAMP_REQUEST, Root
from sscl.remote import fetch, shown

LARGEST = 1 << 20  # bytes of a reply; a real one has some thousands
STAMP_MARGIN = timedelta(seconds=60)  # between time stamp and pulse: clocks differ, and tokens are cut to seconds


def request(commitment: dict[str, Any]) -> bytes:
    """A DER time-stamp request for the commitment (``openssl ts -query -in FILE -text`` shows it)."""
    builder = rfc3161.TimestampRequestBuilder().data(canonical(commitment))
    built: bytes = builder.hash_algorithm(rfc3161.HashAlgorithm.SHA256).build().as_bytes()
    return built


def stamp(root: Root, url: str) -> datetime:
    """Have an authority stamp the commitment under an output root, and keep its reply; when it saw the commitment.

    Args:
        root: of a pipeline that has committed; a recipient's copy is one too.
        url: where the authority takes requests.

    Raises:
        InputError: nothing is committed to, a reply about it is there already, or this one is not about it or comes
            too late for the pulse.
        SSCLError: the authority cannot be reached or declines.
    """
    commitment, request_file = read_json(root.commitment), root.commitment.with_name(TIMESTAMP_REQUEST)
    try:
        there = reply_to(root.commitment)
    except InputError:  # of an earlier commitment
        there = None
    if there:
        raise InputError(f"{there}: already there, and an earlier time stamp is worth more; keep it")
    reply = _send(url, request_file.read_bytes())
    moment = read(reply, commitment)
    if commitment["beacon"] != "none":
        pulse = time_of(commitment["beacon"], commitment["pulse"])
        if moment + STAMP_MARGIN > pulse:
            raise InputError(
                f"{shown(url)}: stamps at {moment:%H:%M:%S} UTC, and the pulse is of {pulse:%H:%M:%S}: a stamp must be "
                f"{STAMP_MARGIN.seconds} s older. It was not kept; an audit without it is better than one with it"
            )
    write_atomically(root.stamp, reply)
    return moment


def reply_to(commitment: Path) -> Path | None:
    """The authority's reply about a ``commitment.json``, if there is one.

    A release has it beside the file. An output root has it beside the folder, which holds only what the stage wrote.

    Raises:
        InputError: the file is about something else, such as an earlier commitment.
    """
    places = [commitment.with_name(TIMESTAMP_REPLY)]
    if commitment.parent.name == Path(COMMITTED).name:
        places.append(commitment.parent.with_name(TIMESTAMP_REPLY))
    for place in places:
        if place.is_file():
            try:
                read(content_of(place, LARGEST, "a time stamp"), read_json(commitment))
            except InputError as error:
                raise InputError(f"{place}: {error}; remove it, or stamp this commitment (`sscl stamp`)") from None
            return place
    return None


def _send(url: str, der: bytes) -> bytes:
    """The authority's DER response to a request."""
    kind = {"Content-Type": "application/timestamp-query"}
    try:
        return fetch("POST", url, largest=LARGEST, content=der, headers=kind)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SSCLError(
            f"{shown(url)}: no time stamp ({printable(str(error))}); try again, or send commitment.tsq by other means"
        ) from None


def read(der: bytes, commitment: dict[str, Any]) -> datetime:
    """When the authority saw the commitment. The token's chain of trust is for ``openssl ts -verify``.

    Raises:
        InputError: not a granted time stamp, or one of something else.
    """
    try:
        response = rfc3161.decode_timestamp_response(der)
        info = response.tst_info
    except ValueError as error:
        raise InputError(f"time stamp: not an RFC 3161 response ({error})") from None
    if response.status != 0 or info.message_imprint.message != hashlib.sha256(canonical(commitment)).digest():
        raise InputError("time stamp: it is not one of this commitment")
    moment: datetime = info.gen_time
    return moment


def certificates(pem: bytes) -> list[Certificate]:
    """Of an authority; raises ``InputError`` if there are none."""
    try:
        return load_pem_x509_certificates(pem)
    except ValueError:
        raise InputError("--authority: no certificate; expected the authority's root certificates in PEM") from None


def verify(der: bytes, commitment: dict[str, Any], authority: bytes) -> None:
    """Hold a token against the root certificates (PEM) of the authority that one trusts.

    Raises:
        InputError: no certificate, or the token is not signed under one of them.
    """
    builder = rfc3161.VerifierBuilder()
    for root in certificates(authority):
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(rfc3161.decode_timestamp_response(der), canonical(commitment))
    except ValueError as error:
        raise InputError(f"time stamp: no token to verify ({printable(str(error))})") from None
    except rfc3161.VerificationError as error:
        raise InputError(f"time stamp: not signed by this authority ({printable(str(error))})") from None
