"""Exports as people make them: each gives the model's answers, or one line that names the key to set."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sscl.compute import Compute
from sscl.errors import ConfigError, InputError, SuspectError
from sscl.models import Classifier
from sscl.parsing import parse
from sscl.sandbox.process import SandboxError
from sscl.suspects import Context, open_oracle
from sscl.suspects.model_file import FileOptions, _Input

pytestmark = pytest.mark.slow
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def expected(model: Classifier, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).softmax(dim=1).numpy()
    return np.asarray(found)


def test_a_runtime_that_is_not_installed_says_what_to_install(
    tmp_path: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Mock(side_effect=SandboxError("No module named 'onnxruntime'"))
    monkeypatch.setattr("sscl.suspects.model_file.Sandbox", missing)
    (tmp_path / "m.onnx").write_bytes(b"model")
    with pytest.raises(InputError, match=r"m\.onnx: cannot be opened: No module.*; pip install '\.\[onnx\]'"):
        open_oracle(str(tmp_path / "m.onnx"), Context(NAMES, compute))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Export(nn.Module):
    """The model as its owner wraps it."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, x: Tensor) -> Any:
        if self.kind == "bytes nhwc":
            return self.model(x.permute(0, 3, 1, 2).float() / 255)
        if self.kind == "normalised outside":
            return self.model(x * 0.25 + 0.5)
        if self.kind == "three channels":
            return self.model(x[:, :1])
        y = self.model(x)
        if self.kind == "softmax":
            return y.softmax(1)
        if self.kind == "eight bits":
            return torch.clamp(torch.round(y.softmax(1) * 256), 0, 255) / 256
        if self.kind == "half":
            return y.softmax(1).half()
        if self.kind == "percent":
            return y.softmax(1) * 100
        return y


EXAMPLES = {"bytes nhwc": torch.zeros(1, 28, 28, 1, dtype=torch.uint8), "three channels": torch.zeros(1, 3, 28, 28)}
ONNX = {  # kind -> settings that its file does not tell
    "plain": {},
    "softmax": {},
    "eight bits": {},
    "half": {},
    "percent": {},
    "bytes nhwc": {},
    "three channels": {},
    "normalised outside": {"mean": [0.5], "std": [0.25]},
}


def to_onnx(model: nn.Module, path: Path, example: Tensor, fixed: bool = False) -> Path:
    dynamic = None if fixed else {"x": {0: "n"}, "y": {0: "n"}}
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": dynamic}
    torch.onnx.export(model, (example,), path, dynamo=False, **names)
    return path


@pytest.mark.parametrize("kind", ONNX)
@pytest.mark.parametrize("fixed", [False, True], ids=["any batch", "batch of one"])
def test_onnx(
    kind: str,
    fixed: bool,
    model: Classifier,
    images: np.ndarray,
    expected: np.ndarray,
    tmp_path: Path,
    compute: Compute,
) -> None:
    example = EXAMPLES.get(kind, torch.zeros(1, 1, 28, 28))
    path = to_onnx(Export(model, kind).eval(), tmp_path / "m.onnx", example, fixed)
    oracle = open_oracle(str(path), Context(NAMES, compute), ONNX[kind])
    answers = oracle.query(images)
    np.testing.assert_allclose(answers.values, expected, atol=0.01 if kind in ("eight bits", "half") else 1e-4)
    assert oracle.interface["scale"] == (
        "probabilities" if kind in ("softmax", "eight bits", "half") else "percent" if kind == "percent" else "logits"
    )


