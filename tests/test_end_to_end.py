"""The main job on real MNIST, smaller than the demo: a tenth of the images, so that it ends in half a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from sscl.artifacts import read_json
from sscl.audit.check import check
from sscl.data.sources.known import local
from sscl.params import load
from sscl.runner import run_all
from tests.conftest import ROOT, SHARED


@pytest.mark.slow
def test_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if local("mnist") is None and SHARED.is_dir():
        monkeypatch.setenv("SSCL_DATA", str(SHARED / "data"))
    overrides = [
        "data.train_images=6000",
        "data.test_images=1000",
        "surrogate.epochs=4",
        "surrogate.batch_size=64",
        "user.epochs=4",
        "user.batch_size=64",
        "audit.test=sequential",
        "audit.alpha=0.01",
        "attacks.removals=[{name: pruning, strength: 0.4}]",
    ]
    run_all(load(ROOT / "params.yaml", "demo", overrides), tmp_path)
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["marked_images"] == 600
    assert metrics["benign_accuracy_clean"] >= 0.97
    assert metrics["benign_accuracy_clean"] - metrics["benign_accuracy_watermarked"] <= 0.01
    assert metrics["quality"]["psnr"] >= 16
    audits = metrics["audits"]
    assert audits["malicious"]["decision"] == "trained-on-it"
    assert audits["malicious"]["p_value"] <= 0.01
    assert audits["malicious"]["queries"] <= 400
    assert not {"word", "effects"} & {name for finding in audits.values() for name in finding}, "metrics go to logs"
    assert {"word", "effects"} <= set(read_json(tmp_path / "private/audits/malicious/finding.json"))
    for scenario in ("independent_model", "independent_watermark"):
        assert audits[scenario]["decision"] == "no evidence"
        assert not metrics["verification"][scenario]["rejected"]
    assert set(metrics["attacks"]) == {"pruning"}
    assert metrics["attacks"]["pruning"]["decision"] == "trained-on-it"
    assert check(tmp_path / "private/audits/malicious/bundle.zip") == []
