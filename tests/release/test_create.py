"""From a finished pipeline to a release that a stranger pulls, by the command line; the secret is nowhere in it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sscl.artifacts import load_tensors, read_json, write_json
from sscl.audit.opening import commitment_digest
from sscl.cli import app
from sscl.data.formats.parquet import ParquetDataset
from sscl.data.store import Card
from sscl.layout import Root
from sscl.release import gate
from sscl.release.config import load_release
from sscl.release.objects import Objects
from sscl.release.sealed import new_identity
from tests.conftest import EASY, ROOT


def sscl(*arguments: str) -> Result:
    study = ["--study"] if arguments[0] == "create" else []
    return CliRunner().invoke(app, ["release", *arguments, *study])


@pytest.fixture(scope="module")
def measured(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pipeline whose rehearsal the gate has measured."""
    root = Path(shutil.copytree(finished, tmp_path_factory.mktemp("measured") / "root"))
    gate.figures(Root(root), read_json(Root(root).metrics))
    return root


@pytest.fixture
def copy(measured: Path, tmp_path: Path) -> Path:
    """To change at will."""
    return Path(shutil.copytree(measured, tmp_path / "copy"))


@pytest.fixture
def sets(bucket: str) -> list[str]:
    _, public = new_identity()
    found = [f"release.{name}=s3://{bucket}/{name}" for name in ("public", "private", "copies")] + EASY
    found += [f"release.seal_to=[{public}]"]
    return [text for change in found for text in ("--set", change)] + ["--params", str(ROOT / "params.yaml")]


def test_from_pipeline_to_stranger(copy: Path, bucket: str, sets: list[str], tmp_path: Path) -> None:
    made = sscl("create", "1.0.0", "--out", str(copy), "--json", *sets)
    assert made.exit_code == 0, made.output
    outcome = json.loads(made.stdout)
    assert outcome["sent"] == sum(path.is_file() for path in (copy / "public/package").rglob("*"))
    again = sscl("create", "1.0.0", "--out", str(copy), "--json", *sets)
    assert json.loads(again.stdout) == {**outcome, "sent": 0}
    url = f"s3://{bucket}/public"
    (listed,) = json.loads(sscl("list", "--from", url, "--json").stdout)
    assert (listed["name"], listed["version"]) == ("shapes", "1.0.0")
    pulled = sscl("pull", "shapes", "1.0.0", "--from", url, "--out", str(tmp_path / "got"))
    assert pulled.exit_code == 0, pulled.output
    assert sscl("verify", "--folder", str(tmp_path / "got")).output == "VALID\n"
    assert sscl("verify", "shapes", "1.0.0", "--from", url).output == "VALID\n"
    assert sscl("verify", "shapes", "1.0.0", "--folder", str(tmp_path / "got")).output == "VALID\n"
    other = sscl("verify", "shapes", "2.0.0", "--folder", str(tmp_path / "got"))
    assert "release.json: of shapes 1.0.0, not of shapes 2.0.0" in " ".join(other.output.split())
    assert "offline" in sscl("verify", "--folder", str(tmp_path / "got"), "--from", url).output
    assert len(list(ParquetDataset(tmp_path / "got").records("train"))) == 240
    commitment = json.loads((tmp_path / "got/commitment/commitment.json").read_text())
    assert commitment_digest(commitment) == listed["commitment"]


def test_a_pipeline_that_came_by_dvc_is_published_if_its_package_is_its_own(copy: Path, sets: list[str]) -> None:
    """`dvc pull` brings outputs and no notes of how they were made."""
    (copy / ".sscl/stages/package.json").unlink()
    made = sscl("create", "1.0.0", "--out", str(copy), *sets)
    assert made.exit_code == 0, made.output
    (copy / "public/package/README.md").write_text("of another release")
    made = sscl("create", "1.0.1", "--out", str(copy), *sets)
    assert made.exit_code == 2
    assert "not of the release that is here; run `dvc repro package`" in " ".join(made.output.split())


