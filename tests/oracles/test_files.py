"""Exported model files: the same network through every format gives the same answers; hostile files run nothing."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sscl import seeds
from sscl.compute import Compute
from sscl.errors import ConfigError, InputError
from sscl.models import Classifier, build
from sscl.models.io import save_classifier
from sscl.oracles import ORACLES, Context, open_oracle
from sscl.oracles.base import SuspectError, to_probabilities

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model() -> Classifier:
    return build("baseline_cnn", 1, 28, 3, seeds.generator(0, "w")).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return torch.randint(0, 256, (6, 28, 28, 1), generator=seeds.generator(0, "x"), dtype=torch.uint8).numpy()


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
    np.testing.assert_allclose(answers.probabilities, expected.numpy(), atol=1e-5)
    assert len(oracle.identity()["sha256"]) == 64
    with (
        pytest.raises(SuspectError, match=r"expected \(6, 4\)")
        if name != "m.safetensors"
        else pytest.raises(InputError)
    ):
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


def test_a_hostile_export_runs_nothing(files: dict[str, Path], tmp_path: Path, compute: Compute) -> None:
    """Every pickle of the archive replaced by one that runs code: PyTorch's own loader would run it."""
    mark, hostile = tmp_path / "ran", tmp_path / "hostile.pt2"
    bomb = io.BytesIO()
    torch.save(Bomb(mark), bomb)
    with zipfile.ZipFile(files["m.pt2"]) as source, zipfile.ZipFile(hostile, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith(".pt") or "sample_inputs" in info.filename or "/weights/weight_" in info.filename:
                content = bomb.getvalue()
            if info.filename.endswith("weights_config.json"):
                content = (
                    json.dumps(json.loads(content) | {}).replace('"use_pickle": false', '"use_pickle": true').encode()
                )
            target.writestr(info, content)
    with pytest.raises(InputError, match="without running code"):
        open_oracle(str(hostile), Context(NAMES, compute))
    assert not mark.exists()
    with zipfile.ZipFile(hostile, "a") as target:
        target.writestr("m/data/aotinductor/model.so", b"")
    with pytest.raises(InputError, match="compiled code"):
        open_oracle(str(hostile), Context(NAMES, compute))


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
    oracle = open_oracle("tests.oracles.test_files:answer_labels", Context(NAMES, compute))
    answers = oracle.query(np.stack([np.zeros((28, 28, 1)), np.full((28, 28, 1), 255)]).astype(np.uint8))
    assert answers.access == "labels"
    assert answers.valid.tolist() == [False, True]
    assert answers.predictions[1] == 1
    with pytest.raises(SuspectError, match="finite"):
        open_oracle("tests.oracles.test_files:answer_nonsense", Context(NAMES, compute)).query(images)
    with pytest.raises(InputError, match="importable"):
        open_oracle("tests.oracles.test_files:nothing", Context(NAMES, compute))


def test_addresses_of_no_kind_and_unknown_settings(compute: Compute) -> None:
    with pytest.raises(InputError, match="pickles are never opened"):
        open_oracle("model.weights", Context(NAMES, compute))
    with pytest.raises(ConfigError, match="unknown key"):
        open_oracle("http://localhost:1/", Context(NAMES, compute), {"probabilites": "$.p"})


@pytest.mark.parametrize("name", list(ORACLES))
def test_no_kind_takes_anothers_address(name: str) -> None:
    assert [kind for kind in ORACLES if ORACLES[kind].accepts(ORACLES[name].example)] == [name]


def test_outputs_become_probabilities() -> None:
    logits = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(to_probabilities(logits), nn.functional.softmax(torch.tensor(logits), dim=1).numpy())
    np.testing.assert_array_equal(to_probabilities(np.array([[0.2, 0.8]])), [[0.2, 0.8]])
    with pytest.raises(ValueError, match="finite"):
        to_probabilities(np.array([[np.inf, 0.0]]))
