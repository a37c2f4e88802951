"""Correction for asking several questions at once."""

from __future__ import annotations


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Adjusted p-values that hold the family-wise error rate whatever the dependence (Holm 1979)."""
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = running
    return adjusted
