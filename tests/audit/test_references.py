"""A bank of clean models is made once, is varied, and serves the conformal test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from typer.testing import CliRunner

from sscl.artifacts import digest
from sscl.audit.references import build_bank
from sscl.cli import app
from sscl.compute import Compute
from sscl.config import Config
from sscl.models.io import load_classifier
from tests.conftest import ROOT


def test_a_bank_is_made_once_and_varied(finished: Path, config: Config, compute: Compute, tmp_path: Path) -> None:
    training = replace(config.user, epochs=1)
    paths = build_bank(finished / "clean", tmp_path, training, ["mlp", "lenet5"], 3, compute, 0)
    assert [path.name.partition("-")[0] for path in paths] == ["mlp", "lenet5", "mlp"]
    models = [load_classifier(path)[0] for path in paths]
    assert not torch.equal(*(next(iter(models[n].state_dict().values())) for n in (0, 2)))
    before = [digest(path) for path in paths]
    paths[1].unlink()
    kept = paths[0].stat().st_mtime_ns
    again = build_bank(finished / "clean", tmp_path, training, ["mlp", "lenet5"], 4, compute, 0)
    assert again[:3] == paths
    assert [digest(path) for path in paths] == before
    assert paths[0].stat().st_mtime_ns == kept


def test_the_bank_serves_an_audit(finished: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    sets = [text for change in (*tiny, "user.epochs=1") for text in ("--set", change)]
    common = ["--params", str(ROOT / "params.yaml"), *sets, "--out", str(finished)]
    made = CliRunner().invoke(app, ["references", "--count", "2", "--bank", str(tmp_path), "--model", "mlp", *common])
    assert made.exit_code == 0, made.output
    suspect = str(finished / "models/malicious/model.safetensors")
    audit = ["verify", "--suspect", suspect, "--references", str(tmp_path)]
    found = CliRunner().invoke(app, [*audit, "--json", *common])
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["conformal"]["references"] == 2
    assert result["conformal"]["floor"] == 1 / 3
    shown = CliRunner().invoke(app, [*audit, *common]).output
    assert "against clean models" in shown
    assert "corrected (Holm)" in shown
