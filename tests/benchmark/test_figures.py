"""Curves, matrices, tables and the page, from rows that are made up so that the right figure is known."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sscl.attacks import REMOVALS
from sscl.benchmark import figures, results, sweeps, tables
from sscl.benchmark.plan import INDEPENDENT, NONE, Block, described

BLOCKS = {
    "usual": Block(["demo", "cifar10-small"], ["sscl_bw", "ownership_code", "badnets"], seeds=2),
    "strangers": Block(["demo"], ["sscl_bw"], attacks=[INDEPENDENT]),
    "attacked": Block(["demo"], ["sscl_bw", "badnets"], attacks=["mixup", "pruning", "strip"]),
    "rates": Block(["demo"], ["sscl_bw"], seeds=2, rates=[0.01, 0.1]),
    "eps": Block(["demo"], ["sscl_bw"], eps=[8 / 255, 16 / 255]),
    "pruned": Block(["demo"], ["sscl_bw"], attacks=["pruning"], strengths="grid"),
    "elsewhere": Block(["cifar10-small"], ["badnets"], attacks=["mixup"]),
    "matrix": Block(["demo"], ["sscl_bw"], surrogates=["mlp", "lenet5"], suspects=["mlp", "lenet5", "vgg8"]),
}


DATASETS = {"demo": "mnist", "cifar10-small": "cifar10"}


def row(cell: Any) -> dict[str, Any]:
    """Scores that say where they come from."""
    scores = {"ba": 0.9, "wsr": 0.5, "delta_p": (cell.rate or 0.2) + 0.1 * cell.seed, "wsr_untargeted": 0.5}
    extra = {"clean_ba": 0.95, "clean_delta_p": 0.01, "lpips": 0.02, "p_paper": 0.0, "clean_p_paper": 1.0}
    extra |= {"p_exact": 0.005, "clean_p_exact": 0.6, "fit_seconds": 3.0, "craft_seconds": 1.0, "targeted": True}
    known = {"dataset": DATASETS[cell.profile], "machine": {"device": "here", "cores": 2}, "seconds": 1.0} | described(
        cell
    )
    if cell.attack == "strip":
        return known | {"auroc": 0.7, "recall": 0.1}
    if cell.attack == "pruning":
        scores |= {"delta_p": 0.2 - 0.1 * cell.strength, "ba": 0.9 - 0.1 * cell.strength, "p_exact": 2e-6}
    return known | scores | (extra if cell.attack == NONE else {})


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    cells = dict.fromkeys(cell for block in BLOCKS.values() for cell in block.cells())
    return results.frame([row(cell) for cell in cells])


def test_rows_with_other_overrides_are_not_averaged_with_them(found: pd.DataFrame) -> None:
    other = found.assign(overrides="user.epochs=9", wsr=0.9)
    both = tables.methods(pd.concat([found, other]))
    assert sorted(both["wsr"].unique()) == [0.5, 0.9]
    assert both["overrides"].nunique() == 2
    assert "overrides" not in tables.methods(found)


def test_no_cell_of_a_matrix_mixes_overrides(found: pd.DataFrame) -> None:
    longer = found.assign(overrides="user.epochs=9", delta_p=0.9, auroc=0.2)
    both = pd.concat([found, longer])
    removed, seen, pairs = sweeps.attacked(both)["demo"], sweeps.detected(both)["demo"], sweeps.architectures(both)
    assert removed["mixup"].to_dict() == pytest.approx(
        dict.fromkeys(("badnets", "sscl_bw"), 0.2)
        | dict.fromkeys(("badnets, user.epochs=9", "sscl_bw, user.epochs=9"), 0.9)
    )
    assert seen.loc["badnets", "strip"] == pytest.approx(0.7)
    assert seen.loc["badnets, user.epochs=9", "strip"] == pytest.approx(0.2)
    assert pairs["demo", "sscl_bw"].loc["mlp, user.epochs=9"].tolist() == pytest.approx([0.9] * 3)


def test_curves_are_means_over_seeds(found: pd.DataFrame) -> None:
    rate = next(sweep for sweep in sweeps.SWEEPS if sweep.name == "rate")
    points = sweeps.curve(found, rate)
    assert points["rate"].tolist() == pytest.approx([1, 10])
    assert points["delta_p"].tolist() == pytest.approx([0.06, 0.15])
    eps = next(sweep for sweep in sweeps.SWEEPS if sweep.name == "eps")
    assert sweeps.curve(found, eps)["eps"].tolist() == pytest.approx([8, 16])
    pruned = sweeps.curve(found, next(sweep for sweep in sweeps.SWEEPS if sweep.name == "pruning"))
    assert pruned["strength"].tolist() == [0, *(100 * share for share in REMOVALS["pruning"].grid)]
    assert pruned["delta_p"].tolist() == pytest.approx([0.2 - 0.001 * share for share in pruned["strength"]])
    tuning = next(sweep for sweep in sweeps.SWEEPS if sweep.name == "fine_tuning")
    assert sweeps.curve(found, tuning).empty


def test_matrices(found: pd.DataFrame) -> None:
    matrix = sweeps.architectures(found)["demo", "sscl_bw"]
    assert list(matrix.index) == ["lenet5", "mlp"]
    assert list(matrix.columns) == ["lenet5", "mlp", "vgg8"]
    table = sweeps.attacked(found)["demo"]
    assert list(table.columns) == [NONE, "mixup", "pruning"]
    assert list(table.index) == ["badnets", "sscl_bw"]
    assert table.loc["sscl_bw", NONE] == pytest.approx(0.2), "the attacked seed's, not the mean over seeds"
    assert table.loc["sscl_bw", "pruning"] == pytest.approx(0.2 - 0.1 * REMOVALS["pruning"].usual)
    assert list(sweeps.attacked(found)["cifar10-small"].index) == ["badnets"]
    assert sweeps.detected(found)["demo"].loc["badnets", "strip"] == pytest.approx(0.7)


def test_tables_leave_varied_rows_out_and_name_the_papers_figures(found: pd.DataFrame) -> None:
    table = tables.methods(found).set_index(["profile", "method"])
    assert table.loc[("demo", "sscl_bw"), "delta_p"] == pytest.approx(0.25)
    assert table.loc[("demo", "sscl_bw"), "seeds"] == 2
    assert table.loc[("cifar10-small", "sscl_bw"), "published_wsr"] == 0.9786
    assert pd.isna(table.loc[("demo", "badnets"), "published_wsr"])
    ends = tables.spread(found).set_index(["profile", "method"]).loc[("demo", "sscl_bw")]
    assert (ends["delta_p_min"], ends["delta_p_max"]) == pytest.approx((0.2, 0.3))
    innocent = tables.scenarios(found).set_index(["profile", "method", "scenario"]).loc[("demo", "sscl_bw", "Ind-M")]
    assert innocent["delta_p"] == pytest.approx(0.01)
    assert (innocent["p_exact_accuses"], innocent["p_paper_accuses"], innocent["seeds"]) == (0, 0, 2)
    guilty = tables.scenarios(found).set_index(["profile", "method", "scenario"]).loc[("demo", "sscl_bw", "Malicious")]
    assert (guilty["p_exact_accuses"], guilty["p_paper_accuses"]) == (2, 2)
    assert "| 2e-06 |" in tables.markdown(found), "a small p is not zero"
    assert set(tables.scenarios(found)["scenario"]) == {"Malicious", "Ind-M", "Ind-W"}


def test_what_an_attack_costs_is_taken_from_the_same_seed(found: pd.DataFrame) -> None:
    table = tables.removals(found).set_index(["profile", "method", "attack", "strength"])
    pruned = table.loc[("demo", "sscl_bw", "pruning", 0.6)]
    assert (pruned["ba_cost"], pruned["delta_p_before"], pruned["delta_p"]) == pytest.approx((0.06, 0.2, 0.14))


@pytest.mark.parametrize("attacks", [["strip"], ["pruning"], [NONE], ["neural_cleanse"]])
def test_any_plan_can_be_shown(attacks: list[str], tmp_path: Path) -> None:
    rows = [row(cell) for cell in Block(["demo"], ["badnets"], attacks=attacks).cells()]
    found = results.save(rows, tmp_path)
    assert len(tables.everything(found)) >= 1


class Counter(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


@pytest.mark.slow
def test_the_page_holds_every_figure_and_table_and_nothing_from_elsewhere(found: pd.DataFrame, tmp_path: Path) -> None:
    results.save(found.to_dict("records"), tmp_path)  # type: ignore[arg-type]
    page = (tmp_path / results.PAGE).read_text()
    counter = Counter()
    counter.feed(page)
    assert counter.seen.count("figure") == len(figures.draw(found)) >= 6
    assert counter.seen.count("table") == len(tables.everything(found))
    assert "src=" not in page
    drawn = {path.stem for path in (tmp_path / results.FIGURES).iterdir()}
    assert drawn == set(figures.draw(found))
    document = (tmp_path / results.DOCUMENT).read_text()
    assert all(f"({results.FIGURES}/{name}.svg)" in document for name in drawn)
    assert all(f"### {title}" in document for title in tables.everything(found))
    curves = {path.stem for path in (tmp_path / results.PLOTS).iterdir()}
    assert curves == {"rate-demo-sscl_bw", "eps-demo-sscl_bw", "pruning-demo-sscl_bw"}
    assert list(pd.read_csv(tmp_path / results.PLOTS / "rate-demo-sscl_bw.csv")["rate"]) == [1, 10]
