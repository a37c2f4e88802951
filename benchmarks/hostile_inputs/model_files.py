"""Model files that run code, read and write files, loop, or take all memory; and what is no model file."""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.hostile_inputs.base import Input, Place, asked
from sscl.artifacts import save_tensors

Maker = Callable[[Place], bytes]
QUICK: dict[str, Any] = {"seconds": 20}


class Reads(nn.Module):
    """Answers with the bytes of a file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_file(self.path, False, 3, dtype=torch.uint8).float().expand(x.shape[0], 3)


class Overwrites(Reads):
    """Writes a file through a shared mapping."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_file(self.path, True, 6, dtype=torch.uint8).fill_(7).float()[:3].expand(x.shape[0], 3)


class Saves(Reads):
    """Saves a tensor over a file."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return x.flatten(1)[:, :3]


class Loops(nn.Module):
    """Does not end."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum()
        while bool(total < 1):
            total = total * 0
        return x.flatten(1)


class Hoards(nn.Module):
    """Takes 64 GiB."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(1 << 34).sum().expand(x.shape[0], 3)


class Shouts(nn.Module):
    """Fails with words that would change a terminal."""

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() < 1):
            raise RuntimeError("\x1b[2J\x1b[31mVALID :skull:")
        return x


def scripted(model: nn.Module) -> bytes:
    """A TorchScript file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        torch.jit.save(torch.jit.script(model), buffer)
    return buffer.getvalue()


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (self.code,))


class Three(nn.Module):
    """A harmless model."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3]


def exported(code: str) -> bytes:
    """A ``torch.export`` archive of which every pickle runs code."""
    plain, bomb, hostile = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.export.save(torch.export.export(Three(), (torch.zeros(2, 1, 28, 28),)), plain)
    torch.save(Bomb(code), bomb)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(hostile, "w") as target:
        for info in source.infolist():
            loaded = info.filename.endswith(".pt") or "sample_inputs" in info.filename
            content = bomb.getvalue() if loaded else source.read(info)
            if info.filename.endswith("weights_config.json"):
                content = json.dumps(json.loads(content)).replace('"use_pickle": false', '"use_pickle": true').encode()
            target.writestr(info, content)
    return hostile.getvalue()


def onnx_model(nodes: list[onnx.NodeProto], initial: list[onnx.TensorProto]) -> bytes:
    """A graph from ``x`` (n, 1, 28, 28) to ``y``."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [found], initial)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )


def endless_onnx(_: Place) -> bytes:
    """A loop of 2^62 turns."""
    one: list[Any] = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("a", TensorProto.FLOAT, None)]
    two: list[Any] = [("again", TensorProto.BOOL, []), ("b", TensorProto.FLOAT, None)]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Identity", ["a"], ["b"])],
        "body",
        [helper.make_tensor_value_info(*entry) for entry in one],
        [helper.make_tensor_value_info(*entry) for entry in two],
    )
    initial = [
        helper.make_tensor("turns", TensorProto.INT64, [], [1 << 62]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
    ]
    return onnx_model([helper.make_node("Loop", ["turns", "yes", "x"], ["y"], body=body)], initial)


def outside_weights(place: Place) -> bytes:
    """Weights that are said to be in another file."""
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=str(place.canary))
    return onnx_model([helper.make_node("Add", ["x", "w"], ["y"])], [tensor])


