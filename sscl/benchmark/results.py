"""The benchmark's rows as files: a tidy table, curves and figures (``dvc plots`` shows both), a page, a document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sscl.artifacts import write_atomically, write_json
from sscl.benchmark import figures, sweeps, tables
from sscl.errors import SSCLError

TABLE, ROWS, PAGE, DOCUMENT = "benchmark.parquet", "benchmark.json", "benchmark.html", "benchmark.md"
PLOTS, FIGURES = "plots", "figures"


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


SCORES = [
    *(f"{prefix}{name}" for prefix in ("", "clean_") for name in ("ba", "wsr", "wsr_untargeted", "delta_p")),
    *(f"{prefix}{name}" for prefix in ("", "clean_") for name in ("p_paper", "p_exact", "p_weights")),
    *("lpips", "lpips_64", "psnr", "fit_seconds", "craft_seconds", "eps_used"),
    *("auroc", "auroc_class", "marked_share", "recall"),
    *("anomaly", "clean_anomaly", "accused", "accused_others", "clean_accused"),
]


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a cell, sorted; every score has a column, whatever the plan has measured."""
    found = pd.DataFrame(rows)
    missing = [name for name in SCORES if name not in found.columns]
    found = found.assign(**dict.fromkeys(missing))
    found = found.astype(dict.fromkeys(SCORES, "float64"))
    return found.sort_values(["profile", "method", "attack", "seed"], kind="stable").reset_index(drop=True)


def save(rows: list[dict[str, Any]], folder: Path) -> pd.DataFrame:
    """Write everything to ``folder``; the tidy table."""
    found = frame(rows)
    for name in (PLOTS, FIGURES):
        (folder / name).mkdir(parents=True, exist_ok=True)
    found.to_parquet(folder / TABLE, index=False)
    write_json(folder / ROWS, rows)
    drawn = figures.draw(found)
    write_atomically(folder / PAGE, figures.page(found, drawn).encode())
    write_atomically(folder / DOCUMENT, _document(found, drawn).encode())
    for name, (_, svg) in drawn.items():
        write_atomically(folder / FIGURES / f"{name}.svg", svg.encode())
    for sweep in sweeps.SWEEPS:
        for (profile, method), points in sweeps.curve(found, sweep).groupby(["profile", "method"]):
            path = folder / PLOTS / f"{sweep.name}-{profile}-{method}.csv"
            points[[*sweeps.lines(points)[2:], sweep.column, *sweeps.SCORES]].to_csv(
                path, index=False, float_format="%.6g"
            )
    return found


def _document(found: pd.DataFrame, drawn: dict[str, tuple[str, str]]) -> str:
    """Markdown with every figure and table."""
    hours = found["seconds"].sum() / 3600
    parts = [
        "# Watermarks, attacked and compared",
        f"Written by `sscl benchmark`: {len(found)} cells, all measured here, {hours:.1f} hours on "
        f"{tables.machines(found)}. Columns "
        "that start with `published` are the paper's, on its larger networks and sets.",
        *(f"![{caption}]({FIGURES}/{name}.svg)\n\n{caption}" for name, (caption, _) in drawn.items()),
        tables.markdown(found),
    ]
    return "\n\n".join(parts) + "\n"
