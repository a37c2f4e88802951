"""What is private on disk: nobody else on the machine can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sscl.doctor import examine
from tests.conftest import shell


def test_private_outputs_and_dvcs_cache_of_them_are_closed(reproduced: Path) -> None:
    """The defect: they were world-readable."""
    private = reproduced / "out/private"
    found = [private, *private.rglob("*"), reproduced / ".dvc/cache", reproduced / ".dvc/tmp"]
    assert len(found) > 20
    wide = [path for path in found if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert [path for path in wide if not path.is_relative_to(reproduced / ".dvc/cache")] == []
    assert (reproduced / "out/public").stat().st_mode & 0o055 == 0o055


@pytest.mark.slow
def test_doctor_says_what_others_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out/private").mkdir(parents=True, mode=0o755)
    (line,) = [finding for finding in examine() if finding.what == "private files"]
    assert (line.ok, line.state) == (False, "out/private can be read by other users")
    shell(tmp_path, *line.remedy.split())
    (line,) = [finding for finding in examine() if finding.what == "private files"]
    assert line.ok
