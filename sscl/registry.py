"""A registry: members register themselves by name, so adding one is adding one file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from sscl.errors import ConfigError, SSCLError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to members.

    Args:
        kind: what the members are, for error messages ("watermark", "classifier").
        package: dotted package whose modules are imported on first use, so that each member's file registers itself.
        base: the class that members are instances of, or subclasses of where ``classes``; ``None``: functions.
        classes: whether members are classes.
    """

    def __init__(
        self, kind: str, package: str | None = None, *, base: type | None = None, classes: bool = False
    ) -> None:
        self.kind = kind
        self._package, self._base, self._classes = package, base, classes
        self._members: dict[str, T] = {}
        self._discovered = package is None
        self._discovering = False
        self._lock = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds a member under ``name``.

        Raises:
            ValueError: the name is taken, or the member is not what its base describes.
        """

        def add(member: T) -> T:
            if name in self._members:
                raise ValueError(f"{self.kind} {name!r} is registered twice; choose another name")
            if self._base and (wrong := self._mistake(member, self._base)):
                raise ValueError(f"{self.kind} {name!r}: {wrong}")
            self._members[name] = member
            return member

        return add

    def _mistake(self, member: T, base: type) -> str | None:
        """What a member lacks of its base."""
        if self._classes != isinstance(member, type):
            return f"register {'the class itself' if self._classes else f'an instance of a {base.__name__}'}"
        kind = member if isinstance(member, type) else type(member)
        if not issubclass(kind, base):
            return f"must be a {base.__name__}"
        if inspect.isabstract(kind):
            return f"has no {', '.join(sorted(getattr(kind, '__abstractmethods__', ())))}"
        said = (name for parent in base.__mro__ for name, of in inspect.get_annotations(parent).items() if of_class(of))
        missing = sorted(name for name in said if not hasattr(kind, name))
        return f"set {', '.join(missing)}; {base.__name__} says what for" if missing else None

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

    def require(self, name: str) -> None:
        """Raise ``ConfigError`` for what is no member; a file that says it registers the name is not imported."""
        if name not in self._members and not self._says(name):
            self[name]

    def _says(self, name: str) -> bool:
        """Whether the file of that name registers a member of that name."""
        if name not in self._files():
            return False
        found = importlib.util.find_spec(f"{self._package}.{name}")
        text = Path(found.origin).read_text() if found and found.origin else ""
        return f'.register("{name}")' in text

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
            if name in self._files():
                imported(f"{self._package}.{name}")

    def _files(self) -> list[str]:
        """The names of the files that members may be in."""
        if self._package is None:
            return []
        return [file.name for file in pkgutil.iter_modules(importlib.import_module(self._package).__path__)]

    def _discover(self) -> None:
        if self._discovered or self._package is None:
            return
        with self._lock:  # another thread waits until every member is there
            if self._discovered or self._discovering:
                return
            self._discovering = True  # a member's file may ask while it is imported
            try:
                for name in self._files():
                    imported(f"{self._package}.{name}")
                self._discovered = True
            finally:
                self._discovering = False


def of_class(annotation: object) -> bool:
    """Whether an annotation is of a class's attribute."""
    return str(annotation).startswith(("ClassVar", "typing.ClassVar"))


def imported(module: str) -> None:
    """Import a member's file.

    Raises:
        ModuleNotFoundError: an optional package is missing.
        SSCLError: the file is wrong.
    """
    try:
        importlib.import_module(module)
    except (ModuleNotFoundError, SSCLError):
        raise
    except Exception as error:
        path = module.replace(".", "/")
        raise SSCLError(f"{path}.py cannot be imported ({type(error).__name__}: {error}); mend or remove it") from error
