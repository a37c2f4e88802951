"""A registry: members register themselves by name, so adding one is adding one file."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from sscl.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to members.

    Args:
        kind: what the members are, for error messages ("watermark", "classifier").
        package: dotted package whose modules are imported on first use, so that each member's file registers itself.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._members: dict[str, T] = {}
        self._discovered = package is None
        self._discovering = False
        self._lock = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds a member under ``name``; raises ``ValueError`` if the name is taken."""

        def add(member: T) -> T:
            if name in self._members:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._members[name] = member
            return member

        return add

    def registered(self, name: str) -> T:
        """A member whose file is imported already; no other file is."""
        return self._members[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._members:
            self._discover_alone(name)
        if name not in self._members:
            self._discover()
        try:
            return self._members[name]
        except KeyError:
            known = ", ".join(sorted(self._members))
            raise ConfigError(f"unknown {self.kind} {name!r}: choose one of {known}") from None

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._members))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._members

    def _discover_alone(self, name: str) -> None:
        """Import the file of that name, in which a member usually is, and no other: some take seconds."""
        if self._discovered or self._package is None or not name.isidentifier():
            return
        with self._lock:
            package = importlib.import_module(self._package)
            if name in (module.name for module in pkgutil.iter_modules(package.__path__)):
                importlib.import_module(f"{self._package}.{name}")

    def _discover(self) -> None:
        if self._discovered or self._package is None:
            return
        with self._lock:  # another thread waits until every member is there
            if self._discovered or self._discovering:
                return
            self._discovering = True  # a member's file may ask while it is imported
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._discovered = True
