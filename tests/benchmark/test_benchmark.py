"""The comparison: planning, caching, tables, and a method that exists in this file alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_curve
from torch import Tensor
from typer.testing import CliRunner

from sscl.artifacts import digest
from sscl.attacks import INVERSIONS, REMOVALS
from sscl.attacks.neural_cleanse import NeuralCleanse
from sscl.benchmark import tables
from sscl.benchmark.plan import INDEPENDENT, NONE, Block, load_plan, registered
from sscl.benchmark.run import Bench
from sscl.cli import app
from sscl.detection import recall_at
from sscl.errors import ConfigError, InputError
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks import WATERMARKS, State
from sscl.watermarks.base import FitContext
from sscl.watermarks.poison import Relabelled
from tests.conftest import ROOT, TINY, shapes, store

SETS = [argument for change in TINY for argument in ("--set", change)]


@dataclass(frozen=True)
class ToyOptions:
    level: int = 255


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    """A registered method: what a new file in ``sscl/watermarks`` would do."""

    class Toy(Relabelled[ToyOptions]):
        Options = ToyOptions

        def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
            return State()

        def trigger(self, images: Tensor, state: State) -> Tensor:
            marked = images.clone()
            marked[..., :5, :5] = self.options.level
            return marked

    WATERMARKS.register("toy")(Toy)
    yield
    del WATERMARKS._members["toy"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    store(folder / "source", shapes(90, 1), shapes(45, 2))
    (folder / "plan.yaml").write_text(
        "toys:\n  - profiles: [demo]\n    methods: [toy]\n"
        f"    attacks: [none, pruning, strip, spectral_signatures, neural_cleanse, {INDEPENDENT}]\n"
    )
    return folder


def run(place: Path, *arguments: str) -> str:
    command = ["benchmark", "--profile", "toys", "--plan", str(place / "plan.yaml"), "--out", str(place / "out")]
    command += ["--params", str(ROOT / "params.yaml"), *SETS, "--set", f"data.path={place / 'source'}", *arguments]
    result = CliRunner().invoke(app, [*command, "--json", "--debug"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_a_cell_that_fails_does_not_stop_the_others(place: Path) -> None:
    (place / "two.yaml").write_text("toys:\n  - {profiles: [demo], methods: [sscl_bw, toy], rates: [0.5]}\n")
    command = ["benchmark", "--profile", "toys", "--plan", str(place / "two.yaml"), "--out", str(place / "two")]
    command += ["--params", str(ROOT / "params.yaml"), *SETS, "--set", f"data.path={place / 'source'}"]
    command += ["--set", "embed.rate_basis=dataset", "--publish", str(place / "published")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "1 of 2 cells failed, the others' rows are kept" in said
    assert "sscl_bw" in said
    assert [row["method"] for row in json.loads((place / "published/benchmark.json").read_text())] == ["toy"]


@pytest.mark.slow
def test_a_new_method_goes_through_everything_and_is_cached(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NeuralCleanse, "steps", 20)
    before = json.loads(run(place, "--dry-run"))
    assert (before["cells"], before["cached"]) == (6, 0)
    rows = json.loads(run(place))
    assert [row["attack"] for row in rows] == [
        "none",
        "pruning",
        "strip",
        "spectral_signatures",
        "neural_cleanse",
        INDEPENDENT,
    ]
    assert rows[0]["method"] == "toy"
    assert rows[0]["clean_label"] is False
    assert 0 <= rows[0]["wsr"] <= 1
    assert 0 <= rows[2]["auroc"] <= 1
    assert rows[4]["accused"] == (rows[4]["anomaly"] > INVERSIONS["neural_cleanse"].suspicious)
    models = {path: digest(path) for path in (place / "out/models").iterdir()}
    after = json.loads(run(place, "--dry-run"))
    assert after == {"cells": 6, "cached": 6, "minutes": 0}
    assert json.loads(run(place)) == rows
    assert models == {path: digest(path) for path in (place / "out/models").iterdir()}
    found = pd.read_parquet(place / "out/benchmark.parquet")
    assert len(found) == 6
    text = tables.markdown(found)
    assert "toy" in text
    assert "### Detection" in text
    assert "### Trigger inversion" in text


@pytest.mark.slow
def test_a_new_method_goes_through_the_pipeline_and_its_report(place: Path) -> None:
    command = ["run", "--out", str(place / "run"), "--params", str(ROOT / "params.yaml"), *SETS]
    command += ["--set", f"data.path={place / 'source'}", "--set", "generator.method=toy"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "toy" in (place / "run/report/report.html").read_text()


def test_a_broken_cell_keeps_the_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load_plan(place / "plan.yaml", "toys")
    bench = Bench(place / "broken", ROOT / "params.yaml", (*TINY, f"data.path={place / 'source'}"))

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(REMOVALS["pruning"]), "run", fails)
    bench.row(plan[0])
    with pytest.raises(KeyboardInterrupt):
        bench.row(plan[1])
    assert bench.minutes(plan)[0] == 1
    assert bench.minutes(plan)[1] > 0


def test_plans_expand_and_refuse_nonsense(tmp_path: Path) -> None:
    block = Block(["demo"], ["all"], seeds=2, attacks=["all"])
    cells = list(block.cells())
    methods = [name for name in WATERMARKS if not WATERMARKS[name].contrastive]
    assert len(cells) == 2 * len(methods) * (1 + len(registered()))
    assert len(set(cells)) == len(cells)
    grid = list(replace(block, methods=["badnets"], attacks=["pruning", NONE], strengths="grid", seeds=1).cells())
    assert [cell.strength for cell in grid] == [*REMOVALS["pruning"].grid, None]
    with pytest.raises(ConfigError, match="unknown watermark 'nothing'"):
        Block(["demo"], ["nothing"])
    path = tmp_path / "plan.yaml"
    with pytest.raises(InputError, match="cannot be read"):
        load_plan(path, "x")
    path.write_text("small:\n  - {profiles: [demo], methods: [badnets], atacks: [none]}\n")
    with pytest.raises(ConfigError, match="did you mean 'attacks'"):
        load_plan(path, "small")
    with pytest.raises(ConfigError, match="no benchmark 'large', choose one of small"):
        load_plan(path, "large")
    path.write_text("small:\n")
    with pytest.raises(ConfigError, match="small: expected a list of blocks"):
        load_plan(path, "small")
    path.write_bytes(b"small: [\xff]\n")
    with pytest.raises(ConfigError, match="not valid YAML in UTF-8"):
        load_plan(path, "small")


@pytest.mark.parametrize("profile", ["tiny", "small", "paper"])
def test_every_cell_of_the_shipped_plan_has_a_config(profile: str) -> None:
    bench = Bench(Path("nowhere"), ROOT / "params.yaml")
    for cell in load_plan(ROOT / "benchmark.yaml", profile):
        if cell.seed == 0:
            assert bench.config(cell).generator.method == cell.method


def test_recall_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.random(500) < 0.1, rng.normal(size=500)
    wrong, found, _ = roc_curve(truth, scores + truth)
    assert recall_at(truth, scores + truth, 0.01) == pytest.approx(max(found[wrong <= 0.01]))
    assert recall_at(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4]), 0.01) == 1.0
