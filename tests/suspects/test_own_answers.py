"""Suspects with classes of their own, and encoders: asked where the committed statistic is attraction."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from sscl.compute import Compute
from sscl.errors import ConfigError, InputError, SuspectError
from sscl.models import build
from sscl.models.features import all_features
from sscl.models.io import save_classifier
from sscl.suspects import Context, open_oracle
from sscl.suspects.base import Oracle

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1), dtype=np.uint8)


@pytest.fixture
def own(compute: Compute) -> Context:
    return Context(None, compute)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    save_classifier(path, build("resnet8", 1, 28, classes=7, generator=torch.Generator().manual_seed(0)).eval())
    return path


def test_a_classifier_answers_with_its_own_classes(model: Path, own: Context) -> None:
    oracle = open_oracle(str(model), own)
    assert oracle.query(IMAGES).values.shape == (6, 7)
    assert oracle.class_names == tuple("0123456")


def test_a_classifier_gives_its_features(model: Path, own: Context, compute: Compute) -> None:
    oracle = open_oracle(str(model), own, {"output": "features"})
    answers = oracle.query(IMAGES)
    network = build("resnet8", 1, 28, classes=7, generator=torch.Generator().manual_seed(0)).eval()
    expected = all_features(network, torch.from_numpy(IMAGES).permute(0, 3, 1, 2), compute)
    assert answers.access == "features"
    np.testing.assert_allclose(answers.values, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert oracle.interface == {"output": "features"}


class Exported(torch.nn.Module):
    """An encoder as people export one: mean colour of each quarter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def test_an_onnx_encoder(own: Context, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    example = (torch.zeros(1, 1, 28, 28),)
    axes = {"x": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that most files in the field were made by
        torch.onnx.export(Exported(), example, path, dynamo=False, dynamic_axes=axes, input_names=["x"])
    answers = open_oracle(str(path), own, {"scale": "features"}).query(IMAGES)
    expected = (IMAGES / 255.0).reshape(6, 2, 14, 2, 14).mean(axis=(2, 4)).reshape(6, 4)
    assert answers.access == "features"
    np.testing.assert_allclose(answers.values, expected, atol=1e-5)


def api(monkeypatch: pytest.MonkeyPatch, own: Context, reply: Any, **settings: Any) -> Oracle:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=reply))
    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **given: client(transport=transport, **given))
    return open_oracle("http://host/embed", own, settings)


def test_an_embedding_api(monkeypatch: pytest.MonkeyPatch, own: Context) -> None:
    reply = {"data": [{"embedding": [0.5, -1.5, 3.0]}]}
    settings = {"probabilities": "$.data[0].embedding", "scale": "features", "columns": 3}
    oracle = api(monkeypatch, own, reply, **settings)
    answers = oracle.query(IMAGES[:2])
    assert answers.access == "features"
    assert answers.values.tolist() == [[0.5, -1.5, 3.0]] * 2


def test_labels_of_another_task(monkeypatch: pytest.MonkeyPatch, own: Context) -> None:
    oracle = api(monkeypatch, own, {"label": "truck"}, labels="$.label", columns=["car", "truck"])
    assert oracle.query(IMAGES[:2]).values.tolist() == [[0.0, 1.0]] * 2
    assert oracle.class_names == ("car", "truck")


def test_an_api_of_its_own_answers_must_say_how_many(monkeypatch: pytest.MonkeyPatch, own: Context) -> None:
    with pytest.raises(ConfigError, match=r"oracle\.columns: missing; say how many numbers an answer has"):
        api(monkeypatch, own, {}, probabilities="$.p")


@pytest.mark.parametrize("columns", [0, 10**9, ["a"], ["a", "a"], "ten", True, [1, 2]])
def test_impossible_columns(columns: Any, monkeypatch: pytest.MonkeyPatch, own: Context) -> None:
    with pytest.raises(
        ConfigError, match=r"oracle\.columns: .* is not possible, expected a number, or different class"
    ):
        api(monkeypatch, own, {}, probabilities="$.p", columns=columns)


def test_probabilities_are_not_called_features(monkeypatch: pytest.MonkeyPatch, own: Context) -> None:
    """Who could choose between the two would have two tries."""
    oracle = api(monkeypatch, own, {"p": [0.25, 0.75]}, probabilities="$.p", scale="features", columns=2)
    with pytest.raises(SuspectError, match="these features are probabilities; audit them as such"):
        oracle.query(IMAGES[:1])


def labels(images: np.ndarray) -> np.ndarray:
    return np.zeros(len(images), dtype=np.int64)


def test_a_function_that_answers_labels_must_say_how_many(own: Context) -> None:
    address = f"{__name__}:labels"
    with pytest.raises(InputError, match="answers labels; set columns, their number, in the --oracle file"):
        open_oracle(address, own).query(IMAGES)
    assert open_oracle(address, own, {"columns": 4}).query(IMAGES).values.shape == (6, 4)


def test_the_width_of_answers_does_not_change(monkeypatch: pytest.MonkeyPatch, own: Context, model: Path) -> None:
    oracle = open_oracle(str(model), own)
    oracle.query(IMAGES)
    oracle.width = 5
    with pytest.raises(SuspectError, match=r"answers of shape \(6, 7\), expected \(6, 5\) \(images, as before\)"):
        oracle.query(IMAGES)
