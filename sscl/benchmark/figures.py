"""Figures of the benchmark, and the page that shows them with the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from sscl.benchmark import sweeps, tables
from sscl.benchmark.plan import NONE
from sscl.report.figures import COLOURS, as_svg, new_figure

TITLES = {"ba": "BA", "wsr": "WSR", "delta_p": "delta_P"}


def draw(found: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """File name -> caption and SVG of everything that the rows have enough of."""
    drawn: dict[str, tuple[str, str]] = {}
    if len(plain := sweeps.usual(found[found["attack"] == NONE])):
        caption = "Guilty (filled) and clean models (open), one mark a seed: delta_P; untargeted methods: the share of "
        drawn["methods"] = (f"{caption}right answers that the mark turns wrong", _methods(plain))
    for sweep in sweeps.SWEEPS:
        if len(points := sweeps.curve(found, sweep)):
            drawn[sweep.name] = (sweep.title, _curves(points, sweep))
    for (profile, method), matrix in sweeps.architectures(found).items():
        caption = f"delta_P by surrogate (rows) and suspect (columns), {profile}, {method} (the paper's Figure 6)"
        drawn[f"architectures-{profile}-{method}"] = (caption, _heatmap(matrix))
    for profile, table in sweeps.attacked(found).items():
        drawn[f"removal-{profile}"] = (f"delta_P that attacks leave, {profile}", _heatmap(table.T))
    for profile, table in sweeps.detected(found).items():
        caption = f"AUROC of detectors within the target class, {profile} (0.5: nothing is seen; 0 and 1: everything)"
        drawn[f"detectors-{profile}"] = (caption, _heatmap(table, blind=0.5))
    return drawn


def page(found: pd.DataFrame, drawn: dict[str, tuple[str, str]]) -> str:
    """One self-contained HTML page with what ``draw`` gave."""
    source = Path(__file__).with_name("page.html").read_text()
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    shown = {
        title: Markup(tables.as_text(table).to_html(index=False, border=0))
        for title, table in tables.everything(found).items()
    }
    figures = [(caption, Markup(svg)) for caption, svg in drawn.values()]
    return template.render(tables=shown, figures=figures, cells=len(found), machines=tables.machines(found))


def _methods(rows: pd.DataFrame) -> str:
    profiles = list(dict.fromkeys(rows["profile"]))
    names = sorted(set(rows["method"]))
    figure = new_figure(0.9 + 0.27 * len(names))
    panels = np.atleast_1d(figure.subplots(1, len(profiles), sharey=True))
    for axes, profile in zip(panels, profiles, strict=True):
        for number, name in enumerate(names):
            mine = rows[(rows["profile"] == profile) & (rows["method"] == name)]
            score = "delta_p" if mine["targeted"].astype(bool).all() else "wsr_untargeted"
            for column, colour, fill in ((score, COLOURS[0], COLOURS[0]), (f"clean_{score}", COLOURS[1], "none")):
                axes.plot(mine[column], [number] * len(mine), "o", color=colour, markersize=5, mfc=fill)
        axes.set(xlim=(-0.15, 1.05), title=profile, xlabel="effect")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="x", color="#e3e3e8")
    return as_svg(figure)


def _curves(points: pd.DataFrame, sweep: sweeps.Sweep) -> str:
    figure = new_figure()
    panels = figure.subplots(1, len(TITLES))
    groups: list[tuple[Any, pd.DataFrame]] = list(points.groupby(sweeps.lines(points)))
    for axes, (score, title) in zip(panels, TITLES.items(), strict=True):
        for number, (names, group) in enumerate(groups):
            style = {"color": COLOURS[number % len(COLOURS)], "marker": "o", "markersize": 3}
            axes.plot(group[sweep.column], group[score], label=", ".join(names), **style)
        axes.set(title=title, xlabel=sweep.label, ylim=(-0.05, 1.05))
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=2, loc="outside lower center")
    return as_svg(figure)


def _heatmap(table: pd.DataFrame, blind: float = 0.0) -> str:
    """Of values in [0, 1]; ``blind`` is white."""
    figure = new_figure(1.4 + 0.3 * len(table))
    axes = figure.subplots()
    shade = np.abs(table.to_numpy(dtype=float) - blind) / (1 - blind)
    axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table.to_numpy(dtype=float)):
        if np.isfinite(value):
            colour = "white" if shade[row, column] > 0.5 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_yticks(range(len(table)), [str(name) for name in table.index])
    axes.set_xticks(range(table.shape[1]), [str(name).replace("_", " ") for name in table.columns], rotation=60)
    return as_svg(figure)
