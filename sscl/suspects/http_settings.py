"""The settings of an HTTP endpoint, as an ``--oracle`` file has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sscl.answers.replies import Reading
from sscl.config import require
from sscl.errors import ConfigError
from sscl.parsing import unknown_key
from sscl.suspects.http_requests import PRESETS, Asking

MOST_PARALLEL = 64


@dataclass(frozen=True)
class HttpOptions:
    """How the API is queried, and how fast; ``asking`` and ``reading`` have their keys beside these in the file.

    Attributes:
        auth_env, auth_header: environment variable with the header's whole value, and the header.
        parallel: requests at a time, once the first image is answered. per_second, budget: pace, and the most requests
            that may be sent.
        timeout: seconds for a reply, from the first byte sent to the last received. retries: of what passes by itself.
    """

    reading: Reading
    asking: Asking = field(default_factory=Asking)
    auth_header: str = "Authorization"
    auth_env: str | None = None
    parallel: int = 4
    per_second: float | None = None
    budget: int | None = None
    timeout: float = 30.0
    retries: int = 5

    def __post_init__(self) -> None:
        require(
            1 <= self.parallel <= MOST_PARALLEL, "parallel", self.parallel, f"1 to {MOST_PARALLEL} requests at a time"
        )
        require(self.per_second is None or self.per_second > 0, "per_second", self.per_second, "a positive rate")
        require(self.budget is None or self.budget >= 1, "budget", self.budget, "1 or more queries")
        require(self.timeout > 0, "timeout", self.timeout, "seconds")
        require(self.retries >= 0, "retries", self.retries, "0 or more")


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``asking`` and ``reading`` moved to their places, a preset filled in; raises ``ConfigError``."""
    flat = dict(given)
    preset = flat.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(f"oracle.preset: {preset!r} is not one of {', '.join(PRESETS)}")
        flat = PRESETS[preset] | flat
    found: dict[str, Any] = {"asking": {}, "reading": {}}
    known = [f.name for kind in (Asking, Reading, HttpOptions) for f in fields(kind) if f.name not in found]
    for key in flat:
        if key not in known:
            raise unknown_key(f"oracle.{key}", known)
    for part, kind in (("asking", Asking), ("reading", Reading)):
        names = {entry.name for entry in fields(kind)}
        found[part] = {name: flat.pop(name) for name in list(flat) if name in names}
    return found | flat
