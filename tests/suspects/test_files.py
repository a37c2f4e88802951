"""Exported model files: the same network through every format gives the same answers; hostile files run nothing."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sscl.artifacts import save_tensors
from sscl.compute import Compute
from sscl.errors import ConfigError, InputError, SuspectError
from sscl.models import Classifier
from sscl.models.io import save_classifier
from sscl.suspects import Context, open_oracle
from sscl.suspects.base import shown

pytestmark = pytest.mark.slow
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def files(model: Classifier, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    example = torch.zeros(2, 1, 28, 28)
    save_classifier(folder / "m.safetensors", model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, example).save(str(folder / "m.ts"))
        batch = torch.export.Dim("batch")
        torch.export.save(torch.export.export(model, (example,), dynamic_shapes=({0: batch},)), folder / "m.pt2")
        torch.export.save(torch.export.export(model, (torch.zeros(4, 1, 28, 28),)), folder / "fixed.pt2")
        torch.onnx.export(
            model, (example,), folder / "m.onnx", dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
        )
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["m.safetensors", "m.ts", "m.pt2", "fixed.pt2", "m.onnx"])
def test_every_format_gives_the_models_answers(
    name: str, files: dict[str, Path], model: Classifier, images: np.ndarray, compute: Compute
) -> None:
    oracle = open_oracle(str(files[name]), Context(NAMES, compute))
    answers = oracle.query(images)
    with torch.no_grad():
        expected = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).softmax(dim=1)
    np.testing.assert_allclose(answers.values, expected.numpy(), atol=1e-5)
    assert len(oracle.identity()["sha256"]) == 64
    with pytest.raises(SuspectError, match=r"no output") if name != "m.safetensors" else pytest.raises(InputError):
        open_oracle(str(files[name]), Context((*NAMES, "d"), compute)).query(images)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".ts", ".safetensors"])
def test_damaged_files_are_one_line(suffix: str, tmp_path: Path, compute: Compute) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=str(path)):
        open_oracle(str(path), Context(NAMES, compute))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


def test_pickles_are_never_opened(tmp_path: Path, compute: Compute) -> None:
    mark = tmp_path / "ran"
    for name in ("m.pkl", "m.pt", "m.pth", "m.safetensors", "m.onnx", "m.ts"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises(InputError):
            open_oracle(str(tmp_path / name), Context(NAMES, compute))
    assert not mark.exists()


def answer_labels(images: np.ndarray) -> np.ndarray:
    return np.where(images.mean(axis=(1, 2, 3)) > 127, 1, -1)


def answer_nonsense(images: np.ndarray) -> np.ndarray:
    return np.full((len(images), 3), np.nan)


def test_callables(images: np.ndarray, compute: Compute) -> None:
    oracle = open_oracle("tests.suspects.test_files:answer_labels", Context(NAMES, compute))
    answers = oracle.query(np.stack([np.zeros((28, 28, 1)), np.full((28, 28, 1), 255)]).astype(np.uint8))
    assert answers.access == "labels"
    assert answers.valid.tolist() == [False, True]
    assert answers.predictions[1] == 1
    with pytest.raises(SuspectError, match="finite"):
        open_oracle("tests.suspects.test_files:answer_nonsense", Context(NAMES, compute)).query(images)
    with pytest.raises(InputError, match="importable"):
        open_oracle("tests.suspects.test_files:nothing", Context(NAMES, compute))


def test_addresses_of_no_kind_and_unknown_settings(compute: Compute) -> None:
    with pytest.raises(InputError, match="pickles are never opened"):
        open_oracle("model.weights", Context(NAMES, compute))
    with pytest.raises(ConfigError, match="unknown key"):
        open_oracle("http://localhost:1/", Context(NAMES, compute), {"probabilites": "$.p"})


def test_a_function_in_the_current_folder(tmp_path: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suspect_in_a_file.py").write_text("import numpy\npredict = lambda x: numpy.zeros(len(x), dtype=int)\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    answers = open_oracle("suspect_in_a_file:predict", Context(NAMES, compute)).query(np.zeros((2, 8, 8, 1), np.uint8))
    assert answers.predictions.tolist() == [0, 0]
    assert sys.path == before


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".ts", ".safetensors"])
def test_what_is_no_file_is_not_read(suffix: str, tmp_path: Path, compute: Compute) -> None:
    pipe, folder, device = (tmp_path / f"{name}{suffix}" for name in ("pipe", "folder", "device"))
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    for path in (pipe, folder, device, tmp_path / f"missing{suffix}"):
        with pytest.raises(InputError, match=str(path)):
            open_oracle(str(path), Context(NAMES, compute))


@pytest.mark.parametrize("changes", [{"size": 10**9}, {"classes": 10**12}, {"channels": 10**6}, {"size": "28"}])
def test_sizes_that_no_model_has(changes: dict[str, Any], model: Classifier, tmp_path: Path, compute: Compute) -> None:
    path = tmp_path / "m.safetensors"
    sizes = {"model": "baseline_cnn", "channels": 1, "size": 28, "classes": 3}
    save_tensors(path, dict(model.state_dict()), sizes | changes)
    with pytest.raises(InputError, match=str(path)):
        open_oracle(str(path), Context(NAMES, compute))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("HTTPS://user:pw@host/p?key=k", "HTTPS://host/p"),
        ("ftp://user:p@w@host/x", "ftp://host/x"),
        ("model\x1b[31m.bin", "model?[31m.bin"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, expected: str, compute: Compute) -> None:
    assert shown(address) == expected
    with pytest.raises((InputError, ConfigError)) as error:
        open_oracle(address, Context(NAMES, compute))
    assert "pw" not in str(error.value)
    assert "p@w" not in str(error.value)
    assert "\x1b" not in str(error.value)
