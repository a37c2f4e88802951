from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sscl.errors import ConfigError
from sscl.registry import Registry


def test_register_look_up_and_refuse() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    assert registry["one"] == 1
    assert "one" in registry
    assert list(registry) == ["one"]
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        registry.register("one")(2)
    with pytest.raises(ConfigError, match="unknown number 'two': choose one of one"):
        registry["two"]


SLOW = """
import time
from found_slowly import MEMBERS
time.sleep(0.3)
MEMBERS.register("one")(1)
"""


def test_a_thread_waits_until_another_has_found_every_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks on threads ask a registry at once; none may see it half filled."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "found_slowly"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from sscl.registry import Registry\nMEMBERS = Registry('member', 'found_slowly')"
    )
    (package / "slow.py").write_text(SLOW)
    members: Registry[int] = importlib.import_module("found_slowly").MEMBERS
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: members["one"], range(4))) == [1] * 4
