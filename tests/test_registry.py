from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
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


Package = Callable[..., Registry[int]]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Makes a package ``name`` whose registry is ``MEMBERS``, with these files."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, **files: str) -> Registry[int]:
        (tmp_path / name).mkdir()
        start = f"from sscl.registry import Registry\nMEMBERS = Registry('member', '{name}')"
        for file, text in {"__init__": start, **files}.items():
            (tmp_path / name / f"{file}.py").write_text(text)
        members: Registry[int] = importlib.import_module(name).MEMBERS
        return members

    return make


def test_a_file_that_cannot_be_imported_hides_no_other_member(package: Package, tmp_path: Path) -> None:
    """Long-lived processes ask again: half of the members must not count as all of them."""
    good = "from found_badly import MEMBERS\nMEMBERS.register('good')(1)\n"
    members = package("found_badly", bad="x = = 1", good=good)
    for _ in range(2):
        with pytest.raises(SSCLError, match=r"^found_badly/bad\.py cannot be imported \(SyntaxError: .* or remove it$"):
            list(members)
    (tmp_path / "found_badly/bad.py").unlink()
    importlib.invalidate_caches()
    assert list(members) == ["good"]


SLOW = """
import time
from found_slowly import MEMBERS
time.sleep(0.3)
MEMBERS.register("one")(1)
"""


def test_a_thread_waits_until_another_has_found_every_member(package: Package) -> None:
    """Tasks on threads ask a registry at once; none may see it half filled."""
    members = package("found_slowly", slow=SLOW)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: members["one"], range(4))) == [1] * 4


def test_a_name_is_looked_up_without_an_import_where_its_file_says_it(package: Package) -> None:
    start = "from found_said import MEMBERS\n"
    members = package("found_said", one=f'{start}MEMBERS.register("one")(1)\n', helper="x = 1\n")
    members.require("one")
    assert "found_said.one" not in sys.modules
    with pytest.raises(ConfigError, match="unknown member 'helper': choose one of one"):
        members.require("helper")


def test_a_member_in_the_file_of_its_name_needs_no_other_file(package: Package) -> None:
    start = "from found_alone import MEMBERS\n"
    pair = f"{start}MEMBERS.register('two')(2)\nMEMBERS.register('three')(3)\n"
    members = package("found_alone", one=f"{start}MEMBERS.register('one')(1)\n", pair=pair)
    assert members["one"] == 1
    assert "found_alone.pair" not in sys.modules
    assert members["three"] == 3
    assert list(members) == ["one", "three", "two"]
    with pytest.raises(ConfigError, match="unknown member 'pair': choose one of one, three, two"):
        members["pair"]
