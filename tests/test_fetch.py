from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sscl.errors import SSCLError
from sscl.fetch import ArrayUnpickler, kept, sha256


def test_arrays_are_read() -> None:
    content = pickle.dumps({"kernel": np.arange(4.0), "pairs": (np.arange(2), [1])})
    loaded = ArrayUnpickler(io.BytesIO(content)).load()
    assert loaded["kernel"].tolist() == [0, 1, 2, 3]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/owned",)


@pytest.mark.parametrize("value", [Evil(), io.BytesIO(), np.random.RandomState], ids=["system", "object", "numpy"])
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(SSCLError, match="refused, only numpy arrays are read"):
        ArrayUnpickler(io.BytesIO(pickle.dumps(value))).load()


def test_a_file_is_made_once_and_again_when_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSCL_CACHE", str(tmp_path / "cache"))
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"right"

    digest = sha256(b"right")
    assert kept("f", digest, make) == kept("f", digest, make) == b"right"
    assert len(made) == 1
    (tmp_path / "cache/f").write_bytes(b"damaged")
    assert kept("f", digest, make) == (tmp_path / "cache/f").read_bytes() == b"right"
    assert len(made) == 2


def test_other_content_than_the_pinned_one_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSCL_CACHE", str(tmp_path))
    with pytest.raises(SSCLError, match=r"f: not the published content \(checksum\)"):
        kept("f", sha256(b"right"), lambda: b"wrong")
    assert not list(tmp_path.iterdir())
