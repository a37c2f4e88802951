"""How many queries a verification needs, before the first one is sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sscl.config import require
from sscl.verify.rank import needed
from sscl.verify.sequential import Wealth

RUNS = 1000  # simulated audits for each number of images
STEPS = (5, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1280)


@dataclass(frozen=True)
class Effect:
    """What is expected of a model trained on the release.

    Attributes:
        released: share of images marked with the released key that it answers ``y_t`` (WSR), in (0, 1].
        decoy: mean share for a decoy key, in [0, 1).
        spread: standard deviation of that share between decoy keys.
    """

    released: float
    decoy: float
    spread: float

    def __post_init__(self) -> None:
        require(0 < self.released <= 1, "released", self.released, "a share in (0, 1]")
        require(0 <= self.decoy < 1, "decoy", self.decoy, "a share in [0, 1)")
        limit = (self.decoy * (1 - self.decoy)) ** 0.5
        require(0 <= self.spread <= limit, "spread", self.spread, f"at most {limit:.3f} with this mean")


@dataclass(frozen=True)
class Plan:
    """The smallest audit that has the wanted power.

    Attributes:
        images: verification images for each key.
        decoys: decoy keys of the fixed test.
        power_fixed, power_sequential: share of simulated audits that reject.
        queries_fixed: queries of the fixed test, the benign ones included.
        queries_sequential: mean queries of the sequential test until it stops.
    """

    images: int
    decoys: int
    power_fixed: float
    power_sequential: float
    queries_fixed: int
    queries_sequential: float


def plan(effect: Effect, alpha: float, power: float, decoys: int, rng: np.random.Generator) -> Plan | None:
    """The fewest images for each key with which both tests have ``power``; ``None`` if 1,280 are not enough.

    Raises:
        ConfigError: so few decoys can never reach ``alpha``.
    """
    require(decoys >= needed(alpha), "decoys", decoys, f"at least {needed(alpha)} for alpha {alpha:g}")
    for images in STEPS:
        found = simulate(effect, images, alpha, decoys, rng)
        if min(found.power_fixed, found.power_sequential) >= power:
            return found
    return None


def simulate(effect: Effect, images: int, alpha: float, decoys: int, rng: np.random.Generator) -> Plan:
    """Simulate label-only audits: binomial counts, decoys' shares beta distributed between keys."""
    observed = rng.binomial(images, effect.released, RUNS)
    shares = _shares(effect, (RUNS, decoys), rng)
    counts = rng.binomial(images, shares)
    p_values = (1 + (counts >= observed[:, None]).sum(axis=1)) / (1 + decoys)
    stops = [_sequential(int(o), row, alpha) for o, row in zip(observed, counts, strict=True)]
    return Plan(
        images=images,
        decoys=decoys,
        power_fixed=float((p_values <= alpha).mean()),
        power_sequential=float(np.mean([rejected for rejected, _ in stops])),
        queries_fixed=images * (2 + decoys),
        queries_sequential=float(np.mean([images * (2 + used) for _, used in stops])),
    )


def _sequential(observed: int, counts: np.ndarray, alpha: float) -> tuple[bool, int]:
    wealth = Wealth(alpha)
    for count in counts.tolist():
        wealth.add(observed, count)
        if wealth.finished(len(counts)):
            break
    return wealth.rejects, wealth.decoys


def _shares(effect: Effect, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    if effect.spread == 0 or effect.decoy == 0:
        return np.full(size, effect.decoy)
    concentration = effect.decoy * (1 - effect.decoy) / effect.spread**2 - 1
    return rng.beta(effect.decoy * concentration, (1 - effect.decoy) * concentration, size)
