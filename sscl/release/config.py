"""The section ``release`` of ``params.yaml``: where a release goes, and what it must not cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sscl.config import require
from sscl.params import default_params, merge, profiled, read, with_overrides
from sscl.parsing import parse
from sscl.release.places import are_apart


@dataclass(frozen=True)
class Limits:
    """What the quality gate allows; a figure above its limit publishes nothing.

    Attributes:
        ba_drop: benign accuracy of a model trained on clean data less that of one trained on the rehearsal.
        lpips: mean over marked images, at their own size.
        auroc: of every detector that looks at a dataset, over all images and within the marked classes;
            0.2 counts as 0.8.
        p_value: the exact test's p for the model trained on the rehearsal; above it, a release could not be proven.
    """

    ba_drop: float
    lpips: float
    auroc: float
    p_value: float


@dataclass(frozen=True)
class ReleaseConfig:
    """Publishing; the comments in ``params.yaml`` say what each key is."""

    public: str
    private: str
    copies: str
    sign: str | None
    seal_to: list[str]
    parallel: int
    limits: Limits

    def __post_init__(self) -> None:
        require(1 <= self.parallel <= 64, "parallel", self.parallel, "1 to 64 uploads at a time")
        for key in ("private", "copies"):
            place = getattr(self, key)
            require(
                are_apart(place, self.public),
                key,
                place,
                "a place apart from release.public: beside it, it would tell the marks",
            )
        require(
            are_apart(self.private, self.copies),
            "private",
            self.private,
            "a place apart from release.copies: licensees read there",
        )


def load_release(path: Path | None = None, overrides: Iterable[str] = (), profile: str | None = None) -> ReleaseConfig:
    """The section with the profile's (``None``: the file's own ``profile:``) and ``release.key=value`` overrides.

    Raises:
        ConfigError: unknown key or profile, wrong type, or impossible value.
    """
    raw = read(path or default_params())
    section = merge(raw.get("release", {}), profiled(raw, profile).get("release", {}))
    found = with_overrides({"release": section}, overrides)
    return parse(ReleaseConfig, found["release"], "release")
