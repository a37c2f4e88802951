from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sscl import artifacts
from sscl.artifacts import Slot, building, digest, key_of, load_tensors, save_tensors, write_atomically
from sscl.errors import InputError, SSCLError


def slot(root: Path, key: str = "k1") -> Slot:
    return Slot("stage", (root / "a/out",), key, root / ".sscl")


def build(root: Path, text: str, key: str = "k1", overwrite: bool = False) -> bool:
    with building(slot(root, key), overwrite) as paths:
        if paths is None:
            return False
        paths[0].mkdir()
        (paths[0] / "file").write_text(text)
    return True


def test_build_once_then_reuse(tmp_path: Path) -> None:
    assert build(tmp_path, "one")
    assert not build(tmp_path, "two")
    assert (tmp_path / "a/out/file").read_text() == "one"


def test_changed_output_is_built_again(tmp_path: Path) -> None:
    build(tmp_path, "one")
    (tmp_path / "a/out/file").write_text("tampered")
    assert build(tmp_path, "one")
    assert (tmp_path / "a/out/file").read_text() == "one"


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
    calls, real = iter(range(100)), os.replace

    def failing(source: Path, target: Path) -> None:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
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


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.ENOSPC])
def test_disk_errors_name_the_remedy(number: int, tmp_path: Path) -> None:
    message = str(artifacts.disk_error(tmp_path, OSError(number, os.strerror(number))))
    assert str(tmp_path) in message
    assert "choose another --out" in message or "free some space" in message


@given(st.binary(max_size=1000))
def test_write_atomically_replaces(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("file") / "x"
    path.write_bytes(b"old")
    write_atomically(path, content)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_digest_sees_names_and_bytes(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        folder = tmp_path / f"{name}{content.decode()}"
        folder.mkdir()
        (folder / name).write_bytes(content)
    assert len({digest(p) for p in tmp_path.iterdir()}) == 3
    with pytest.raises(InputError, match="no such file or folder"):
        digest(tmp_path / "missing")


def test_key_is_canonical() -> None:
    assert key_of(a={"x": 1, "y": 2}) == key_of(a={"y": 2, "x": 1}) != key_of(a={"x": 1, "y": 3})


def test_tensors_round_trip_to_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "i": torch.tensor([1, 2])}
    for name in ("a", "b"):
        save_tensors(tmp_path / name, tensors, {"eps": 0.5})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded, metadata = load_tensors(tmp_path / "a")
    assert metadata == {"eps": 0.5}
    assert all(torch.equal(loaded[k], tensors[k]) for k in tensors)


def test_bad_tensor_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_tensors(path)
    save_tensors(path, {"layer.weight": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(InputError, match=r"layer\.weight has NaN or infinite values"):
        load_tensors(path)


def test_manifest_holds_no_more_than_key_digests_and_time(tmp_path: Path) -> None:
    build(tmp_path, "one")
    manifest = json.loads((tmp_path / ".sscl/stages/stage.json").read_text())
    assert set(manifest) == {"stage", "key", "digests", "seconds", "irrevocable"}
