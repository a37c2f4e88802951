"""What servers reply, bounded in size and time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

import httpx

from sscl.errors import SSCLError, printable


def shown(address: str) -> str:
    """An address as messages and evidence may show it: without user, password, query and fragment."""
    scheme, found, rest = address.partition("://")
    if not found:
        return printable(address if not re.search(":.*@", address) else f"***@{address.rpartition('@')[2]}")
    place = re.split("[?#]", rest)[0].rpartition("@")[2]
    authority = re.sub(r"^\[[^]]*\]", "", place.partition("/")[0])  # without an IPv6 address's own colons
    cut = "@" in rest and not re.fullmatch(r"[^:]*(:\d*)?", authority)  # within a password that has one of /?#
    return f"{printable(scheme)}://{'***' if cut else printable(place)}"


def fetch(method: str, url: str, *, largest: int, seconds: float = 60, **request: Any) -> bytes:
    """The body of a successful reply, as it was sent; a compressed one is not unpacked.

    Args:
        largest: bytes that it may have.
        seconds: from the request to the end of the reply; a server that stops sending may take twice as long.
        **request: of ``httpx.stream``.

    Raises:
        SSCLError: it has more.
        httpx.HTTPError, httpx.InvalidURL: no reply in time, or none that says success.
    """
    end = time.monotonic() + seconds
    headers = {"Accept-Encoding": "identity", **request.pop("headers", {})}
    with httpx.stream(method, url, headers=headers, timeout=seconds, **request) as response:
        if not response.is_success:  # httpx's own message has the address, with a password in it
            raise httpx.HTTPStatusError(f"HTTP {response.status_code}", request=response.request, response=response)
        content = bounded(response.iter_raw(), largest, end)
    if content is None:
        raise SSCLError(f"{shown(url)}: its reply has more than {largest:,} bytes; is the address right?")
    return content


def bounded(parts: Iterable[bytes], largest: int, end: float) -> bytes | None:
    """The parts of a reply together; ``None`` if they have more than ``largest`` bytes.

    Raises:
        httpx.ReadTimeout: they have not ended at ``end``, by the monotonic clock.
    """
    content = b""
    for part in parts:
        content += part
        if len(content) > largest:
            return None
        if time.monotonic() > end:
            raise httpx.ReadTimeout("the reply did not end in time")
    return content