def test_a_batch_that_needs_too_much_memory_is_refused(
    model: Classifier, images: np.ndarray, tmp_path: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect: missing images of a fixed batch were padded in this process, whatever the batch."""
    path = to_onnx(Export(model, "logits").eval(), tmp_path / "m.onnx", torch.zeros(8, 1, 28, 28), True)
    monkeypatch.setattr("sscl.suspects.model_file.MOST_SENT", 8 * 28 * 28 * 4 - 1)
    with pytest.raises(InputError, match=r"takes 8 images at a time, 0 MiB, .* export it for any number of images"):
        open_oracle(str(path), Context(NAMES, compute), {}).query(images)
    path = to_onnx(Export(model, "logits").eval(), tmp_path / "any.onnx", torch.zeros(1, 1, 28, 28), False)
    assert len(open_oracle(str(path), Context(NAMES, compute), {}).query(images)) == len(images)


def test_the_scale_is_decided_once(model: Classifier, images: np.ndarray, tmp_path: Path, compute: Compute) -> None:
    """The defect: a batch whose rounded rows add up to 0.998 got a second softmax, and the others none."""
    path = to_onnx(Export(model, "eight bits").eval(), tmp_path / "m.onnx", torch.zeros(1, 1, 28, 28))
    oracle = open_oracle(str(path), Context(NAMES, compute))
    whole = oracle.query(images).values
    parts = [oracle.query(images[i : i + 1]).values for i in range(len(images))]
    np.testing.assert_allclose(np.concatenate(parts), whole)


class Remembers(nn.Module):
    """Reacts to what it is asked first, and says nothing new afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        bright = x.flatten(1).mean(1)
        return torch.stack((bright, bright, torch.zeros_like(bright) + 100 * (self.asked - 1)), 1)


def test_a_file_that_remembers_images_has_none_to_remember(
    images: np.ndarray, tmp_path: Path, compute: Compute
) -> None:
    """The defect: it could answer a marked image as it had answered the same one without a mark."""
    path = tmp_path / "m.ts"
    torch.jit.script(Remembers().eval()).save(path)
    oracle = open_oracle(str(path), Context(NAMES, compute), {"scale": "logits"})
    without, marked = oracle.query(images).values, oracle.query(images).values
    np.testing.assert_array_equal(marked, without)


class Several(nn.Module):
    def __init__(self, model: nn.Module, named: bool) -> None:
        super().__init__()
        self.model, self.named = model, named

    def forward(self, x: Tensor) -> Any:
        y = self.model(x)
        return {"features": x.flatten(1), "logits": y} if self.named else (y.argmax(1), y)


@pytest.mark.parametrize("named", [False, True], ids=["tuple", "dict"])
@pytest.mark.parametrize("suffix", ["ts", "pt2"])
def test_several_outputs(
    suffix: str,
    named: bool,
    model: Classifier,
    images: np.ndarray,
    expected: np.ndarray,
    tmp_path: Path,
    compute: Compute,
) -> None:
    path, wrapped, example = tmp_path / f"m.{suffix}", Several(model, named).eval(), torch.zeros(4, 1, 28, 28)
    if suffix == "ts":
        torch.jit.trace(wrapped, example, strict=False).save(str(path))
    else:
        torch.export.save(torch.export.export(wrapped, (example,)), path)
    answers = open_oracle(str(path), Context(NAMES, compute)).query(images)
    np.testing.assert_allclose(answers.values, expected, atol=1e-5)
    if suffix == "ts":
        name = "logits" if named else "1"
        chosen = open_oracle(str(path), Context(NAMES, compute), {"output": name}).query(images)
        np.testing.assert_allclose(chosen.values, expected, atol=1e-5)
        with pytest.raises(SuspectError, match=r"no output nothing of shape \(6, 3\).*it gives .*\(6, 3\)"):
            open_oracle(str(path), Context(NAMES, compute), {"output": "nothing"}).query(images)


def test_images_that_the_model_does_not_take(
    model: Classifier, images: np.ndarray, tmp_path: Path, compute: Compute
) -> None:
    path = tmp_path / "m.ts"
    torch.jit.trace(Export(model, "bytes nhwc").eval(), EXAMPLES["bytes nhwc"]).save(str(path))
    with pytest.raises(SuspectError, match=r"does not take float32 \(6, 1, 28, 28\): .*; set layout, values"):
        open_oracle(str(path), Context(NAMES, compute)).query(images)
    settings = {"layout": "nhwc", "values": "bytes"}
    assert open_oracle(str(path), Context(NAMES, compute), settings).query(images).valid.all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"values": "unit"}, r"oracle\.values: the model takes uint8, .* expected values: bytes"),
        ({"mean": [0.5]}, r"oracle\.values: the model takes uint8, .* no mean or std"),
        ({"values": "bytes", "std": [0.5]}, r"oracle\.values: the model takes uint8"),
    ],
)
def test_settings_that_would_turn_bytes_into_noise(settings: dict[str, Any], message: str) -> None:
    """The defect: such a model saw black images, and looked innocent."""
    options = parse(FileOptions, settings, "oracle")
    with pytest.raises(ConfigError, match=message):
        _Input.of(options, [None, 1, 28, 28], "uint8")
    assert _Input.of(options, [None, 1, 28, 28], "float32").dtype == "float32"


def test_a_mean_has_one_number_or_one_a_channel() -> None:
    with pytest.raises(ConfigError, match=r"oracle\.mean: 2 numbers, expected one, or 3, one a channel"):
        _Input.of(FileOptions(mean=(0.1, 0.2)), [None, 3, 32, 32], "float32")
    assert _Input.of(FileOptions(mean=(0.1, 0.2, 0.3), std=(0.5,)), [None, 3, 32, 32], "float32").mean


@pytest.mark.parametrize("settings", [{"layout": "hwc"}, {"scale": "odds"}, {"channels": 2}, {"seconds": 0}])
def test_wrong_settings(settings: dict[str, Any], model: Classifier, tmp_path: Path, compute: Compute) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, torch.zeros(1, 1, 28, 28)), buffer)  # type: ignore[no-untyped-call]
    (tmp_path / "m.ts").write_bytes(buffer.getvalue())
    with pytest.raises(ConfigError, match=next(iter(settings))):
        open_oracle(str(tmp_path / "m.ts"), Context(NAMES, compute), settings)
