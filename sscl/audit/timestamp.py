"""RFC 3161: ask a time-stamp authority to say that the commitment existed, and read its answer."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import httpx
import rfc3161_client as rfc3161
from cryptography.x509 import load_pem_x509_certificates

from sscl.audit.canonical import canonical
from sscl.errors import InputError, SSCLError, printable


def request(commitment: dict[str, Any]) -> bytes:
    """A DER time-stamp request for the commitment (``openssl ts -query -in FILE -text`` shows it)."""
    builder = rfc3161.TimestampRequestBuilder().data(canonical(commitment))
    built: bytes = builder.hash_algorithm(rfc3161.HashAlgorithm.SHA256).build().as_bytes()
    return built


def send(url: str, der: bytes) -> bytes:
    """The authority's DER response.

    Raises:
        SSCLError: it cannot be reached or declines.
    """
    try:
        response = httpx.post(url, content=der, headers={"Content-Type": "application/timestamp-query"}, timeout=60)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise SSCLError(f"{url}: no time stamp ({error}); the request file can be sent later by any means") from None
    return response.content


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


def verify(der: bytes, commitment: dict[str, Any], authority: bytes) -> None:
    """Hold a token against the root certificates (PEM) of the authority that one trusts.

    Raises:
        InputError: no certificate, or the token is not signed under one of them.
    """
    try:
        roots = load_pem_x509_certificates(authority)
        builder = rfc3161.VerifierBuilder()
        for root in roots:
            builder = builder.add_root_certificate(root)
        builder.build().verify_message(rfc3161.decode_timestamp_response(der), canonical(commitment))
    except ValueError as error:
        raise InputError(f"time stamp: no certificate or token to verify ({printable(str(error))})") from None
    except rfc3161.VerificationError as error:
        raise InputError(f"time stamp: not signed by this authority ({printable(str(error))})") from None
