"""The benchmark's rows as the curves and matrices that the paper's figures show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sscl.benchmark.plan import NONE, STRANGER

SCORES = ["ba", "wsr", "delta_p"]
VARIED = ["rate", "eps", "surrogate", "suspect"]


@dataclass(frozen=True)
class Sweep:
    """One figure: scores of suspects along one column.

    Attributes:
        name: of the file.
        title: for people, with the paper's figure.
        column: what is varied.
        attack: of the rows it is drawn from.
        scale: what the column is multiplied by for display.
        label: of that axis.
    """

    name: str
    title: str
    column: str
    attack: str
    scale: float
    label: str


SWEEPS = [
    Sweep("rate", "Share of marked images (the paper's Figure 4)", "rate", NONE, 100, "marked images, % of the set"),
    Sweep("eps", "Budget (the paper's Figure 4)", "eps", NONE, 255, "eps, of 255"),
    Sweep("fine_tuning", "Fine-tuning (the paper's Figure 5)", "strength", "fine_tuning", 1, "epochs"),
    Sweep("pruning", "Pruning (the paper's Figure 5)", "strength", "pruning", 100, "pruned inputs, %"),
]


def usual(found: pd.DataFrame) -> pd.DataFrame:
    """Rows in which nothing but method, seed and attack is varied."""
    return found[found[VARIED].isna().all(axis=1)]


def curve(found: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """One row a profile, method and value of the column, means over seeds; empty without at least two values."""
    others = [name for name in (*VARIED, "strength") if name != sweep.column]
    rows = found[(found["attack"] == sweep.attack) & found[others].isna().all(axis=1)]
    rows = rows.dropna(subset=[sweep.column])
    means = rows.groupby(["profile", "method", sweep.column], as_index=False)[SCORES].mean()
    counts = means.groupby(["profile", "method"])[sweep.column].transform("size")
    means = means[counts > 1].reset_index(drop=True)
    return means.assign(**{sweep.column: means[sweep.column] * sweep.scale})


def architectures(found: pd.DataFrame, score: str = "delta_p") -> dict[tuple[str, str], pd.DataFrame]:
    """Surrogates (rows) against suspects (columns) for each profile and method: the paper's Figure 6."""
    rows = found[(found["attack"] == NONE) & found["surrogate"].notna() & found["suspect"].notna()]
    return {
        (str(profile), str(method)): group.pivot_table(score, "surrogate", "suspect")
        for (profile, method), group in rows.groupby(["profile", "method"])
    }


def attacked(found: pd.DataFrame, score: str = "delta_p") -> dict[str, pd.DataFrame]:
    """Removal attacks at their usual strength (columns; first none) against methods (rows), for each profile."""
    rows = usual(found[found[score].notna() & (found["attack"] != STRANGER)])
    wide = {}
    for profile, group in rows.groupby("profile"):
        table = group.pivot_table(score, "method", "attack")
        complete = table.dropna()
        if complete.shape[0] and complete.shape[1] > 1:
            wide[str(profile)] = complete[[NONE, *sorted(set(complete.columns) - {NONE})]]
    return wide


def detected(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """AUROC of detectors (columns) for methods (rows), for each profile."""
    if "auroc" not in found.columns:
        return {}
    rows = found[found["auroc"].notna()]
    return {str(profile): group.pivot_table("auroc", "method", "attack") for profile, group in rows.groupby("profile")}
