"""What is private on disk: nobody else on the machine can read it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from sscl.doctor import examine
from sscl.permissions import close_copies, copies
from tests.conftest import ROOT, shell


def test_private_outputs_and_dvcs_cache_of_them_are_closed(reproduced: Path) -> None:
    """The defect: they were world-readable."""
    private = reproduced / "out/private"
    found = [private, *private.rglob("*"), reproduced / ".dvc/cache", reproduced / ".dvc/tmp"]
    assert len(found) > 20
    wide = [path for path in found if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert [path for path in wide if not path.is_relative_to(reproduced / ".dvc/cache")] == []
    assert (reproduced / "out/public").stat().st_mode & 0o055 == 0o055
    assert (reproduced / "out").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("beside", ["config", "config.local"])
def test_dvcs_own_places_are_closed_wherever_they_are(beside: str, tmp_path: Path) -> None:
    """The defect: `dvc push` to a folder made copies of the secret that everybody could read."""
    (tmp_path / "checkout/.dvc").mkdir(parents=True)
    shutil.copy(ROOT / ".dvc/config", tmp_path / "checkout/.dvc/config")
    with (tmp_path / "checkout/.dvc" / beside).open("a") as file:
        file.write("[cache]\n    dir = ../../cache\n")
    close_copies(tmp_path / "checkout/out/private/secret")
    for place in ("sscl-dvc/private", "cache", "checkout/.dvc/tmp"):
        assert (tmp_path / place).stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "sscl-dvc/public").exists()


def test_remotes_elsewhere_are_not_ours_to_close(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("['remote \"private\"']\n    url = s3://owner-secrets/dvc\n")
    assert copies(tmp_path / ".dvc") == [tmp_path / ".dvc/cache", tmp_path / ".dvc/tmp"]
    (tmp_path / ".dvc/config").write_bytes(b"\xff[")
    close_copies(tmp_path / "out/private/secret")


@pytest.mark.slow
def test_doctor_says_what_others_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out/private").mkdir(parents=True, mode=0o755)
    (line,) = [finding for finding in examine() if finding.what == "private files"]
    assert (line.ok, line.state) == (False, "out/private can be read by other users")
    shell(tmp_path, *line.remedy.split())
    (line,) = [finding for finding in examine() if finding.what == "private files"]
    assert line.ok


def test_keygen_closes_the_folder_that_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell(tmp_path, "sscl", "keygen", "private/sign.pem")
    assert (tmp_path / "private").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_doctor_and_seal_keys_need_no_boto(tmp_path: Path) -> None:
    """An auditor's installation has none."""
    lines = (
        "import sys",
        "from importlib import util",
        "find = util.find_spec",
        "util.find_spec = lambda name, *more: None if name.startswith('boto') else find(name, *more)",
        "sys.modules.update(dict.fromkeys(('boto3', 'botocore')))",
        "from sscl.doctor import examine",
        "from sscl.release.sealed import new_identity",
        "print(new_identity()[1][:4], [f.what for f in examine() if f.state == 'boto3 is not installed'])",
    )
    said = shell(tmp_path, sys.executable, "-c", "; ".join(lines))
    assert said.strip() == "age1 ['S3 credentials', 'S3 endpoint']"
