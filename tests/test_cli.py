from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from sscl import seeds
from sscl.artifacts import digest
from sscl.audit.bundle import pack, unpack
from sscl.cli import app
from sscl.cli.common import reporting
from sscl.models import build
from sscl.models.io import save_classifier
from sscl.stages.table import ALL
from tests.conftest import ROOT

PARAMS = ["--params", str(ROOT / "params.yaml"), "--quiet"]


def sscl(*arguments: str, tiny: tuple[str, ...] = ()) -> tuple[int, str, str]:
    overrides = [argument for override in tiny for argument in ("--set", override)]
    result = CliRunner().invoke(app, [*arguments, *overrides], env={"COLUMNS": "80"})
    return result.exit_code, result.stdout, result.stderr


def one_line(text: str) -> str:
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


PEOPLES = ("run", "audit", "check", "keygen", "benchmark", "doctor")
STAGE_VERBS = tuple(dict.fromkeys(stage.verb for stage in ALL.values()))


@pytest.mark.parametrize(("group", "verbs"), [((), PEOPLES), (("stage",), STAGE_VERBS)], ids=["people's", "stages"])
def test_help_lists_the_verbs_in_order_with_examples(group: tuple[str, ...], verbs: tuple[str, ...]) -> None:
    code, text, _ = sscl(*group, "--help")
    places = [text.index(f"│ {verb} ") for verb in verbs]
    assert code == 0
    assert places == sorted(places)
    flat = " ".join(text.replace("│", " ").split())
    assert [verb for verb in verbs if f"{' '.join(('sscl', *group, verb))}" not in flat] == []
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("verb", [*PEOPLES, *(f"stage {verb}" for verb in sorted(STAGE_VERBS))])
def test_every_verb_has_an_example(verb: str) -> None:
    code, text, _ = sscl(*verb.split(), "--help")
    assert code == 0
    assert f"Example: sscl {verb}" in text


def test_a_stage_by_hand(copy: Path, tiny: tuple[str, ...]) -> None:
    shutil.rmtree(copy / "verification")
    code, out, err = sscl("stage", "verify", "--out", str(copy), *PARAMS, tiny=tiny)
    assert (code, out) == (0, "")
    assert "verify: wrote" in err
    code, out, _ = sscl("stage", "verify", "--out", str(copy), *PARAMS, "--json", tiny=tiny)
    assert json.loads(out)["computed"] is False


@pytest.mark.parametrize(("protected", "options"), [("encoder", ()), ("dataset", ("--encoder",))])
def test_a_stage_of_another_pipeline_is_refused(
    protected: str, options: tuple[str, ...], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    asked = (*PARAMS, "--set", f"audit.protects={protected}", *options)
    code, _, err = sscl("stage", "prepare", "--out", str(tmp_path / "out"), *asked, tiny=tiny)
    assert code == 2
    assert f"audit.protects: {protected}, but this pipeline protects one" in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_run_prints_the_table_and_the_report(copy: Path, tiny: tuple[str, ...]) -> None:
    code, out, _ = sscl("run", "--out", str(copy), *PARAMS, tiny=tiny)
    assert code == 0
    assert "Malicious" in out
    assert out.rstrip().endswith(f"Report: {copy}/report/report.html")
    code, out, _ = sscl("run", "--out", str(copy), *PARAMS, "--json", tiny=tiny)
    assert json.loads(out)["computed"] == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("verify.tua=1", "verify.tua: unknown key; did you mean 'tau'?"),
        ("generator.sscl_bw.eps=0", "generator.sscl_bw.eps: 0.0 is not possible"),
        ("generator.sscl_bw.eps=2", "generator.sscl_bw.eps: 2.0 is not possible"),
        ("target_class=9", "target_class: 9 does not exist, the dataset has classes 0 to 2"),
        ("embed.rate=0.9", "embed.rate: 0.9 of the dataset is 216 images, which the marked classes cannot supply"),
        ("surrogate.model=alexnet", "unknown model 'alexnet': choose one of"),
        ("user.augment=mixup", "unknown augmentation 'mixup': choose one of"),
        ("verify.test=guess", "unknown verification test 'guess': choose one of"),
        ("data.source=ftp", "unknown data source 'ftp': choose one of"),
        ("compute.device=tpu", "compute.device: 'tpu' is not usable here"),
    ],
)
def test_bad_values_exit_with_2_and_lose_nothing(
    override: str, message: str, copy: Path, tiny: tuple[str, ...]
) -> None:
    before = digest(copy)
    code, _, err = sscl("run", "--out", str(copy), "--overwrite", *PARAMS, tiny=(*tiny, override))
    assert code == 2
    assert message in one_line(err)
    kept = {"target_class": "public", "embed": "public", "verify.test": "verification"}
    for key, path in kept.items():
        if override.startswith(key):
            assert (copy / path).is_dir()
    if override.startswith(("verify.tua", "generator.sscl_bw.eps")):
        assert digest(copy) == before
    assert not list(copy.rglob("*.tmp-*"))


