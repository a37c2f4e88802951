"""The benchmark's rows as the curves and matrices that the paper's figures show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sscl.attacks import DETECTORS, REMOVALS
from sscl.benchmark.plan import NONE

SCORES = ["ba", "wsr", "delta_p"]
VARIED = ["rate", "eps", "surrogate", "suspect"]
RUN = ["profile", "method", "seed", *VARIED, "overrides"]  # what tells runs apart, attacks aside


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


def apart(found: pd.DataFrame, keys: list[str]) -> list[str]:
    """The keys by which rows are averaged; with ``overrides``, where rows with the same keys differ in them."""
    differ = (found.groupby(keys, dropna=False)["overrides"].nunique() > 1).any()
    return [*keys, "overrides"] if differ else keys


def named(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The same rows; in the column also the overrides, where a profile has several for a method: no cell mixes them."""
    several = rows.groupby(["profile", "method"])["overrides"].transform("nunique") > 1
    plain = ~several | (rows["overrides"] == "")
    return rows.assign(**{column: rows[column].where(plain, rows[column] + ", " + rows["overrides"])})


def curve(found: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """One row a profile, method and value of the column, means over seeds; empty without at least two values.

    The curve of an attack starts at strength 0, which is no attack.
    """
    others = [name for name in (*VARIED, "strength") if name != sweep.column]
    rows = found[(found["attack"] == sweep.attack) & found[others].isna().all(axis=1)]
    rows = rows.dropna(subset=[sweep.column])
    if sweep.attack != NONE:
        start = before(rows, found).drop_duplicates(RUN).dropna(subset=["attack"])
        rows = pd.concat([start.assign(**{sweep.column: 0.0}), rows])
    keys = apart(rows, ["profile", "method", sweep.column])
    means = rows.groupby(keys, as_index=False)[SCORES].mean()
    counts = means.assign(some=means[sweep.column] > 0).groupby(lines(means))["some"].transform("sum")
    means = means[counts > 1].reset_index(drop=True)
    return means.assign(**{sweep.column: means[sweep.column] * sweep.scale})


def lines(points: pd.DataFrame) -> list[str]:
    """What tells the lines of a curve apart."""
    return [name for name in ("profile", "method", "overrides") if name in points]


def architectures(found: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Surrogates (rows) against suspects (columns) for each profile and method: the paper's Figure 6."""
    rows = found[(found["attack"] == NONE) & found["surrogate"].notna() & found["suspect"].notna()]
    rows = named(rows, "surrogate")
    return {
        (str(profile), str(method)): group.pivot_table("delta_p", "surrogate", "suspect")
        for (profile, method), group in rows.groupby(["profile", "method"])
    }


def before(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows without an attack that belong to attacked ones: the same run, in the same order."""
    plain = found[found["attack"] == NONE].drop_duplicates(RUN)
    return rows[RUN].merge(plain, on=RUN, how="left").set_index(rows.index)


def usually_attacked(found: pd.DataFrame) -> pd.DataFrame:
    """Removal attacks at their usual strength on releases in which nothing else is varied."""
    strength = found["attack"].map({name: float(REMOVALS[name].usual) for name in REMOVALS})
    return usual(found[strength.notna() & (found["strength"] == strength)])


def attacked(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Removal attacks at their usual strength (columns; first none) against methods (rows), for each profile."""
    rows = usually_attacked(found)
    plain = before(rows, found)
    both = named(pd.concat([plain.drop_duplicates(RUN).dropna(subset=["attack"]), rows]), "method")
    return {
        str(profile): table[sorted(table.columns, key=lambda attack: (attack != NONE, attack))]
        for profile, group in both.groupby("profile")
        for table in [group.pivot_table("delta_p", "method", "attack")]
    }


def detected(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """How well detectors (columns) tell methods' marked images (rows) apart, for each profile: 0.5 not, 1 or 0 wholly.

    Among the images of one class where the marks point to one: finding the class is not finding the images.
    """
    rows = usual(found[found["attack"].isin(list(DETECTORS))])
    rows = named(rows.assign(seen=rows["auroc_class"].fillna(rows["auroc"])), "method")
    return {str(profile): group.pivot_table("seen", "method", "attack") for profile, group in rows.groupby("profile")}
