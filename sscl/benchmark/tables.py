"""The benchmark's rows as tables and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sscl.artifacts import write_json
from sscl.attacks import DETECTORS, REMOVALS
from sscl.benchmark.plan import NONE

BY = ["profile", "method"]


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a cell, sorted."""
    found = pd.DataFrame(rows)
    return found.sort_values(["profile", "method", "attack", "seed"], kind="stable").reset_index(drop=True)


def save(rows: list[dict[str, Any]], folder: Path) -> pd.DataFrame:
    """``benchmark.parquet`` and ``benchmark.json`` in ``folder``."""
    found = frame(rows)
    folder.mkdir(parents=True, exist_ok=True)
    found.to_parquet(folder / "benchmark.parquet", index=False)
    write_json(folder / "benchmark.json", rows)
    return found


def methods(found: pd.DataFrame) -> pd.DataFrame:
    """Table I: methods without an attack, means over seeds."""
    columns = ["clean_ba", "ba", "wsr", "wsr_untargeted", "delta_p", "clean_delta_p", "lpips", "p_key"]
    columns += ["seconds_per_1000"]
    return _mean(found[found["attack"] == NONE], BY, columns)


def removals(found: pd.DataFrame) -> pd.DataFrame:
    """What removal costs in BA and leaves of the watermark."""
    keys = [*BY, "attack", "strength"]
    return _mean(found[found["attack"].isin(list(REMOVALS))], keys, ["ba", "wsr", "wsr_untargeted", "delta_p", "p_key"])


def detectors(found: pd.DataFrame) -> pd.DataFrame:
    """How well marked images are found."""
    return _mean(found[found["attack"].isin(list(DETECTORS))], [*BY, "attack"], ["auroc", "recall"])


def _mean(found: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
    present = [name for name in columns if name in found.columns]
    if found.empty or not present:
        return pd.DataFrame(columns=[*keys, "seeds"])
    numbers = found.astype(dict.fromkeys(present, "float64"))
    grouped = numbers.groupby(keys, dropna=False)
    return grouped[present].mean().assign(seeds=grouped.size()).reset_index()


def markdown(found: pd.DataFrame) -> str:
    """All tables, for people."""
    parts = []
    for title, table in (("Methods", methods(found)), ("Removal", removals(found)), ("Detection", detectors(found))):
        if not table.empty:
            parts.append(f"### {title}\n\n{_markdown(table)}")
    return "\n\n".join(parts)


def _markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    for row in table.itertuples(index=False):
        lines.append("| " + " | ".join(_cell(value) for value in row) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"
    return str(value)