def test_another_config_in_the_directory(copy: Path, tiny: tuple[str, ...]) -> None:
    before = digest(copy / "clean")
    code, _, err = sscl("run", "--out", str(copy), *PARAMS, tiny=(*tiny, "data.train_images=60"))
    assert code == 2
    assert "clean: made by another config or code; choose another --out, or replace it" in one_line(err)
    assert digest(copy / "clean") == before


def test_nan_weights(copy: Path, tiny: tuple[str, ...]) -> None:
    model = build("baseline_cnn", 1, 28, classes=3, generator=seeds.generator(0, "w"))
    with torch.no_grad():
        model.backbone[0].weight[0] = float("nan")
    save_classifier(copy / "models/malicious/model.safetensors", model)
    code, _, err = sscl("stage", "verify", "--out", str(copy), "--overwrite", *PARAMS, tiny=tiny)
    assert code == 2
    assert "model.safetensors: backbone.0.weight has NaN or infinite values" in one_line(err)


def test_wrong_number_of_classes(copy: Path, tiny: tuple[str, ...]) -> None:
    model = build("baseline_cnn", 1, 28, classes=10, generator=seeds.generator(0, "w"))
    save_classifier(copy / "models/malicious/model.safetensors", model)
    code, _, err = sscl("stage", "verify", "--out", str(copy), "--overwrite", *PARAMS, tiny=tiny)
    assert code == 2
    assert "a model of 10 classes, but the dataset has 3" in one_line(err)


def test_full_disk(small_disk: Path, tiny: tuple[str, ...]) -> None:
    code, _, err = sscl("run", "--out", str(small_disk / "out"), *PARAMS, tiny=tiny)
    assert code == 1
    assert "the disk is full; free some space" in one_line(err)
    assert not list(small_disk.rglob("*.tmp-*"))


