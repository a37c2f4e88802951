"""Messages between the sandbox and who asks: a JSON header and raw bytes, both bounded. Nothing is unpickled."""

from __future__ import annotations

import json
from typing import IO, Any

HEADER = 1 << 16  # bytes of a header, at most
PAYLOAD = 1 << 31  # bytes after it, at most


class BrokenError(Exception):
    """The other side ended, or sent what is no message."""


def send(stream: IO[bytes], header: dict[str, Any], payload: bytes = b"") -> None:
    """Write one message."""
    text = json.dumps(header | {"bytes": len(payload)}).encode()
    stream.write(len(text).to_bytes(8, "big") + text)
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes], largest: int = PAYLOAD) -> tuple[dict[str, Any], bytes]:
    """Read one message.

    Raises:
        BrokenError: it ended early, is larger than ``largest``, or its header is not a JSON object.
    """
    length = int.from_bytes(_exactly(stream, 8), "big")
    if length > HEADER:
        raise BrokenError("a header that is too long")
    try:
        header = json.loads(_exactly(stream, length))
        size = header["bytes"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise BrokenError("a header that is no JSON object") from None
    if not isinstance(header, dict) or type(size) is not int or not 0 <= size <= largest:
        raise BrokenError("more bytes than there may be")
    return header, _exactly(stream, size)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise BrokenError("it ended")
    return content
