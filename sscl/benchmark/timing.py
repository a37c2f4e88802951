"""How long a cell will take, from past ones of its like."""

from __future__ import annotations

from statistics import median

import pandas as pd

from sscl.benchmark.plan import Cell

USUAL_MINUTES = 1.0  # of a cell of which nothing like it was ever timed: 0.8 on MNIST, for one core (docs/benchmark.md)


def estimated(past: pd.DataFrame, cell: Cell) -> float:
    """Minutes: the median of rows that share attack and profile, else attack, else all."""
    if past.empty:
        return USUAL_MINUTES
    for columns in (["profile", "attack", "method"], ["profile", "attack"], ["attack"], []):
        alike = past
        for column in columns:
            alike = alike[alike[column] == getattr(cell, column)]
        if len(alike):
            return float(median(alike["seconds"])) / 60
    return USUAL_MINUTES
