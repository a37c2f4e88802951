"""The benchmark's rows as tables."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Any

import pandas as pd

from sscl.attacks import DETECTORS, INVERSIONS, REMOVALS
from sscl.benchmark.plan import INDEPENDENT, NONE
from sscl.benchmark.sweeps import apart, before, usual
from sscl.report.published import PUBLISHED
from sscl.report.tables import p_text

BY = ["dataset", "profile", "method"]
TESTS = ("p_paper", "p_exact", "p_weights")
ALPHA = 0.05
SCENARIOS = {"Malicious": "", "Ind-M": "clean_"}


def methods(found: pd.DataFrame) -> pd.DataFrame:
    """Table I: methods without an attack, means over seeds; the paper's own figures in columns of their own."""
    rows = usual(found[found["attack"] == NONE])
    rows = rows.assign(eps_of_255=255 * rows["eps_used"])
    table = _mean(rows, BY, ["eps_of_255", "clean_ba", "ba", "wsr", "wsr_untargeted", "delta_p", "lpips", "lpips_64"])
    for name in ("ba", "wsr", "lpips"):
        table[f"published_{name}"] = _published(table, name)
    return table


def innocents(found: pd.DataFrame) -> pd.DataFrame:
    """What a model trained on the clean set makes of the same queries, without which no success rate can be read."""
    columns = ["wsr", "clean_wsr", "wsr_untargeted", "clean_wsr_untargeted", "delta_p", "clean_delta_p"]
    return _mean(usual(found[found["attack"] == NONE]), BY, columns)


def spread(found: pd.DataFrame) -> pd.DataFrame:
    """Least and greatest over seeds, where there are several."""
    rows = usual(found[found["attack"] == NONE])
    groups = rows.groupby(apart(rows, BY))
    table = groups[["ba", "wsr", "delta_p", "clean_delta_p"]].agg(["min", "max"])
    table.columns = pd.Index(["_".join(pair) for pair in table.columns])
    return table[groups.size() > 1].reset_index()


def scenarios(found: pd.DataFrame) -> pd.DataFrame:
    """Table II: what both tests say of a model trained on the release, a clean one, and one that saw another mark.

    p-values are not averaged: of several seeds, how many are at most ``ALPHA`` is counted.
    """
    rows = usual(found[found["attack"] == NONE])
    parts = [usual(found[found["attack"] == INDEPENDENT]).assign(scenario="Ind-W")]
    for title, prefix in SCENARIOS.items():
        renamed = {f"{prefix}{name}": name for name in ("delta_p", *TESTS)}
        parts.append(rows[[*BY, "seed", "overrides", *renamed]].rename(columns=renamed).assign(scenario=title))
    both = pd.concat(parts)
    for name in TESTS:
        both[f"{name}_accuses"] = (both[name] <= ALPHA).astype(float).where(both[name].notna())
    counted = {f"{name}_accuses": lambda found: found.sum(min_count=1) for name in TESTS}
    table = _mean(both, [*BY, "scenario"], ["delta_p"], counted)
    table["published_delta_p"] = _published(table, "delta_p").where(table["scenario"] == "Malicious")
    return table


def costs(found: pd.DataFrame) -> pd.DataFrame:
    """Seconds to fit a method (once) and to mark 1,000 images."""
    table = _mean(usual(found[found["attack"] == NONE]), BY, ["fit_seconds", "craft_seconds"])
    return table.rename(columns={"craft_seconds": "craft_seconds_per_1000"})


def removals(found: pd.DataFrame) -> pd.DataFrame:
    """What removal costs in BA and leaves of the watermark; before it, the same models; p is the seeds' largest."""
    rows = usual(found[found["attack"].isin(list(REMOVALS))])
    plain = before(rows, found)
    rows = rows.assign(ba_cost=plain["ba"] - rows["ba"], delta_p_before=plain["delta_p"])
    columns = ["ba_cost", "ba", "wsr", "wsr_untargeted", "delta_p_before", "delta_p"]
    return _mean(rows, [*BY, "attack", "strength"], columns, {"p_exact": "max"})


def detectors(found: pd.DataFrame) -> pd.DataFrame:
    """How well marked images are found, among all and among those of the target class."""
    columns = ["marked_share", "auroc_class", "auroc", "recall"]
    return _mean(usual(found[found["attack"].isin(list(DETECTORS))]), [*BY, "attack"], columns)


def inversions(found: pd.DataFrame) -> pd.DataFrame:
    """How suspicious trigger inversion finds the target class, and how many classes it accuses."""
    columns = ["anomaly", "clean_anomaly", "accused", "accused_others", "clean_accused"]
    return _mean(usual(found[found["attack"].isin(list(INVERSIONS))]), [*BY, "attack"], columns)


def everything(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Title -> table, without empty ones."""
    made = {
        "Methods (the paper's Table I)": methods(found),
        "The same queries to a clean model": innocents(found),
        "Spread over seeds": spread(found),
        f"Scenarios (the paper's Table II; accused at {ALPHA:g})": scenarios(found),
        "Cost in seconds": costs(found),
        "Removal": removals(found),
        "Detection": detectors(found),
        "Trigger inversion": inversions(found),
    }
    return {title: table for title, table in made.items() if not table.empty}


def _published(table: pd.DataFrame, name: str) -> pd.Series[float]:
    """The paper's figure beside our rows of its method, where it has one for the dataset."""
    theirs = pd.Series([PUBLISHED.get(dataset, {}).get(name, nan) for dataset in table["dataset"]], dtype="float64")
    return theirs.where(table["method"] == "sscl_bw")


def _mean(
    found: pd.DataFrame, keys: list[str], columns: list[str], others: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Means over seeds, their number, and ``others`` (column -> aggregation); what nobody measured is left out."""
    grouped = found.groupby(apart(found, keys), dropna=False)
    table = grouped.agg(dict.fromkeys(columns, "mean") | dict(others or {})).assign(seeds=grouped.size()).reset_index()
    return table.dropna(axis="columns", how="all") if len(table) else table


def markdown(found: pd.DataFrame) -> str:
    """All tables, for people."""
    return "\n\n".join(f"### {title}\n\n{_markdown(table)}" for title, table in everything(found).items())


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    cells = {name: [_cell(name, value) for value in table[name].tolist()] for name in table.columns}
    return pd.DataFrame(cells, columns=table.columns)


def _markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(row) + " |" for row in as_text(table).itertuples(index=False)]
    return "\n".join(lines)


def _cell(column: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return p_text(value) if column in TESTS and value == value else number(value)


def number(value: float) -> str:
    """Three decimals, as far as they say anything."""
    return "-" if value != value else f"{round(value, 3) + 0.0:g}"


def machines(found: pd.DataFrame) -> str:
    """The computers that the rows are from."""
    kinds = {f"{one['device']}, {one['cores']} cores" for one in found["machine"]}
    return "; ".join(sorted(kinds))
