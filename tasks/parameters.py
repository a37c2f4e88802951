"""Set parameters of the checkout's ``params.yaml``, as ``dvc exp run -S`` does: comments stay."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sscl.artifacts import write_atomically
from sscl.errors import ConfigError
from sscl.params import load, overlay, read, with_overrides
from sscl.release.config import load_release
from sscl.runner import require_carrier


def set_parameters(path: Path, profile: str | None, overrides: Iterable[str]) -> None:
    """Make ``profile`` the one in force and write ``section.key=value`` overrides, so that DVC and the flow agree.

    An override goes into the profile's overlay where that would otherwise mask it.

    Raises:
        ConfigError: unknown profile or key, an impossible value, a profile without a section that DVC follows, or one
            that protects an encoder; nothing is written.
    """
    overrides = list(overrides)
    require_carrier(load(path, profile, overrides), "dataset")
    load_release(path, overrides, profile)
    if profile is None and not overrides:
        return
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
    raw = yaml.load(path.read_text())
    raw["profile"] = profile or raw["profile"]
    if missing := [name for name in raw["profiles"]["demo"] if name not in raw["profiles"][raw["profile"]]]:
        raise ConfigError(f"profiles.{raw['profile']}: lacks {missing[0]}, which DVC follows; add `{missing[0]}: {{}}`")
    found = read(path)
    effective = overlay(found, profile, overrides) | {"release": with_overrides(found, overrides).get("release", {})}
    for override in overrides:
        keys = override.partition("=")[0].strip().split(".")
        masked = raw["profiles"][raw["profile"]]
        own = raw["profile"] != "demo" and keys[0] in masked
        section: Any = masked if own or _has(masked, keys) else raw
        value: Any = effective
        for key in keys[:-1]:
            section, value = section.setdefault(key, {}), value[key]
        section[keys[-1]] = value[keys[-1]]
    if raw != yaml.load(path.read_text()):
        buffer = io.StringIO()
        yaml.dump(raw, buffer)
        write_atomically(path, buffer.getvalue().encode())


def _has(section: Any, keys: list[str]) -> bool:
    """Whether a value is there."""
    for key in keys:
        if not isinstance(section, Mapping) or key not in section:
            return False
        section = section[key]
    return True