def test_no_secret_is_in_the_public_part(copy: Path, bucket: str, sets: list[str], tmp_path: Path) -> None:
    """Key material, marked indices and generator weights: none of their bytes is in an object or in what is printed."""
    made = sscl("create", "1.0.0", "--out", str(copy), *sets, "--debug")
    assert made.exit_code == 0, made.output
    sscl("pull", "shapes", "1.0.0", "--from", f"s3://{bucket}/public", "--out", str(tmp_path / "got"))
    public = b"".join(path.read_bytes() for path in (tmp_path / "got").rglob("*") if path.is_file())
    secrets = [
        tensor.numpy().tobytes()
        for path in Root(copy).watermark.glob("*.safetensors")
        for tensor in load_tensors(path)[0].values()
        if tensor.numel() > 4
    ]
    opening = json.loads((copy / "private/commitment/opening.json").read_text())
    secrets += [opening["salt"].encode(), opening["secret"].encode()]
    assert len(secrets) >= 6
    for secret in secrets:
        assert secret not in public
        assert secret not in made.output.encode()


def test_a_failed_gate_publishes_nothing(copy: Path, bucket: str, sets: list[str]) -> None:
    strict = ["--set", "release.limits.lpips=0.0001", "--set", "release.limits.auroc=0.1"]
    made = sscl("create", "1.0.0", "--out", str(copy), *sets, *strict)
    assert made.exit_code == 1
    said = " ".join(made.output.split())
    assert "error: quality gate: lpips 0." in said
    assert "(limit 0.0001); auroc" in said
    assert "nothing was published" in said
    assert list(Objects(f"s3://{bucket}").list("")) == []


