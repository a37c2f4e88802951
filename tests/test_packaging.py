"""The wheel, installed alone: an auditor needs neither Prefect nor DVC nor what owners train with."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sscl.artifacts import write_json
from sscl.cli.common import EXTRAS, extra_of
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def needed(requirements: Iterable[str]) -> set[str]:
    """Names of the packages that these requirements bring, and what those need."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        one = waiting.pop()
        if (one.marker and not one.marker.evaluate({"extra": ""})) or one.name.lower() in found:
            continue
        found.add(one.name.lower())
        waiting += [Requirement(text) for text in metadata.distribution(one.name).requires or []]
    return found


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_what_is_installed_is_what_is_asked_for(extra: str) -> None:
    """`pip check` looks at no extras."""
    asked = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for one in map(Requirement, asked):
        if one.name != PROJECT["name"] and (not one.marker or one.marker.evaluate()):
            assert metadata.version(one.name) in one.specifier, one


def test_an_error_names_the_extra_that_brings_a_module() -> None:
    for extra, modules in EXTRAS.items():
        assert extra in PROJECT["optional-dependencies"]
        assert {extra_of(f"{module}.inner") for module in modules} == {extra}
    assert extra_of("nobodys") is None


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel and what it declares to need, linked from here; nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    venv.create(folder / "env", with_pip=False)
    site = next((folder / "env/lib").glob("python*/site-packages"))
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in needed(PROJECT["dependencies"]):
        for file in metadata.files(name) or []:
            top = file.parts[0]
            here = Path(str(metadata.distribution(name).locate_file(top)))
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(here)
    return folder / "env/bin/python"


def run(python: Path, folder: Path, *arguments: str) -> tuple[int, str]:
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [python, "-m", "sscl", *arguments]
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_an_auditor_needs_the_wheel_alone(alone: Path, copy: Path, tmp_path: Path) -> None:
    suspect, bundle = str(copy / "models/malicious/model.safetensors"), str(tmp_path / "evidence.zip")
    for missing in ("prefect", "dvc", "lpips", "pandas", "boto3", "sklearn"):
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({missing!r}) is not None)"
        assert subprocess.run([alone, "-c", code], check=False).returncode == 0, missing
    code, said = run(alone, tmp_path, "audit", suspect, "--out", str(copy), "--bundle", bundle)
    assert code == 0, said
    assert "(confirmatory)" in said
    code, said = run(alone, tmp_path, "check", bundle)
    assert code == 0, said
    assert said.startswith("VALID")
    code, said = run(alone, tmp_path, "release", "list", "--from", "s3://nowhere/releases")
    assert code == 2
    assert "boto3 is not installed; pip install '.[s3]'" in said
    code, said = run(alone, tmp_path, "stage", "report", "--out", str(copy), "--overwrite")
    assert code == 2
    assert "pip install '.[pipeline]'" in said


def test_make_clean_keeps_what_binds_an_owner(tmp_path: Path) -> None:
    """Secret and word of a release cannot be made again, wherever under the outputs they are."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    note = tmp_path / "runs/mine/.sscl/stages/commit.json"
    note.parent.mkdir(parents=True)
    write_json(note, {"stage": "commit", "irrevocable": True})
    done = subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the secret of a release is under the root of runs/mine" in done.stdout
    write_json(note, {"stage": "commit", "irrevocable": False})
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert not note.exists()