def huge_onnx(_: Place) -> bytes:
    """An output of a terabyte."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [1 << 38])
    return onnx_model([helper.make_node("ConstantOfShape", ["shape"], ["y"])], [shape])


def tried(suffix: str, make: Maker, settings: dict[str, Any] | None = QUICK) -> Callable[[Place], str]:
    def attempt(place: Place) -> str:
        path = place.folder / f"model{suffix}"
        path.write_bytes(make(place))
        return asked(place, str(path), settings)

    return attempt


def sizes(**changes: object) -> Callable[[Place], str]:
    def attempt(place: Place) -> str:
        path = place.folder / "model.safetensors"
        usual = {"model": "mlp", "channels": 1, "size": 28, "classes": 3}
        save_tensors(path, {"w": torch.zeros(1)}, usual | changes)
        return asked(place, str(path))

    return attempt


def nested(place: Place) -> bytes:
    """Weights whose metadata is nested deeper than a reader can follow."""
    made = place.folder / "nested.safetensors"
    save_file({"w": torch.zeros(1)}, made, {"sscl": "[" * 100_000})
    return made.read_bytes()


def at(address: Callable[[Place], str], settings: dict[str, Any] | None = None) -> Callable[[Place], str]:
    return lambda place: asked(place, address(place), settings)


def pipe(place: Place) -> str:
    os.mkfifo(place.folder / "model.onnx")
    return str(place.folder / "model.onnx")


def link(target: str, name: str) -> Callable[[Place], str]:
    def make(place: Place) -> str:
        (place.folder / name).symlink_to(target)
        return str(place.folder / name)

    return make


def writes(place: Place) -> str:
    return f"open({str(place.canary)!r}, 'w').write('x')"


REFUSED, HELD = "^refused: ", r"^refused: |^\d of 4 answered"  # a model may answer what it likes; the canary decides
INPUTS = [
    Input("TorchScript that reads a file", "model file", REFUSED, tried(".ts", lambda p: scripted(Reads(str(p.canary))))),
    Input("TorchScript that maps a file", "model file", REFUSED, tried(".ts", lambda p: scripted(Overwrites(str(p.canary))))),
    Input("TorchScript that saves a file", "model file", HELD, tried(".ts", lambda p: scripted(Saves(str(p.canary))))),
    Input("TorchScript that reads the kernel's memory", "model file", REFUSED, tried(".ts", lambda p: scripted(Reads("/dev/mem")))),
    Input("TorchScript that loops", "model file", "did not end within 5 s", tried(".ts", lambda p: scripted(Loops()), {"seconds": 5}), slow=True),
    Input("TorchScript that takes all memory", "model file", REFUSED, tried(".ts", lambda p: scripted(Hoards()))),
    Input("TorchScript with terminal codes in an error", "model file", r"^refused: [^\x1b]*$", tried(".ts", lambda p: scripted(Shouts()))),
    Input("pickle in an export that writes a file", "model file", HELD, tried(".pt2", lambda p: exported(writes(p)))),
    Input("pickle in an export that starts a program", "model file", HELD, tried(".pt2", lambda p: exported(f"import os; os.system('echo x > {p.canary}')"))),
    Input("pickle in an export that kills its parent", "model file", HELD, tried(".pt2", lambda p: exported("import os; os.kill(os.getppid(), 9)"))),
    Input("pickle in an export that opens a socket", "model file", HELD, tried(".pt2", lambda p: exported("import socket; socket.create_connection(('127.0.0.1', 22))"))),
    Input("ONNX that loops", "model file", "did not end within 3 s", tried(".onnx", endless_onnx, {"seconds": 3}), slow=True),
    Input("ONNX with weights in another file", "model file", REFUSED, tried(".onnx", outside_weights)),
    Input("ONNX with a terabyte as output", "model file", REFUSED, tried(".onnx", huge_onnx)),
    Input("ONNX that is cut off", "model file", REFUSED, tried(".onnx", lambda p: endless_onnx(p)[:50])),
    Input("pickle named .onnx", "model file", REFUSED, tried(".onnx", lambda p: pickle.dumps(Bomb(writes(p))))),
    Input("pickle named .safetensors", "model file", REFUSED, tried(".safetensors", lambda p: pickle.dumps(Bomb(writes(p))), None)),
    Input("pickle named .pt", "model file", "pickles are never opened", tried(".pt", lambda p: pickle.dumps(Bomb(writes(p))), None)),
    Input("classifier of a billion pixels", "model file", REFUSED, sizes(size=10**9)),
    Input("classifier of a trillion classes", "model file", REFUSED, sizes(classes=10**12)),
    Input("classifier of a list of models", "model file", REFUSED, sizes(model=[])),
    Input("classifier with a hundred thousand brackets", "model file", REFUSED, tried(".safetensors", nested, None)),
    Input("classifier of text channels", "model file", REFUSED, sizes(channels="1")),
    Input("pipe named .onnx", "model file", "not a regular file", at(pipe)),
    Input("device named .ts", "model file", "not a regular file", at(link("/dev/zero", "model.ts"))),
    Input("folder named .pt2", "model file", "not a regular file", at(link("/etc", "model.pt2"))),
    Input("device named .safetensors", "model file", "not a regular file", at(link("/dev/zero", "model.safetensors"))),
    Input("link to nothing", "model file", "No such file", at(link("/nowhere", "model.onnx"))),
    Input("password in an address", "address", r"^refused: [^@]*has a password", at(lambda _: "HTTPS://user:pw@host/predict", {"probabilities": "$.p"})),
    Input("password in an ftp address", "address", r"^refused: ftp://host/x: no address", at(lambda _: "ftp://user:p@w@host/x")),
    Input("terminal codes in an address", "address", r"^refused: [^\x1b]*$", at(lambda _: "\x1b[2Jmodel")),
    Input("module that is not there", "address", "importable from here", at(lambda _: "no_such_module:predict")),
]  # fmt: skip
