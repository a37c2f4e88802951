from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sscl.report import figures, tables

METRICS = {
    "benign_accuracy": {"malicious": 0.98, "independent_model": 0.99, "independent_watermark": 0.97},
    "verification": {
        "malicious": {"delta_p": 0.9, "wsr": 0.95, "p_value": 0.0, "rejected": True},
        "independent_model": {"delta_p": 0.4, "wsr": 0.5, "p_value": 1e-9, "rejected": True},
        "independent_watermark": {"delta_p": 0.1, "wsr": 0.1, "p_value": 0.9, "rejected": False},
    },
    "audits": {
        "malicious": {"decision": "trained-on-it", "p_value": 0.005},
        "independent_model": {"decision": "no evidence", "p_value": 0.4},
        "independent_watermark": {"decision": "inconclusive", "p_value": None},
    },
}


def test_false_accusations_are_named() -> None:
    rows = tables.scenario_rows(METRICS)
    assert [r["Published test says"] for r in rows] == [
        "trained on it",
        "trained on it (FALSE ACCUSATION)",
        "no evidence",
    ]
    assert [(r["Exact p"], r["Verdict"]) for r in rows] == [
        ("0.005", "trained-on-it"),
        ("0.4", "no evidence"),
        ("-", "inconclusive"),
    ]
    assert [r["p"] for r in rows] == ["< 1e-300", "1e-09", "0.9"]
    assert tables.false_accusations(METRICS) == ["Ind-M (clean model)"]


def test_attacks_have_a_row_each() -> None:
    attacks = {"fine_tuning": {"benign_accuracy": 0.97, "delta_p": 0.5, "p_value": 0.001, "decision": "trained-on-it"}}
    rows = tables.attack_rows(METRICS | {"attacks": attacks})
    assert [row["Attack"] for row in rows] == ["none", "fine tuning"]
    assert (rows[1]["BA"], rows[1]["Exact p"], rows[0]["Exact p"]) == ("97.00 %", "0.001", "0.005")


def test_histogram_against_pandas_cut() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=500)
    frame = pd.DataFrame({"scenario": "malicious", "p_marked": p})
    table = figures.histogram_table(frame, bins=10)
    expected = pd.cut(frame["p_marked"], np.linspace(0, 1, 11)).value_counts(sort=False, normalize=True)
    assert table["malicious"].to_numpy() == pytest.approx(expected.to_numpy())
    assert table["malicious"].sum() == pytest.approx(1)


def test_grid_is_a_png_of_three_rows() -> None:
    clean = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    png = figures.image_grid(clean, clean + 10, amplify=4)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == (4 * 76 - 4, 3 * 76 - 4)


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("img", "script", "link", "iframe"):
            self.found += [v or "" for k, v in attrs if k in ("src", "href")]


def test_page_is_self_contained_and_says_everything(finished: Path) -> None:
    page = (finished / "report/report.html").read_text()
    links = Links()
    links.feed(page)
    assert len(links.found) == 1
    assert links.found[0].startswith("data:image/png;base64,")
    assert not re.search(r"url\((?!#)", page)
    assert page.count("<svg") == 3
    metrics = json.loads((finished / "metrics.json").read_text())
    for text in (
        "Ownership verification",
        "The exact test",
        "Removal attacks",
        "Beside the paper",
        "learning_rate",
        metrics["versions"]["torch"],
    ):
        assert text in page
    assert f"{metrics['lpips']:.4f}" in page


def test_plots_are_tables_for_dvc(finished: Path) -> None:
    classifiers = pd.read_csv(finished / "plots/classifiers.csv")
    assert list(classifiers) == ["epoch", "surrogate", "malicious", "independent_model", "independent_watermark"]
    generator = pd.read_csv(finished / "plots/generator.csv")
    assert set(generator) >= {"epoch", "loss"}
    histogram = pd.read_csv(finished / "plots/histogram.csv")
    assert histogram.drop(columns="p_target").sum().tolist() == pytest.approx([1, 1, 1])
