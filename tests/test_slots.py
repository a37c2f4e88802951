from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sscl.errors import InputError, SSCLError
from sscl.slots import Slot, building


def slot(root: Path, key: str = "k1") -> Slot:
    return Slot("stage", (root / "a/out",), key, root / ".sscl")


def build(root: Path, text: str, key: str = "k1", overwrite: bool = False) -> bool:
    with building(slot(root, key), overwrite) as paths:
        if paths is None:
            return False
        paths[0].mkdir()
        (paths[0] / "file").write_text(text)
    return True


def failing_at(number: int, code: int) -> Callable[[Path, Path], None]:
    """``os.replace`` on a disk that fails at the call of that number."""
    calls, real = iter(range(100)), os.replace

    def replace(source: Path, target: Path) -> None:
        if next(calls) == number:
            raise OSError(code, os.strerror(code))
        real(source, target)

    return replace


def test_build_once_then_reuse(tmp_path: Path) -> None:
    assert build(tmp_path, "one")
    assert not build(tmp_path, "two")
    assert (tmp_path / "a/out/file").read_text() == "one"


@pytest.mark.parametrize("error", [ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TimeoutError("timed out")])
def test_a_network_that_fails_is_no_fault_of_the_disk(error: OSError, tmp_path: Path) -> None:
    with pytest.raises(type(error)), building(slot(tmp_path)):
        raise error


def test_changed_output_is_built_again(tmp_path: Path) -> None:
    build(tmp_path, "one")
    (tmp_path / "a/out/file").write_text("tampered")
    assert build(tmp_path, "one")
    assert (tmp_path / "a/out/file").read_text() == "one"


def test_a_new_output_root_is_closed_to_others_and_one_with_files_stays(tmp_path: Path) -> None:
    build(tmp_path / "new", "one")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "made by dvc/a").mkdir(parents=True)
    build(tmp_path / "made by dvc", "one")
    assert (tmp_path / "made by dvc").stat().st_mode & 0o777 == 0o700
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine").chmod(0o755)
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    build(tmp_path / "mine", "one")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o755


def test_another_config_is_refused_unless_overwritten(tmp_path: Path) -> None:
    build(tmp_path, "one")
    with pytest.raises(InputError, match=r"a/out: made by another config or code; choose another --out, or"):
        build(tmp_path, "two", key="k2")
    assert (tmp_path / "a/out/file").read_text() == "one"
    assert build(tmp_path, "two", key="k2", overwrite=True)
    assert (tmp_path / "a/out/file").read_text() == "two"


@pytest.mark.parametrize("overwrite", [False, True])
def test_somebody_elses_folder_is_refused(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "a/out").mkdir(parents=True)
    (tmp_path / "a/out/thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="already there and not made by sscl"):
        build(tmp_path, "one", overwrite=overwrite)
    assert (tmp_path / "a/out/thesis.txt").read_text() == "years of work"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    build(tmp_path, "one")
    with pytest.raises(RuntimeError), building(slot(tmp_path, "k2"), overwrite=True) as paths:  # noqa: PT012
        assert paths is not None
        paths[0].mkdir()
        raise RuntimeError
    assert (tmp_path / "a/out/file").read_text() == "one"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["out"]


@pytest.mark.parametrize(("key", "how"), [("k1", {}), ("k2", {"overwrite": True}), ("k1", {"vouched": True})])
def test_what_binds_the_owner_is_not_replaced(key: str, how: dict[str, bool], tmp_path: Path) -> None:
    def make(slot: Slot) -> bool:
        with building(slot, **how) as paths:
            if paths:
                paths[0].mkdir()
        return paths is not None

    assert make(replace(slot(tmp_path), irrevocable=True))
    (tmp_path / "a/out/more").write_text("of the owner's")
    with pytest.raises(InputError, match="a new one would void what rests on it"):
        make(slot(tmp_path, key))
    assert (tmp_path / "a/out/more").read_text() == "of the owner's"
    shutil.rmtree(tmp_path / "a/out")
    assert make(slot(tmp_path, key))
    assert not make(slot(tmp_path, key))


def test_leftovers_of_a_killed_builder_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "a/.out.tmp-99999"
    leftover.mkdir(parents=True)
    assert build(tmp_path, "one")
    assert not leftover.exists()


def test_a_half_written_note_of_a_killed_builder_is_removed(tmp_path: Path) -> None:
    assert build(tmp_path, "one")
    leftover = tmp_path / ".sscl/stages/.stage.json.tmp-99999-abcd"
    leftover.write_text("{")
    assert not build(tmp_path, "one")  # also where nothing is to be done
    assert not leftover.exists()


def test_what_dvc_tracks_may_be_replaced_whoever_made_it(tmp_path: Path) -> None:
    (tmp_path / "a/out").mkdir(parents=True)
    with building(slot(tmp_path), vouched=True) as paths:
        assert paths is not None
        paths[0].mkdir()
    assert not build(tmp_path, "one")


def test_killed_between_manifest_and_rename_builds_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(source: object, target: object) -> None:
        if Path(str(target)).name == "out":
            raise KeyboardInterrupt
        real(source, target)  # type: ignore[arg-type]

    real = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path, "one")
    assert (tmp_path / ".sscl/stages/stage.json").is_file()
    assert build(tmp_path, "one")


