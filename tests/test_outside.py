"""Files from outside the output root count in a stage's key by content, wherever the driver starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sscl import params
from sscl.config import Config
from sscl.errors import InputError
from sscl.outside import contents, settings
from sscl.params import rebased
from sscl.stages.table import ALL


@pytest.fixture
def outside(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A configuration with a key, a dataset and weights in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release.key").write_bytes(bytes(32))
    (tmp_path / "weights.safetensors").write_bytes(b"one")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"an image")
    data = replace(config.data, path="images")
    start = replace(config.surrogate, start="weights.safetensors")
    return replace(config, key_file="release.key", data=data, surrogate=start)


@pytest.mark.parametrize("name", list(ALL))
def test_the_folder_that_a_driver_starts_from_does_not_count(name: str, outside: Config, tmp_path: Path) -> None:
    """The flow makes paths absolute, and DVC does not."""
    stage, absolute = ALL[name], rebased(outside, tmp_path)
    assert absolute.key_file != outside.key_file
    assert settings(absolute, stage) == settings(outside, stage)
    assert contents(absolute, stage, Path()) == contents(outside, stage, tmp_path)


def test_another_content_is_another_key(outside: Config, tmp_path: Path) -> None:
    stage = ALL["generator@release"]
    before = contents(outside, stage, tmp_path)
    assert set(before) == {"key_file", "surrogate.start"}
    (tmp_path / "release.key").write_bytes(bytes(31) + b"\1")
    (tmp_path / "weights.safetensors").write_bytes(b"two")
    after = contents(outside, stage, tmp_path)
    assert before["key_file"] != after["key_file"]
    assert before["surrogate.start"] != after["surrogate.start"]
    files = contents(outside, ALL["prepare"], tmp_path)
    (tmp_path / "images" / "b.png").write_bytes(b"another")
    assert contents(outside, ALL["prepare"], tmp_path) != files


def test_an_own_networks_file_counts(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_nets.py").write_text("def net(channels, size, classes): ...")
    own = replace(config, user=replace(config.user, model="some_nets:net"))
    before = contents(own, ALL["simulate@malicious"], tmp_path)
    (tmp_path / "some_nets.py").write_text("def net(channels, size, classes): return None")
    assert before != contents(own, ALL["simulate@malicious"], tmp_path)


def test_missing_weights_are_named(outside: Config, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"weights\.safetensors: no such file; expected the weights that `start` names"
    ):
        contents(outside, ALL["surrogate"], tmp_path)


def test_a_key_or_none_is_a_difference(config: Config) -> None:
    stage = ALL["commit"]
    assert settings(config, stage) != settings(replace(config, key_file="release.key"), stage)
    assert settings(params.load(), stage) == settings(params.load(), stage)
