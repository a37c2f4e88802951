from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sscl import artifacts
from sscl.artifacts import digest, key_of, load_tensors, save_tensors, write_atomically
from sscl.errors import InputError


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
