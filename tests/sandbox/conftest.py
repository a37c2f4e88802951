"""What tests of the sandbox share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sscl.sandbox import servers


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process: no fork server has been started yet."""
    monkeypatch.setattr(servers, "_running", {})
    yield
    servers._end()
