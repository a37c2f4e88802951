"""``params.yaml`` to ``Config``: the file, the profile's overlay, the overrides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sscl.config import STARTS, Config, GeneratorConfig, TrainConfig
from sscl.errors import ConfigError, InputError
from sscl.functions import names_function
from sscl.parsing import parse
from sscl.registry import Registry

Raw = dict[str, Any]
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C: 20 times faster
BESIDE = ("profile", "profiles", "release", "shared")  # keys of the file that no stage depends on


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
        raw = deepcopy(document(path.read_text()))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name one with --params, or run where params.yaml is") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections such as `data:`, got {type(raw).__name__}")
    return raw


@lru_cache(maxsize=4)
def document(text: str | bytes) -> Any:
    """The YAML document, which callers leave as it is. A flow asks for the same ones at every task."""
    return yaml.load(text, LOADER)


def load(path: Path | None = None, profile: str | None = None, overrides: Iterable[str] = ()) -> Config:
    """Load, overlay the profile, apply ``section.key=value`` overrides, check, and build.

    Args:
        path: the parameter file; ``None`` for ``default_params()``.
        profile: a name under ``profiles:``; ``None`` for the file's own ``profile:``.
        overrides: strings such as ``"verify.tau=0.3"``; the value is YAML.

    Raises:
        ConfigError: unknown key, wrong type, or impossible value.

    Examples:
        >>> config = load(profile="cifar10-small", overrides=["audit.images=100"])
        >>> config.user.model, config.audit.images
        ('resnet8', 100)
    """
    raw = read(path or default_params())
    return build(overlay(raw, profile, overrides))


def rebased(config: Config, base: Path) -> Config:
    """The same with relative paths under ``base``, for work that starts elsewhere; a dataset's name stays as it is."""
    path, key_file = config.data.path, config.key_file and str((base / config.key_file).resolve())
    if path and (base / path).exists():
        path = str((base / path).resolve())
    trainings = (replace(training, start=_from(training.start, base)) for training in (config.surrogate, config.user))
    surrogate, user = trainings
    return replace(config, key_file=key_file, data=replace(config.data, path=path), surrogate=surrogate, user=user)


def _from(start: str, base: Path) -> str:
    return start if start in STARTS else str((base / start).resolve())


def overlay(raw: Raw, profile: str | None = None, overrides: Iterable[str] = ()) -> Raw:
    """The effective sections: the file's own, then the profile's, then the overrides."""
    sections = {key: value for key, value in raw.items() if key not in BESIDE}
    merged = with_overrides(merge(sections, profiled(raw, profile)), overrides)
    merged.pop("release", None)  # an override of it is for ``sscl.release``
    return merged


def profiled(raw: Raw, profile: str | None = None) -> Raw:
    """The sections of a profile, ``None`` for the file's own; raises ``ConfigError`` if there is no such profile."""
    profiles = raw.get("profiles", {})
    name = profile or raw.get("profile", "demo")
    if name not in profiles:
        raise ConfigError(f"profile: {name!r} does not exist, choose one of {', '.join(sorted(profiles)) or '(none)'}")
    found: Raw = profiles[name] or {}
    return found


def with_overrides(raw: Raw, overrides: Iterable[str]) -> Raw:
    """The mapping with ``section.key=value`` overrides; raises ``ConfigError`` for what is not of that form."""
    for override in overrides:
        raw = merge(raw, _parse_override(override))
    return raw


def build(raw: Raw) -> Config:
    """Sections to ``Config``. Every method's options under ``generator`` are checked; those of ``method`` count."""
    sections = dict(raw)
    if isinstance(sections.get("generator"), Mapping):
        sections["generator"] = _generator(sections["generator"])
    config = parse(Config, sections, "")
    for section in ("surrogate", "user"):
        _know_own(section, getattr(config, section).model)
    for key, registry, name in _named(config):
        try:
            registry.require(name)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from None
    for section in ("surrogate", "user"):
        _check_start(section, getattr(config, section))
    for attack in config.attacks.removals:
        _check_attack(attack.name, attack.strength)
    return config


def _named(config: Config) -> Iterator[tuple[str, Registry[Any], str]]:
    """Keys whose values name members, each with its registry: looked up before hours of training, not after them."""
    from sscl.data.augment import AUGMENTATIONS
    from sscl.data.sources import SOURCES
    from sscl.learning.base import LEARNERS, SUPERVISED
    from sscl.models import CLASSIFIERS
    from sscl.statistics.effects import STATISTICS
    from sscl.statistics.paired import TESTS

    yield "data.source", SOURCES, config.data.source
    yield "verify.test", TESTS, config.verify.test
    yield "audit.statistic", STATISTICS, config.audit.statistic
    for section in ("surrogate", "user"):
        training: TrainConfig = getattr(config, section)
        yield f"{section}.model", CLASSIFIERS, training.model
        if training.learning == SUPERVISED:
            yield f"{section}.augment", AUGMENTATIONS, training.augment
        else:
            from sscl.data.views import VIEWS

            yield f"{section}.learning", LEARNERS, training.learning
            yield f"{section}.augment", VIEWS, training.augment


def _know_own(section: str, model: str) -> None:
    """Networks of the user's own count as registered from here on."""
    if names_function(model):
        from sscl.models.own import know

        try:
            know(model)
        except InputError as error:
            raise ConfigError(f"{section}.model: {error}") from None


def _check_start(section: str, training: TrainConfig) -> None:
    if training.start == "imagenet":
        from sscl.models.base import PRETRAINED

        if training.model not in PRETRAINED:
            known = ", ".join(PRETRAINED)
            raise ConfigError(f"{section}.start: imagenet has no weights of {training.model}; expected model: {known}")


def _check_attack(name: str, strength: float | None) -> None:
    """Before hours of training, and not after them."""
    from sscl.attacks import REMOVALS

    try:
        weights_only = REMOVALS[name].weights_only
        if strength is not None:
            REMOVALS[name].require(strength)
    except ConfigError as error:
        raise ConfigError(f"attacks.removals: {error}") from None
    except ValueError as error:
        raise ConfigError(f"attacks.removals: {name} {error}") from None
    if not weights_only:
        known = ", ".join(attack for attack in REMOVALS if REMOVALS[attack].weights_only)
        reason = "changes more than weights, which only `sscl benchmark` can do"
        raise ConfigError(f"attacks.removals: {name} {reason}; choose one of {known}")


def _generator(section: Mapping[str, Any]) -> GeneratorConfig:
    from sscl.watermarks import WATERMARKS

    methods = dict(section)
    name = methods.pop("method", None)
    if not isinstance(name, str) or name not in WATERMARKS:
        raise ConfigError(f"generator.method: {name!r} does not exist, choose one of {', '.join(WATERMARKS)}")
    unknown = [method for method in methods if method not in WATERMARKS]
    if unknown:
        raise ConfigError(f"generator.{unknown[0]}: unknown key; expected method, {', '.join(WATERMARKS)}")
    methods.setdefault(name, {})  # defaults, where the method has them
    parsed: dict[str, object] = {
        method: parse(WATERMARKS[method].Options, raw, f"generator.{method}") for method, raw in methods.items()
    }
    return GeneratorConfig(name, parsed[name])


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> Raw:
    """``base`` with the values of ``top``, section by section."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
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
    result: Raw = parsed
    return result
