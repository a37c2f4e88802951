"""Hostile and broken models in the sandbox: they end in one line, and nothing outside changes."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from benchmarks.hostile_inputs.base import Place
from benchmarks.hostile_inputs.model_files import (
    Hoards,
    Loops,
    Overwrites,
    Reads,
    Saves,
    endless_onnx,
    exported,
    scripted,
)
from sscl.sandbox import process as module
from sscl.sandbox.frames import BrokenError, receive, send
from sscl.sandbox.process import Sandbox, SandboxError
from sscl.sandbox.servers import Worker

pytestmark = pytest.mark.slow
MEMORY = 4 << 30
IMAGES = np.zeros((2, 1, 28, 28), dtype=np.float32)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        yield


@pytest.mark.parametrize("model", [Reads, Saves, Overwrites])
def test_torchscript_reaches_no_file(model: type[Reads], tmp_path: Path) -> None:
    """The defect: its operators read and write any file of who opens it."""
    target = tmp_path / "secret"
    target.write_bytes(b"secret")
    target.chmod(0o666)
    content = scripted(model(str(target)))
    sandbox = Sandbox("torchscript", content, 60, MEMORY)
    said = "Permission"
    try:  # saving fails silently
        outputs, _ = sandbox.run(IMAGES)
        assert not outputs[0][1].any()
    except SandboxError as error:
        said = str(error)
    assert "ermi" in said
    assert target.read_bytes() == b"secret"
    outside = torch.jit.load(io.BytesIO(content))(torch.zeros(2, 1, 28, 28))  # type: ignore[no-untyped-call]
    assert outside[0].tolist() == list(b"sec") or target.read_bytes() != b"secret"


def test_code_in_an_export_has_no_rights(tmp_path: Path) -> None:
    """The defect: pickles in it ran with all rights of the auditor."""
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()"
    namespace: dict[str, object] = {}
    exec(code, namespace)  # outside, it does what it should not
    assert mark.exists()
    mark.unlink()
    with pytest.raises(SandboxError):
        Sandbox("exported", exported(code), 120, MEMORY).run(IMAGES)
    assert not mark.exists()


def test_a_loop_ends_at_the_limit() -> None:
    sandbox = Sandbox("torchscript", scripted(Loops()), 8, MEMORY)
    started = time.monotonic()
    with pytest.raises(SandboxError, match="did not end within 8 s"):
        sandbox.run(IMAGES)
    assert time.monotonic() - started < 20


def test_memory_is_bounded() -> None:
    with pytest.raises(SandboxError):
        Sandbox("torchscript", scripted(Hoards()), 60, MEMORY).run(IMAGES)


def test_an_onnx_loop_ends_at_the_limit(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="did not end within 3 s"):
        Sandbox("onnx", endless_onnx(Place(tmp_path, tmp_path, "")), 3, MEMORY).run(IMAGES)


def test_onnx_weights_in_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(12))
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=str(tmp_path / "weights"))
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [tensor],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    with pytest.raises(SandboxError):
        Sandbox("onnx", content, 30, MEMORY)


def test_credentials_are_not_in_its_environment(no_servers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    sandbox = Sandbox("torchscript", scripted(Loops()), 60, MEMORY)
    with open(f"/proc/{pid_of(sandbox._worker)}/environ", "rb") as file:
        assert b"very-secret" not in file.read()


def test_errors_of_a_model_are_one_printable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "receive", lambda *_: ({"error": "a\x1b[31m red\nline\u202e"}, b""))
    with pytest.raises(SandboxError) as error:
        Sandbox("onnx", b"", 30, MEMORY)
    assert str(error.value) == "a?[31m red line?"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 16,
        (5).to_bytes(8, "big") + b"{}}}}",
        (2).to_bytes(8, "big") + b"[]",
        (2).to_bytes(8, "big") + b"{}",
        (12).to_bytes(8, "big") + b'{"bytes":-1}',
        (20).to_bytes(8, "big") + b'{"bytes":9999999999}',
        (60_000).to_bytes(8, "big") + b"[" * 60_000,
    ],
)
def test_messages_that_are_none(content: bytes) -> None:
    with pytest.raises(BrokenError):
        receive(io.BytesIO(content), 1000)


@pytest.mark.parametrize(
    "told", [{"shape": [10**9, 3]}, {"shape": ["a"]}, {"shape": 7}, {"dtype": 7}, {"shape": [1] * 9}]
)
def test_what_a_model_says_of_its_input_is_bounded(told: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: the asking side padded its images to a batch of 10^8."""
    monkeypatch.setattr(module, "receive", lambda *_: (told, b""))
    with pytest.raises(SandboxError, match=r"of its input|its input has a dimension"):
        Sandbox("onnx", b"", 30, MEMORY)


def test_messages_go_round() -> None:
    stream = io.BytesIO()
    send(stream, {"shape": [1, 2]}, b"payload")
    stream.seek(0)
    assert receive(stream) == ({"shape": [1, 2], "bytes": 7}, b"payload")


def test_it_ends_with_who_asked() -> None:
    sandbox = Sandbox("onnx", tiny_onnx(), 30, MEMORY)
    pid = pid_of(sandbox._worker)
    del sandbox
    assert ended(pid)


def pid_of(worker: Worker) -> int:
    """The process id, which its descriptor tells."""
    told = Path(f"/proc/self/fdinfo/{worker.process}").read_text()
    return int(told.partition("\nPid:")[2].split()[0])


def ended(pid: int, tries: int = 100) -> bool:
    """Whether a process is gone, within ten seconds."""
    for _ in range(tries):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def tiny_onnx() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