def test_read_only_output(small_disk: Path, tiny: tuple[str, ...]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, _, err = sscl("run", "--out", str(small_disk / "out"), *PARAMS, tiny=tiny)
    assert code == 1
    assert "the file system is read-only; choose another --out" in one_line(err)


def test_a_file_where_the_output_should_be(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    (tmp_path / "out").write_text("a file")
    code, _, err = sscl("run", "--out", str(tmp_path / "out"), *PARAMS, tiny=tiny)
    assert code == 1
    assert "choose another --out" in one_line(err)
    assert (tmp_path / "out").read_text() == "a file"


def test_unknown_variant_and_profile(tmp_path: Path) -> None:
    code, _, err = sscl("stage", "generator", "theirs", "--out", str(tmp_path), *PARAMS)
    assert code == 2
    assert "'theirs' does not exist, choose one of release, independent" in one_line(err)
    code, _, err = sscl("run", "--profile", "mega", "--out", str(tmp_path), *PARAMS)
    assert code == 2
    assert "profile: 'mega' does not exist" in one_line(err)


@pytest.mark.slow
def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sscl", "run", "--debug", "--set", "seed=-1", "--out", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" in result.stderr


@pytest.mark.slow
def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("SSCL_CACHE", str(tmp_path))
    code, out, _ = sscl("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(out)}
    assert code == 0
    assert {"data: mnist", "LPIPS weights", "GPU", "S3 credentials", "Prefect API"} <= set(findings)
    assert not findings["LPIPS weights"]["ok"]
    assert "prefect server start" in findings["Prefect API"]["remedy"]
    assert "AWS_ACCESS_KEY_ID" in findings["S3 credentials"]["remedy"]
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("SSCL_DATA", str(tmp_path))
    code, out, _ = sscl("doctor", "--json")
    assert code == 0
    assert "cifar10" in {f["what"]: f for f in json.loads(out)}["data: cifar10"]["state"]
    assert sscl("doctor")[0] == 0


@pytest.mark.slow
def test_doctor_says_what_is_wrong_with_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    code, out, _ = sscl("doctor", "--json")
    found = {f["what"]: f for f in json.loads(out)}["S3 endpoint"]
    assert code == 0
    assert (found["ok"], found["state"]) == (False, "not a URL")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["list", "pull d 1.0 --out x", "verify d 1.0", "unseal d 1.0 --key k --out x"])
def test_release_verbs_know_profiles(verb: str) -> None:
    code, _, err = sscl("release", *verb.split(), "--profile", "mega")
    assert code == 2
    assert "profile: 'mega' does not exist" in one_line(err)


@pytest.mark.slow
def test_doctor_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRETID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-value")
    _, out, err = sscl("doctor", "--json")
    assert "AKIASECRETID" not in out + err
    assert "very-secret-value" not in out + err


def test_a_suspect_from_commitment_to_check(copy: Path, tmp_path: Path) -> None:
    key, bundle = tmp_path / "sign.pem", tmp_path / "evidence.zip"
    assert sscl("keygen", str(key))[0] == 0
    assert key.stat().st_mode & 0o077 == 0
    code, _, err = sscl("keygen", str(key))
    assert code == 2
    assert "already there" in one_line(err)
    suspect = str(copy / "models/malicious/model.safetensors")
    arguments = [suspect, "--out", str(copy), "--bundle", str(bundle), "--sign", str(key)]
    code, out, _ = sscl("audit", *arguments, *PARAMS)
    assert code == 0
    assert "(confirmatory)" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    code, out, _ = sscl("check", str(bundle))
    assert (code, out.startswith("VALID: every figure")) == (0, True)
    bundle.write_bytes(bundle.read_bytes().replace(b'"wsr":', b'"wsR":'))
    code, _, err = sscl("check", str(bundle))
    assert code == 2
    assert "not an undamaged zip file" in one_line(err)
    bundle.write_bytes(pack({**unpack(copy / "private/audits/malicious/bundle.zip")[0], "more.txt": b""}))
    code, out, err = sscl("check", str(bundle))
    assert code == 1
    assert "differs: more.txt: not a part of a bundle" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.onnx"], "nothing.onnx: No such file or directory; expected a model file"),
        (["model.pkl"], "pickles are never opened"),
        (
            ["model.onnx", "--set", "audit.images=500"],
            "--set audit.images=500: not possible here, where the commitment counts",
        ),
        (["http://localhost:9/"], "give either `probabilities` or `labels`"),
        (["model.onnx", "--bundle", "b.zip", "--sign", "no.pem"], "no.pem: not a private key"),
        (["model.onnx", "--oracle", "no.yaml"], "no.yaml: no such file; `--oracle` takes a YAML file"),
    ],
)
def test_suspects_that_cannot_be_audited(arguments: list[str], message: str, finished: Path) -> None:
    code, _, err = sscl("audit", *arguments, "--out", str(finished), *PARAMS)
    assert code == 2
    assert message in one_line(err)


def test_a_release_of_its_own_secret(tmp_path: Path, finished: Path, tiny: tuple[str, ...]) -> None:
    """With a key file the marks, the word and the marked images do not follow from the public seed."""
    secret = tmp_path / "release.key"
    assert sscl("keygen", "--release", str(secret))[0] == 0
    out = tmp_path / "out"
    code, _, err = sscl("run", "--out", str(out), *PARAMS, tiny=(*tiny, f"key_file={secret}"))
    assert code == 0, err
    for name in ("generator.safetensors", "indices.safetensors"):
        path = f"private/watermark/release/{name}"
        assert digest(out / path) != digest(finished / path)
    assert digest(out / "clean") == digest(finished / "clean")
    code, _, err = sscl(
        "stage", "generator", "release", "--overwrite", "--out", str(out), *PARAMS, tiny=(*tiny, "key_file=nothing")
    )
    assert "key_file: nothing: No such file" in one_line(err)


@pytest.mark.parametrize(
    "error",
    [MemoryError("Unable to allocate 8 GiB"), RuntimeError("alloc_cpu.cpp:127] . can't allocate memory: you tried to")],
)
def test_too_little_memory_says_what_to_lower(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reporting(debug=False):
        raise error
    assert "not enough memory: free some, or lower batch_size" in capsys.readouterr().err
