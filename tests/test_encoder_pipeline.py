"""An encoder's pipeline on the tiny dataset: by the library alone, as a Prefect flow, and by DVC."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save_file

from flows.encoder import encoder
from sscl.artifacts import digest, load_tensors, read_json
from sscl.audit.check import check
from sscl.audit.session import audit_suspect
from sscl.config import Config
from sscl.errors import ConfigError
from sscl.models import CLASSIFIERS, build
from sscl.models.own import know
from sscl.params import load, with_overrides
from sscl.runner import run_all
from sscl.stages.table import DOWNSTREAM, ENCODER, STAGES
from sscl.statistics.alignment import VIEWS
from sscl.watermarks.io import GENERATOR
from tests.conftest import ROOT, checkout, shell
from tests.kept import database_dump, forms
from tests.own_networks import SOURCE, WIDTH

CONTRASTIVE = ("learning=simclr", "augment=views", "batch_size=64", "optimizer=sgd")
ALSO = (
    *(f"{section}.{value}" for section in ("surrogate", "user") for value in CONTRASTIVE),
    "surrogate.model=own_encoder:small",
    "surrogate.epochs=0",
    "user.model=resnet8",
    "user.epochs=1",
    "generator.ownership_code.family=waves",
    "audit.protects=encoder",
    "audit.statistic=attraction",
    "audit.images=30",
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an encoder that is not the project's: its module, and its weights."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_encoder.py").write_text(SOURCE)
    with contextlib.chdir(folder):
        know("own_encoder:small")
    save_file(build("own_encoder:small", 1, 28, classes=7).backbone.state_dict(), folder / "weights.safetensors")
    yield folder
    del CLASSIFIERS._members["own_encoder:small"], sys.modules["own_encoder"]


@pytest.fixture(scope="module")
def settings(tiny: tuple[str, ...], own: Path) -> tuple[str, ...]:
    return (*tiny, *ALSO, f"surrogate.start={own / 'weights.safetensors'}")


@pytest.fixture(scope="module")
def built(settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    config, root = load(ROOT / "params.yaml", "demo", settings), tmp_path_factory.mktemp("encoder")
    assert run_all(config, root, carrier="encoder") == list(ENCODER)
    return config, root


@pytest.mark.slow
def test_every_suspect_has_a_verdict_with_evidence_and_nothing_is_computed_twice(built: tuple[Config, Path]) -> None:
    config, root = built
    metrics = read_json(root / "encoder_metrics.json")
    assert set(metrics["audits"]) == set(DOWNSTREAM)
    assert not {"word", "effects"} & {name for finding in metrics["audits"].values() for name in finding}
    for name in DOWNSTREAM:
        assert check(root / f"private/audits/{name}/bundle.zip") == []
        assert 0 < metrics["audits"][name]["p_value"] <= 1
    page = (root / "encoder_report/report.html").read_text()
    assert "under the mark" in page
    assert page.count("<svg") == 2  # nothing was trained, so there is no curve
    before = {path: digest(root / path) for stage in ENCODER.values() for path in stage.outputs.values()}
    assert run_all(config, root, carrier="encoder") == []
    assert before == {path: digest(root / path) for path in before}


@pytest.mark.slow
@pytest.mark.parametrize("output", ["features", "probabilities"])
def test_an_audit_asks_an_encoder_for_features_or_a_classifier_for_answers(
    output: str, built: tuple[Config, Path], tmp_path: Path
) -> None:
    config, root = built
    (tmp_path / "oracle.yaml").write_text(yaml.safe_dump({"output": output}))
    suspect, bundle = str(root / "licensed/encoder/model.safetensors"), tmp_path / "evidence.zip"
    finding, said = audit_suspect(suspect, root, config.compute, oracle=tmp_path / "oracle.yaml", bundle=bundle)
    assert said["access"] == output
    assert len(said["class_names"]) == (WIDTH if output == "features" else 3)
    assert finding.accuracy == 0.0  # the suspect's classes are its own
    assert check(bundle) == []


@pytest.mark.slow
def test_views_are_asked_about_and_checked(
    built: tuple[Config, Path], settings: tuple[str, ...], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """By a statistic that compares them: everything from the commitment on is made again, and nothing before."""
    root = tmp_path / "out"
    shutil.copytree(built[1], root, symlinks=True)
    with pytest.raises(ConfigError, match=r"audit\.protects: dataset, but this pipeline protects one encoder"):
        run_all(load(ROOT / "params.yaml", "demo", tiny), tmp_path / "out", carrier="encoder")
    config = load(ROOT / "params.yaml", "demo", (*settings, "audit.statistic=alignment", "audit.images=6"))
    assert "commit" in (again := run_all(config, root, overwrite=True, carrier="encoder"))
    assert not {"prepare", "surrogate", "generator"} & set(again)
    for name in DOWNSTREAM:
        bundle = root / f"private/audits/{name}/bundle.zip"
        assert check(bundle) == []
        finding = read_json(root / f"private/audits/{name}/finding.json")
        assert finding["queries"] == 6 * VIEWS * (1 + config.generator.options.marks)


def write_parameters(path: Path, settings: Iterable[str]) -> None:
    """Edit the file as the owner of an encoder does by hand."""
    raw = yaml.safe_load(path.read_text())
    profile = raw["profiles"][raw["profile"]]
    for setting in settings:
        section = profile if setting.partition(".")[0] in profile else raw
        section.update(with_overrides(section, [setting]))
    path.write_text(yaml.safe_dump(raw, sort_keys=False))


@pytest.mark.slow
def test_the_flow_gives_the_same_verdicts_and_neither_it_nor_dvc_repeats_anything(
    built: tuple[Config, Path],
    settings: tuple[str, ...],
    own: Path,
    server: None,
    tmp_path: Path,
) -> None:
    folder = checkout(tmp_path)
    shutil.copy(own / "own_encoder.py", folder)
    write_parameters(folder / "params.yaml", settings)
    metrics = read_json(built[1] / "encoder_metrics.json")
    found = encoder(root=str(folder))
    assert {name: row["p_value"] for name, row in found.items()} == {
        name: row["p_value"] for name, row in metrics["audits"].items()
    }
    before = {path: path.stat().st_mtime_ns for path in (folder / "encoder/out").rglob("*.safetensors")}
    assert len(before) == 9
    assert "Classifiers on the encoder" in shell(folder, "python", "-m", "flows.encoder", PYTHONSAFEPATH="")
    assert shell(folder / "encoder", "dvc", "repro").count(": up to date: ") == len(ENCODER)
    assert "Data and pipelines are up to date" in shell(folder / "encoder", "dvc", "repro")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    shutil.rmtree(folder / "encoder/out/.sscl")  # as after `dvc pull` in another clone
    write_parameters(folder / "params.yaml", ["imprint.steps=31"])
    assert "imprint: wrote encoder/out/licensed/encoder" in shell(folder / "encoder", "dvc", "repro", "imprint")
    assert shell(folder, "dvc", "stage", "list", "--name-only").count("imprint") == 0
    kept, private = database_dump(), folder / "encoder/out/private"
    opening, (tensors, _) = (
        read_json(private / "commitment/opening.json"),
        load_tensors(private / "encoder" / GENERATOR),
    )
    assert not [secret for secret in (opening["secret"], opening["salt"]) if secret in kept]
    assert "word" in tensors
    assert not [form for tensor in tensors.values() for form in forms(tensor.numpy().tobytes()) if form in kept]


def test_the_encoders_stages_come_in_an_order_that_works() -> None:
    made: set[str] = set()
    for name, stage in ENCODER.items():
        assert set(stage.inputs.values()) <= made, name
        made |= set(stage.outputs.values())
    assert all(ENCODER[name] is STAGES[name] for name in ENCODER.keys() & STAGES.keys())
