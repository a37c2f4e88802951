"""``params.yaml`` to ``Config`` and back: strict, and every error names the key, what was expected and the remedy."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from sscl.config import Config, GeneratorConfig
from sscl.errors import ConfigError

D = TypeVar("D")
Raw = dict[str, Any]


def default_params() -> Path:
    """``params.yaml`` of the current folder, else the one that ships with the package."""
    here = Path("params.yaml")
    if here.is_file():
        return here
    package = Path(__file__).parent
    return next(p for p in (package / "params.yaml", package.parent / "params.yaml") if p.is_file())


def read(path: Path) -> Raw:
    """The file as a mapping; raises ``ConfigError`` if it is missing, not YAML, or not a mapping."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name one with --params, or run where params.yaml is") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections such as `data:`, got {type(raw).__name__}")
    return raw


def load(path: Path | None = None, profile: str | None = None, overrides: Iterable[str] = ()) -> Config:
    """Load, overlay the profile, apply ``section.key=value`` overrides, check, and build.

    Args:
        path: the parameter file; ``None`` for ``default_params()``.
        profile: a name under ``profiles:``; ``None`` for the file's own ``profile:``.
        overrides: strings such as ``"verify.tau=0.3"``; the value is YAML.

    Raises:
        ConfigError: unknown key, wrong type, or impossible value.
    """
    raw = read(path or default_params())
    return build(overlay(raw, profile, overrides))


def overlay(raw: Raw, profile: str | None = None, overrides: Iterable[str] = ()) -> Raw:
    """The effective sections: the file's own, then the profile's, then the overrides."""
    profiles = raw.get("profiles", {})
    name = profile or raw.get("profile", "demo")
    sections = {key: value for key, value in raw.items() if key not in ("profile", "profiles")}
    if name not in profiles:
        raise ConfigError(f"profile: {name!r} does not exist, choose one of {', '.join(sorted(profiles)) or '(none)'}")
    merged = _merge(sections, profiles[name] or {})
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    return merged


def build(raw: Raw) -> Config:
    """Sections to ``Config``. The generator's options are parsed by the watermark that ``generator.method`` names."""
    from sscl.watermarks import WATERMARKS

    sections = dict(raw)
    section = sections.get("generator")
    if isinstance(section, Mapping):
        options = dict(section)
        method = options.pop("method", None)
        if not isinstance(method, str):
            raise ConfigError(f"generator.method: expected one of {', '.join(WATERMARKS)}, got {method!r}")
        parsed: object = parse(WATERMARKS[method].Options, options, "generator")
        sections["generator"] = GeneratorConfig(method, parsed)
    return parse(Config, sections, "")


def dump(config: Config) -> Raw:
    """The inverse of ``build``: plain mappings that serialise to YAML or JSON."""
    raw: Raw = dataclasses.asdict(config)
    options = raw["generator"].pop("options")
    raw["generator"].update(options)
    return raw


def parse(cls: type[D], raw: Mapping[str, Any], where: str) -> D:
    """Build the dataclass ``cls`` from a mapping, strictly. ``where`` prefixes key names in errors."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: expected a section with keys, got {raw!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            raise ConfigError(f"{prefix}{key}: unknown key; {hint}")
    missing = [name for name in fields if name not in raw]
    if missing:
        raise ConfigError(f"{prefix}{missing[0]}: missing; params.yaml shows its usual value")
    hints = typing.get_type_hints(cls)
    values = {name: _convert(raw[name], hints[name], f"{prefix}{name}") for name in fields}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def _convert(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else parse(hint, value, where)
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(value, typing.get_args(hint), where)
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
    raise errors[-1]


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


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> Raw:
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _parse_override(text: str) -> Raw:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text}: expected section.key=value, e.g. --set verify.tau=0.3")
    try:
        parsed: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: the value is not valid YAML") from None
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return typing.cast(Raw, parsed)
