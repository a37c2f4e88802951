from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sscl.artifacts import digest
from sscl.config import Config, dump
from sscl.errors import InputError
from sscl.runner import run_all, run_stage, slot_of
from sscl.stages.table import STAGES
from tests.conftest import ROOT

# Timings differ between runs, and a commitment's salt must: what shows them is left out of "the same digests".
# A package holds the commitment.
UNREPEATABLE = {"commit", "package", "audit"}
REPEATABLE = [
    path
    for stage in STAGES.values()
    for name, path in stage.outputs.items()
    if stage.verb not in UNREPEATABLE and (stage.name != "report" or name == "plots")
]


def digests(root: Path) -> dict[str, str]:
    return {path: digest(root / path) for path in REPEATABLE}


def test_metrics_have_what_is_promised(finished: Path, config: Config) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    for name in ("benign_accuracy_clean", "benign_accuracy_watermarked", "watermark_success_rate", "lpips"):
        assert 0 <= metrics[name] <= 1
    for scenario in ("malicious", "independent_model", "independent_watermark"):
        assert {"delta_p", "p_value", "wsr"} <= set(metrics["verification"][scenario])
    assert set(metrics["timings"]) == set(STAGES) - {"report"}
    assert metrics["config"] == json.loads(json.dumps(dump(config)))
    assert metrics["versions"]["torch"]


def test_nothing_is_computed_twice(copy: Path, config: Config) -> None:
    assert run_all(config, copy) == []


def test_only_what_depends_on_tau_is_computed_again(copy: Path, config: Config) -> None:
    changed = replace(config, verify=replace(config.verify, tau=0.3))
    with pytest.raises(InputError, match="verification: made by another config"):
        run_all(changed, copy)
    assert run_all(changed, copy, overwrite=True) == ["verify", "report"]
    assert run_all(config, copy, overwrite=True) == ["verify", "report"]


def test_what_broken_off_runs_left_goes_once_the_stage_is_done(copy: Path, config: Config) -> None:
    """Their checkpoints hold weights, and those of a generator are secret."""
    left = [slot_of(STAGES["verify"], config, copy).checkpoints, copy / f".sscl/checkpoints/verify-{'0' * 16}"]
    other = copy / f".sscl/checkpoints/verify@more-{'0' * 16}"
    for folder in (*left, other):
        folder.mkdir(parents=True)
    run_stage(STAGES["verify"], replace(config, verify=replace(config.verify, tau=0.3)), copy, overwrite=True)
    assert [folder for folder in (*left, other) if folder.exists()] == [other]


def test_another_key_in_the_same_file_is_another_secret(copy: Path, config: Config, tmp_path: Path) -> None:
    file, stages = tmp_path / "release.key", [STAGES[f"{verb}@release"] for verb in ("generator", "embed")]
    found = set()
    for key in (bytes(32), bytes(31) + b"1"):
        file.write_bytes(key)
        found |= {slot_of(stage, replace(config, key_file=str(file)), copy).key for stage in stages}
    assert len(found) == 4


def test_same_seed_same_digests_and_another_seed_others(finished: Path, config: Config, tmp_path: Path) -> None:
    run_all(config, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(finished)
    run_stage(STAGES["prepare"], config, tmp_path / "other")
    run_stage(STAGES["surrogate"], replace(config, seed=1), tmp_path / "other")
    assert digest(tmp_path / "other/private/surrogate") != digest(finished / "private/surrogate")


def test_a_missing_input_names_the_remedy(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clean: no such file or folder; run the stage that makes it first"):
        run_stage(STAGES["surrogate"], config, tmp_path)


def test_code_is_part_of_the_key(config: Config, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = slot_of(STAGES["verify"], config, finished).key
    monkeypatch.setattr("sscl.runner.code_digest", lambda module: "other code")
    assert slot_of(STAGES["verify"], config, finished).key != before


def test_no_secret_in_public_outputs(finished: Path) -> None:
    generator = (finished / "private/watermark/release/generator.safetensors").read_bytes()
    weights = generator[-400:]
    for path in (finished / "public").rglob("*"):
        assert path.is_dir() or weights not in path.read_bytes()
    assert not list((finished / "public").rglob("*.safetensors"))


def test_killed_at_any_moment_it_ends_the_same(finished: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    """SIGKILL at a random moment of several stages, start again each time; the last run ends by itself."""
    rng = random.Random(0)
    overrides = [argument for override in tiny for argument in ("--set", override)]
    forked = {
        **os.environ,
        "SSCL_FORKSERVER": "1",
    }  # its process ends with the one that is killed here: test_forkserver.py
    command = [sys.executable, "-m", "sscl", "run", "--out", str(tmp_path / "run"), *overrides]
    for victim in ("prepare", "surrogate", "embed@release", "verify"):
        process = subprocess.Popen(command, cwd=ROOT, env=forked, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        with process, process.stderr:
            assert any(line.strip() == victim for line in process.stderr)
            time.sleep(rng.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    subprocess.run(command, cwd=ROOT, env=forked, check=True, capture_output=True)
    assert digests(tmp_path / "run") == digests(finished)
    assert not list((tmp_path / "run").rglob("*.tmp-*"))


def test_a_dataset_that_was_changed_is_prepared_again(copy: Path, config: Config, tmp_path: Path) -> None:
    """The defect: the old images were marked and published."""
    data = Path(shutil.copytree(str(config.data.path), tmp_path / "data"))
    changed = replace(config, data=replace(config.data, path=str(data)))
    prepare = STAGES["prepare"]
    assert not run_stage(prepare, changed, copy), "the same files in another folder"
    os.utime(next(path for path in sorted(data.rglob("*")) if path.is_file()), ns=(1, 1))
    with pytest.raises(InputError, match="clean: made by another config"):
        run_stage(prepare, changed, copy)
    assert run_stage(prepare, changed, copy, overwrite=True)
