from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sscl.errors import ConfigError, SSCLError
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


class Member(ABC):
    unit: ClassVar[str]
    usual: ClassVar[float] = 1.0

    @abstractmethod
    def run(self) -> None: ...


class Whole(Member):
    unit = "epochs"

    def run(self) -> None: ...


class Unit(Member):
    def run(self) -> None: ...


class Abstract(Member):
    unit = "epochs"


def test_a_member_that_is_not_what_its_base_describes_is_refused() -> None:
    instances: Registry[Any] = Registry("member", base=Member)
    classes: Registry[Any] = Registry("member", base=Member, classes=True)
    instances.register("good")(Whole())
    classes.register("good")(Whole)
    mistakes: list[tuple[Registry[Any], Any, str]] = [
        (instances, Whole, "register an instance of a Member"),
        (classes, Whole(), "register the class itself"),
        (instances, 1, "must be a Member"),
        (instances, Unit(), "set unit; Member says what for"),
        (classes, Abstract, "has no run"),
    ]
    for registry, member, reason in mistakes:
        with pytest.raises(ValueError, match=f"^member 'bad': {reason}$"):
            registry.register("bad")(member)


def test_a_file_that_cannot_be_imported_hides_no_other_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long-lived processes ask again: half of the members must not count as all of them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "found_badly"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from sscl.registry import Registry\nMEMBERS = Registry('member', 'found_badly')"
    )
    (package / "bad.py").write_text("x = = 1")
    (package / "good.py").write_text("from found_badly import MEMBERS\nMEMBERS.register('good')(1)\n")
    members: Registry[int] = importlib.import_module("found_badly").MEMBERS
    for _ in range(2):
        with pytest.raises(SSCLError, match=r"^found_badly/bad\.py cannot be imported \(SyntaxError: .* or remove it$"):
            list(members)
    (package / "bad.py").unlink()
    importlib.invalidate_caches()
    assert list(members) == ["good"]


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


def test_a_member_in_the_file_of_its_name_needs_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "found_alone"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from sscl.registry import Registry\nMEMBERS = Registry('member', 'found_alone')"
    )
    (package / "one.py").write_text("from found_alone import MEMBERS\nMEMBERS.register('one')(1)\n")
    (package / "pair.py").write_text(
        "from found_alone import MEMBERS\nMEMBERS.register('two')(2)\nMEMBERS.register('three')(3)\n"
    )
    members: Registry[int] = importlib.import_module("found_alone").MEMBERS
    assert members["one"] == 1
    assert "found_alone.pair" not in sys.modules
    assert members["three"] == 3
    assert list(members) == ["one", "three", "two"]
    with pytest.raises(ConfigError, match="unknown member 'pair': choose one of one, three, two"):
        members["pair"]
