"""The matrix of a benchmark: blocks of ``benchmark.yaml``, expanded into cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from sscl.attacks import DETECTORS, INVERSIONS, REMOVALS
from sscl.config import require
from sscl.errors import ConfigError, InputError
from sscl.parsing import parse
from sscl.watermarks import WATERMARKS

NONE = "none"  # the suspect as it was trained on the release
INDEPENDENT = "independent_watermark"  # Ind-W: a model trained on another owner's release, asked about ours


def registered() -> list[str]:
    """Every attack's name."""
    return [*REMOVALS, *DETECTORS, *INVERSIONS]


@dataclass(frozen=True)
class Cell:
    """One row of the result.

    Attributes:
        profile: dataset and trainings, a profile of ``params.yaml``.
        method: watermark; seed: of everything random.
        rate, eps, surrogate, suspect: what replaces the profile's (architectures); ``None`` for the profile's own.
        attack: a removal attack, a detector, a trigger inversion, ``none``, or ``independent_watermark``.
        strength: of a removal attack; ``None`` without one.
        overrides: ``section.key=value`` of the block.
    """

    profile: str
    method: str
    seed: int
    rate: float | None
    eps: float | None
    surrogate: str | None
    suspect: str | None
    attack: str
    strength: float | None
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.profile, self.method, f"seed {self.seed}", self.attack]
        extra = {
            "rate": self.rate,
            "eps": self.eps,
            "surrogate": self.surrogate,
            "suspect": self.suspect,
            "strength": self.strength,
        }
        return ", ".join(
            parts
            + [
                f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in extra.items()
                if value is not None
            ]
        )


@dataclass(frozen=True)
class Block:
    """A product of lists; ``all`` stands for every registered member, without poisons of contrastive learning."""

    profiles: list[str]
    methods: list[str]
    seeds: int = 1
    attacks: list[str] = field(default_factory=lambda: [NONE])
    strengths: Literal["usual", "grid"] = "usual"
    surrogates: list[str] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    eps: list[float] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require(self.seeds >= 1, "seeds", self.seeds, "1 or more")
        for name in self.methods:
            if name != "all":
                WATERMARKS[name]
        for name in self.attacks:
            require(
                name in (NONE, INDEPENDENT, "all", *registered()),
                "attacks",
                name,
                f"one of {NONE}, {INDEPENDENT}, all, {', '.join(registered())}",
            )

    def cells(self) -> Iterator[Cell]:
        """Every combination, once."""
        methods = (
            self.methods if "all" not in self.methods else [n for n in WATERMARKS if not WATERMARKS[n].contrastive]
        )
        attacks = [NONE, *registered()] if "all" in self.attacks else self.attacks
        tried = [(attack, strength) for attack in attacks for strength in self._strengths(attack)]
        rates: list[float | None] = [*self.rates] or [None]
        budgets: list[float | None] = [*self.eps] or [None]
        surrogates: list[str | None] = [*self.surrogates] or [None]
        suspects: list[str | None] = [*self.suspects] or [None]
        for profile, method, seed, rate, eps, surrogate, suspect, (attack, strength) in product(
            self.profiles, methods, range(self.seeds), rates, budgets, surrogates, suspects, tried
        ):
            yield Cell(profile, method, seed, rate, eps, surrogate, suspect, attack, strength, tuple(self.overrides))

    def _strengths(self, attack: str) -> list[float | None]:
        if attack not in REMOVALS:
            return [None]
        removal = REMOVALS[attack]
        return [float(value) for value in removal.grid] if self.strengths == "grid" else [float(removal.usual)]


def load_plan(path: Path, profile: str) -> list[Cell]:
    """The cells of a benchmark profile, in order, each once.

    Raises:
        InputError: no such file. ConfigError: an unknown profile, key or member.
    """
    try:
        found: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the file with the plans by --plan") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path}: not valid YAML in UTF-8; correct it, or name another file by --plan") from None
    if not isinstance(found, Mapping) or profile not in found:
        known = ", ".join(found) if isinstance(found, Mapping) else "(none)"
        raise ConfigError(f"{path}: no benchmark {profile!r}, choose one of {known}")
    if not isinstance(found[profile], list) or not found[profile]:
        raise ConfigError(
            f"{path}: {profile}: expected a list of blocks such as `- {{profiles: [demo], methods: [all]}}`"
        )
    blocks = [parse(Block, raw, f"{path}: {profile}.{number}") for number, raw in enumerate(found[profile])]
    return list(dict.fromkeys(cell for block in blocks for cell in block.cells()))


def described(cell: Cell) -> dict[str, Any]:
    """The cell as columns of the result."""
    return asdict(cell) | {"overrides": " ".join(cell.overrides)}