def test_full_disk_is_one_line_and_loses_nothing(small_disk: Path) -> None:
    build(small_disk, "one")
    with pytest.raises(SSCLError, match="the disk is full") as error:
        build(small_disk, "x" * 1_000_000, key="k2", overwrite=True)
    assert error.value.exit_code == 1
    assert (small_disk / "a/out/file").read_text() == "one"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_disk_that_fails_at_the_end_loses_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect: old outputs were removed before the manifest of the new ones was written."""
    pair = replace(slot(tmp_path), outs=(tmp_path / "a/one", tmp_path / "a/two"))

    def make(pair: Slot, text: str) -> None:
        with building(pair, overwrite=True) as paths:
            for path in paths or ():
                path.write_text(text)

    make(pair, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing_at(number, errno.ENOSPC))
        with pytest.raises(SSCLError, match="nothing that was there is lost"):
            make(replace(pair, key="k2"), "new")
    assert [path.read_text() for path in pair.outs] == ["old", "old"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["one", "two"]
    make(replace(pair, key="k2"), "new")
    assert [path.read_text() for path in pair.outs] == ["new", "new"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"key": "k1"}', b"\xff\xfe", b"{"])
def test_a_damaged_note_says_what_to_delete(content: bytes, tmp_path: Path) -> None:
    build(tmp_path, "one")
    (tmp_path / ".sscl/stages/stage.json").write_bytes(content)
    with pytest.raises(InputError, match=r"stage\.json: damaged; delete it and what it is about \(.*a/out\)"):
        build(tmp_path, "one")
    assert (tmp_path / "a/out/file").read_text() == "one"


def test_manifest_holds_no_more_than_key_digests_and_time(tmp_path: Path) -> None:
    build(tmp_path, "one")
    manifest = json.loads((tmp_path / ".sscl/stages/stage.json").read_text())
    assert set(manifest) == {"stage", "key", "digests", "seconds", "irrevocable"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_first_output_that_fails_at_the_end_leaves_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect: one of two outputs stayed, and what binds the owner could then never be made."""
    pair = replace(slot(tmp_path), outs=(tmp_path / "a/one", tmp_path / "a/two"), irrevocable=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing_at(number, errno.EIO))
        with pytest.raises(SSCLError), building(pair) as paths:  # noqa: PT012
            for path in paths or ():
                path.write_text("new")
    assert list((tmp_path / "a").iterdir()) == []
    with building(pair) as paths:
        for path in paths or ():
            path.write_text("new")
    assert [path.read_text() for path in pair.outs] == ["new", "new"]


def test_renames_of_a_killed_builder_are_finished(tmp_path: Path) -> None:
    pair = replace(slot(tmp_path), outs=(tmp_path / "a/one", tmp_path / "a/two"), irrevocable=True)
    if (child := os.fork()) == 0:
        real = os.replace
        os.replace = lambda *names: os._exit(9) if Path(names[1]).name == "two" else real(*names)
        with building(pair) as paths:
            for path in paths or ():
                path.write_text("of the killed one")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [path.exists() for path in pair.outs] == [True, False]
    with building(pair) as paths:
        assert paths is None
    assert [path.read_text() for path in pair.outs] == ["of the killed one"] * 2
