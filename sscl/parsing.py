"""Mappings to frozen dataclasses, strictly: every error names the key, what was expected and the remedy."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeVar

from sscl.errors import ConfigError

D = TypeVar("D")


def parse(cls: type[D], raw: Mapping[str, Any], where: str) -> D:
    """Build the dataclass ``cls`` from a mapping, strictly; only fields with a default may be left out.

    ``where`` prefixes key names in errors.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: expected a section with keys, got {raw!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in raw:
        if key not in fields:
            raise unknown_key(f"{prefix}{key}", list(fields))
    missing = [name for name, field in fields.items() if name not in raw and _has_no_default(field)]
    if missing:
        raise ConfigError(f"{prefix}{missing[0]}: missing; params.yaml shows its usual value")
    hints = typing.get_type_hints(cls)
    values = {name: _convert(raw[name], hints[name], f"{prefix}{name}") for name in fields if name in raw}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def unknown_key(where: str, known: list[str]) -> ConfigError:
    """The error for a key, with the sections that it is in, that is none of those known."""
    if near := difflib.get_close_matches(where.rpartition(".")[2], known, n=1):
        return ConfigError(f"{where}: unknown key; did you mean {near[0]!r}?")
    said = f"known keys: {', '.join(known)}" if known else "there are no settings here"
    return ConfigError(f"{where}: unknown key; {said}")


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else parse(hint, value, where)
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(value, typing.get_args(hint), where)
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        inner, *others = typing.get_args(hint)
        if origin is tuple and Ellipsis not in others and len(value) != 1 + len(others):
            raise ConfigError(f"{where}: expected {1 + len(others)} values, got {value!r}")
        return origin(_convert(item, inner, f"{where}.{number}") for number, item in enumerate(value))
    if origin is dict:
        inner = typing.get_args(hint)[1]
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ConfigError(f"{where}: expected keys with values, got {value!r}")
        return {key: _convert(item, inner, f"{where}.{key}") for key, item in value.items()}
    if origin is Literal:
        if value in typing.get_args(hint) and not isinstance(value, bool):
            return value
        raise ConfigError(f"{where}: {value!r} is not one of {', '.join(map(repr, typing.get_args(hint)))}")
    if hint is float:
        return _number(value, where)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise ConfigError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r}")


def _convert_union(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    errors = []
    for choice in choices:
        if choice is not type(None):
            try:
                return _convert(value, choice, where)
            except ConfigError as error:
                errors.append(error)
    if len(errors) > 1 and not isinstance(value, Mapping):
        wanted = " or ".join(_told(choice) for choice in choices)
        raise ConfigError(f"{where}: expected {wanted}, got {value!r}")
    raise errors[-1]


def _told(hint: Any) -> str:
    """A type in words, as they stand in a parameter file."""
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    words = {type(None): "null", bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return words.get(hint, "a list")


def _number(value: Any, where: str) -> float:
    """A float; a fraction such as ``16/255`` is welcome, because that is how budgets are written."""
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(Fraction(value)) if isinstance(value, str) and "/" in value else float(value)
    except (ValueError, TypeError, ZeroDivisionError):
        raise ConfigError(f"{where}: expected a number or a fraction such as 16/255, got {value!r}") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ConfigError(f"{where}: expected a finite number, got {value!r}")
    return number