def test_a_detector_that_is_always_wrong_sees_as_much(
    copy: Path, sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gate.figures(Root(copy), read_json(Root(copy).metrics))
    assert {"frequency", "frequency_class"} <= set(found)
    monkeypatch.setattr(gate, "figures", lambda *_: dict.fromkeys(found, 0.5) | {"frequency_class": 0.02})
    made = sscl("create", "1.0.0", "--out", str(copy), *sets, "--set", "release.limits.auroc=0.9")
    assert "auroc 0.98 (limit 0.9)" in " ".join(made.output.split())


def test_the_gate_looks_at_the_rehearsal_and_not_at_the_released_word(copy: Path, sets: list[str]) -> None:
    """Whatever the model of the released word does: a release must not be repeated because of it."""
    limits = load_release(ROOT / "params.yaml", [text for text in sets if "=" in text]).limits
    before = [str(check) for check in gate.check(Root(copy), limits)]
    metrics = read_json(Root(copy).metrics)
    for scenario in metrics["audits"].values():
        scenario["p_value"] = 1.0
    metrics["benign_accuracy"]["malicious"] = metrics["benign_accuracy_watermarked"] = 0.0
    metrics["verification"]["independent_model"]["delta_p"] = 1.0
    write_json(Root(copy).metrics, metrics)
    shutil.rmtree(copy / "models/malicious")
    assert [str(check) for check in gate.check(Root(copy), limits)] == before
    assert [line.split()[0] for line in before] == ["ba_drop", "lpips", "auroc", "p_value"]


def test_a_method_without_an_exact_test_does_not_pass(
    copy: Path, sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gate.figures(Root(copy), read_json(Root(copy).metrics))
    monkeypatch.setattr(gate, "figures", lambda *_: found | {"p_value": float("nan")})
    made = sscl("create", "1.0.0", "--out", str(copy), *sets)
    assert "p_value nan (limit 1000)" in " ".join(made.output.split())


def test_a_rehearsal_that_the_report_did_not_see_does_not_pass(copy: Path, sets: list[str]) -> None:
    (Root(copy).rehearsal / "made later").write_text("under other settings")
    made = sscl("create", "1.0.0", "--out", str(copy), *sets)
    assert made.exit_code == 2
    assert "is of another rehearsal than" in " ".join(made.output.split())


def test_figures_of_another_release_do_not_pass(copy: Path, bucket: str, sets: list[str]) -> None:
    card = Card.read(Root(copy).released)
    replace(card, name=f"{card.name}-marked-again").write(Root(copy).released)
    made = sscl("create", "1.0.0", "--out", str(copy), *sets)
    assert made.exit_code == 2
    assert "is of another release than" in " ".join(made.output.split())
    assert list(Objects(f"s3://{bucket}").list("")) == []


def test_a_secret_that_follows_from_the_seed_is_refused(copy: Path, bucket: str, sets: list[str]) -> None:
    made = CliRunner().invoke(app, ["release", "create", "1.0.0", "--out", str(copy), *sets])
    assert made.exit_code == 2
    assert "key_file: null, so anybody can derive the secret" in " ".join(made.output.split())
    assert list(Objects(f"s3://{bucket}").list("")) == []


def test_a_licensees_copy_is_not_beside_the_release(copy: Path, bucket: str, sets: list[str]) -> None:
    for arguments in ([], ["--recipient", "ada"]):
        made = sscl("create", "1.0.0", "--out", str(copy), *arguments, *sets)
        assert made.exit_code == 0, made.output
    assert "ada" not in str([item.key for item in Objects(f"s3://{bucket}/public").list("")])
    (copied,) = json.loads(sscl("list", "--from", f"s3://{bucket}/copies", "--json").stdout)
    assert copied["name"] == "shapes-for-ada"
    traced = sscl("trace", str(copy / "models/independent_model/model.safetensors"), "--out", str(copy), "--json")
    assert traced.exit_code == 0, traced.output
    assert {row["recipient"] for row in json.loads(traced.stdout)} == {"ada", "(the release for everybody)"}


def test_the_secret_comes_back_to_its_owner(copy: Path, sets: list[str], tmp_path: Path) -> None:
    identity, public = new_identity()
    (tmp_path / "id").write_text(identity)
    sets = [*sets, "--set", f"release.seal_to=[{public}]"]
    assert sscl("create", "1.0.0", "--out", str(copy), *sets).exit_code == 0
    done = sscl("unseal", "shapes", "1.0.0", "--key", str(tmp_path / "id"), "--out", str(tmp_path / "back"), *sets)
    assert done.exit_code == 0, done.output
    for path in Root(copy).watermark.iterdir():
        assert (Root(tmp_path / "back").watermark / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("release.seal_to=[]", "release.seal_to: no public key; `sscl keygen --seal FILE` makes one"),
        ("release.public=/tmp/x", "expected s3://BUCKET/PREFIX"),
        ("release.publik=x", "release.publik: unknown key; did you mean 'public'?"),
        ("release.private=s3://b/public/secret", "release.private: 's3://b/public/secret' is not possible"),
        ("release.private=s3://b//public/x", "a place apart from release.public"),
        ("release.copies=s3://b", "a place apart from release.public"),
        ("release.private=s3://b/copies/x", "a place apart from release.copies"),
    ],
)
def test_bad_values(change: str, message: str, copy: Path, sets: list[str]) -> None:
    if "s3://b" in change:
        sets = [*sets, "--set", "release.public=s3://b/public", "--set", "release.copies=s3://b/copies"]
    made = sscl("create", "1.0.0", "--out", str(copy), *sets, "--set", change)
    assert made.exit_code == 2
    assert message in " ".join(made.output.split())


def test_a_limit_that_no_rehearsal_could_meet(copy: Path, sets: list[str]) -> None:
    made = sscl("create", "1.0.0", "--out", str(copy), *sets, "--set", "release.limits.p_value=0.001")
    assert made.exit_code == 2
    said = " ".join(made.output.split())
    assert "release.limits.p_value: 0.001, and 7 marks on 3 classes give no p below 0.00159; raise it" in said


def test_before_the_pipeline_has_run(sets: list[str], tmp_path: Path) -> None:
    made = sscl("create", "1.0.0", "--out", str(tmp_path), *sets)
    assert made.exit_code == 2
    assert "no such file; run the stage that makes it first" in " ".join(made.output.split())


def test_a_seal_key_from_the_command_line(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["keygen", "--seal", str(tmp_path / "seal.key")])
    assert made.exit_code == 0
    assert "public key, for release.seal_to: age1" in " ".join(made.output.split())
    assert (tmp_path / "seal.key").read_text().startswith("AGE-SECRET-KEY-1")
    assert (tmp_path / "seal.key").stat().st_mode & 0o077 == 0
    assert "AGE-SECRET-KEY" not in made.output
