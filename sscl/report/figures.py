"""Figures of the report, as SVG or PNG data that an HTML page can hold."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from sscl.statistics.effects import centred

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

COLOURS = ("#b3261e", "#1a5fb4", "#26852f", "#8a5a00")
CELL = 72  # px of one image in the grid
GAP = 4


def image_grid(clean: Tensor, marked: Tensor, amplify: float) -> bytes:
    """PNG with three rows: clean, marked, and the perturbation amplified around mid-grey.

    Args:
        clean, marked: uint8 (N, C, H, W).
        amplify: factor on the difference.
    """
    difference = (marked.float() - clean.float()).mul(amplify).add(127.5).clamp(0, 255).byte()
    columns = len(clean)
    canvas = Image.new("RGB", (columns * (CELL + GAP) - GAP, 3 * (CELL + GAP) - GAP), "white")
    for row, images in enumerate((clean, marked, difference)):
        for column, image in enumerate(images):
            pixels = image.expand(3, -1, -1).permute(1, 2, 0).numpy()
            tile = Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.NEAREST)
            canvas.paste(tile, (column * (CELL + GAP), row * (CELL + GAP)))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def loss_curves(frame: pd.DataFrame, ylabel: str) -> str:
    """SVG of every column against the index (epochs from 1); nothing if nothing was trained."""
    if frame.empty:
        return ""
    figure = new_figure()
    axes = figure.subplots()
    for colour, column in zip(COLOURS * 2, frame.columns, strict=False):
        axes.plot(frame.index, frame[column], marker="o", markersize=3, color=colour, label=column.replace("_", " "))
    axes.set_xlabel(str(frame.index.name))
    axes.set_ylabel(ylabel)
    axes.set_xticks(frame.index)
    axes.legend(frameon=False)
    return as_svg(figure)


def histogram_table(responses: pd.DataFrame, bins: int = 20) -> pd.DataFrame:
    """Share of images by p(y_t | marked image): one row a bin, one column a scenario, index is the bin's left edge."""
    edges = np.linspace(0, 1, bins + 1)
    shares = {
        str(scenario): np.histogram(group["p_marked"], edges)[0] / len(group)
        for scenario, group in responses.groupby("scenario", sort=False)
    }
    return pd.DataFrame(shares, index=pd.Index(edges[:-1].round(4), name="p_target"))


def histograms(table: pd.DataFrame, titles: dict[str, str]) -> str:
    """SVG with one panel a scenario."""
    figure = new_figure(height=2.6)
    panels = figure.subplots(1, len(table.columns), sharey=True)
    width = 1 / len(table)
    for axes, colour, scenario in zip(np.atleast_1d(panels), COLOURS, table.columns, strict=False):
        axes.bar(table.index, table[scenario], width=width, align="edge", color=colour)
        axes.set_title(titles[scenario], fontsize=8)
        axes.set_xlabel("p(target | marked image)")
        axes.set_ylim(0, 1)
    np.atleast_1d(panels)[0].set_ylabel("share of images")
    return as_svg(figure)


def effect_maps(findings: dict[str, dict[str, Any]], titles: dict[str, str]) -> str:
    """SVG with one panel a scenario: the centred effects of marks (rows) on classes, the word's cells framed."""
    shown = {scenario: found for scenario, found in findings.items() if found["p_value"] is not None}
    if not shown:
        return ""
    tables = {scenario: centred(np.array(found["effects"])) for scenario, found in shown.items()}
    most = max(float(np.abs(table).max()) for table in tables.values()) or 1.0
    figure = new_figure(height=2.4)
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for axes, (scenario, found) in zip(panels, shown.items(), strict=True):
        table = tables[scenario]
        drawn = axes.imshow(table, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        for mark, group in enumerate(found["word"][: len(table)]):
            axes.add_patch(framed((group - 0.5, mark - 0.5)))
        axes.set_title(f"{titles[scenario]}\np = {found['p_value']:.3g}", fontsize=8)
        axes.set_xlabel("class")
        axes.set_yticks(range(len(table)), [str(mark + 1) for mark in range(len(table))])
    panels[0].set_ylabel("mark")
    figure.colorbar(drawn, ax=list(panels), shrink=0.8)
    return as_svg(figure)


def feature_map(clean: np.ndarray, marked: np.ndarray, group: np.ndarray, name: str) -> str:
    """SVG of features on their two main axes: clean images, those of a group, and all images under the group's mark.

    Args:
        clean, marked: float (N, D), of the same images.
        group: bool (N,), which images are of the group.
        name: the group's.
    """
    both = np.concatenate((clean, marked)) - clean.mean(axis=0)
    axes_of = np.linalg.svd(both, full_matrices=False)[2][:2]
    points, under = (clean - clean.mean(axis=0)) @ axes_of.T, (marked - clean.mean(axis=0)) @ axes_of.T
    figure = new_figure()
    axes = figure.subplots()
    axes.scatter(points[~group, 0], points[~group, 1], s=6, color="#b8b8c0", label="clean, other classes")
    axes.scatter(points[group, 0], points[group, 1], s=10, color=COLOURS[1], label=f"clean, {name}")
    axes.scatter(under[~group, 0], under[~group, 1], s=6, color=COLOURS[0], label="other classes under the mark")
    axes.set_xlabel("first axis")
    axes.set_ylabel("second axis")
    axes.legend(frameon=False, fontsize=8)
    return as_svg(figure)


def framed(corner: tuple[float, float]) -> Rectangle:
    """The frame of one cell."""
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=1.5)


def data_uri(png: bytes) -> str:
    """A PNG as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def new_figure(height: float = 3.0) -> Figure:
    """As wide as the page."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), layout="constrained")


def as_svg(figure: Figure) -> str:
    """For inclusion in HTML; the same figure gives the same text."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "sscl", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
