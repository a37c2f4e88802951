"""What of a secret might have been kept somewhere: searched for in every form in which text keeps bytes."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from prefect.settings import get_current_settings

from sscl.artifacts import load_tensors
from sscl.layout import Root

LONGEST = 240  # bytes of a tensor that are searched for


def database_dump() -> str:
    """Everything in Prefect's database, as SQL."""
    url = get_current_settings().server.database.connection_url
    assert url is not None
    with closing(sqlite3.connect(url.get_secret_value().partition("///")[2])) as database:
        return "\n".join(database.iterdump())


def forms(content: bytes) -> Iterator[str]:
    """The bytes as hexadecimal digits, and as base64 wherever they begin in what was encoded."""
    yield content.hex()
    yield content.hex().upper()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + content).decode()
        yield encoded[4 if before else 0 : -4]


def secrets_of(root: Path) -> Iterator[str]:
    """Key, generator and marked images of the release under an output root, and what opens its commitment."""
    for path in Root(root).watermark.glob("*.safetensors"):
        for tensor in load_tensors(path)[0].values():
            if tensor.numel() > 4 and tensor.any():
                yield from forms(tensor.numpy().tobytes()[:LONGEST])
                yield str(tensor.flatten()[:50].tolist())[1:-1]
    opening = json.loads(Root(root).opening.read_text())
    yield from (opening["salt"], opening["secret"])


def assert_not_kept(kept: str, root: Path, *others: str) -> None:
    """None of the secrets under ``root``, nor of the others, is in ``kept``."""
    secrets = [*secrets_of(root), *others]
    assert len(secrets) > 20
    for secret in secrets:
        assert len(secret) > 8
        assert secret not in kept
