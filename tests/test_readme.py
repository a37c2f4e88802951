"""The README's release walk-through, as it is written there, and a second clone that pulls and verifies the release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.parameters import set_parameters
from tests.conftest import CREDENTIALS, EASY, ROOT, environment, free_port


def walk_through(port: int) -> str:
    """The commands of the README's section; the moto server on a free port."""
    section = (ROOT / "README.md").read_text().partition("## A release, start to end")[2]
    return section.split("```")[1].replace("5555", str(port))


def clone(folder: Path) -> Path:
    """A checkout with what git has of this one, and its environment."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.mark.slow
def test_the_walk_through_works_and_a_second_clone_verifies_the_release(tiny: tuple[str, ...], tmp_path: Path) -> None:
    first = clone(tmp_path / "first")
    set_parameters(first / "params.yaml", None, [*tiny, *EASY, "package.name=mnist-protected"])
    script = f"set -e; trap 'kill $(jobs -p)' EXIT\n{walk_through(free_port())}\ncd {clone(tmp_path / 'second')}\n"
    script += "sscl release list --from s3://public-datasets/releases\n"
    script += "sscl release pull mnist-protected 1.0.0 --from s3://public-datasets/releases --out got\n"
    script += "sscl release verify --folder got; (cd got && sha256sum --quiet -c SHA256SUMS)\n"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {name: value for name, value in environment(PATH=path).items() if name not in ("AWS_PROFILE", *CREDENTIALS)}
    done = subprocess.run(["bash", "-c", script], cwd=first, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all as published: ") == 2
    assert done.stdout.count("VALID") == 2
    assert "mnist-protected 1.0.0  " in done.stdout
    assert list((first / "private/unsealed").rglob("generator.safetensors"))
    assert not list((tmp_path / "second/got").rglob("*.safetensors"))
