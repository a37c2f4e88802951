"""The benchmark's rows as files: a tidy table, the curves for ``dvc plots``, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sscl.artifacts import write_json
from sscl.benchmark import figures, sweeps
from sscl.errors import SSCLError

TABLE, ROWS, PAGE, PLOTS = "benchmark.parquet", "benchmark.json", "benchmark.html", "plots"


class IncompleteError(SSCLError):
    """Some cells failed; the rows of the others are kept.

    Args:
        failed: cell and reason, one line each.
        cells: how many there are in all.
    """

    def __init__(self, failed: list[str], cells: int) -> None:
        super().__init__(
            f"{len(failed)} of {cells} cells failed, the others' rows are kept; mend and run again. {'; '.join(failed)}"
        )


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a cell, sorted."""
    found = pd.DataFrame(rows)
    return found.sort_values(["profile", "method", "attack", "seed"], kind="stable").reset_index(drop=True)


def save(rows: list[dict[str, Any]], folder: Path) -> pd.DataFrame:
    """Write everything to ``folder``; the tidy table."""
    found = frame(rows)
    (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    found.to_parquet(folder / TABLE, index=False)
    write_json(folder / ROWS, rows)
    figures.page(found, folder / PAGE)
    for sweep in sweeps.SWEEPS:
        points = sweeps.curve(found, sweep)
        points.to_csv(folder / PLOTS / f"{sweep.name}.csv", index=False, float_format="%.6g")
    return found
