"""The presets for model servers, tried against the real servers.

    python benchmarks/servers.py
    python benchmarks/servers.py --only litserve --only kserve

Each server answers for the same small function of the image. It is started from its PyPI package, in a virtual
environment of its own under ``--root`` unless the package is installed here, and asked with its preset. Rows go to
``docs/results/servers.json``. TorchServe needs Java, and TensorFlow Serving and Hugging Face's server are not on PyPI:
``tf_serving`` is tried on KServe's version of that protocol, and the replies of the other two are the documented ones
(``tests/suspects/test_http.py``).
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from sscl.artifacts import write_json
from sscl.compute import Compute
from sscl.config import ComputeConfig
from sscl.provenance import machine
from sscl.suspects import Context, open_oracle

RESULTS, ROOT = Path("docs/results/servers.json"), Path("runs/servers")
NAMES = ("0", "1", "2")
PATIENCE = 120.0  # seconds in which a server must answer
Row = dict[str, Any]


def answer(images: np.ndarray) -> np.ndarray:
    """Probabilities (N, 3) of images (N, C, H, W) in [0, 1]: what every server here serves."""
    first = images[:, 0, 0, 0] / 2
    return np.stack([first, 0.9 - first, np.full(len(images), 0.1)], axis=1)


@dataclass(frozen=True)
class Server:
    """One package from PyPI.

    Attributes:
        files: what is written for it, by name; ``suspect.py`` with ``answer`` lies beside them.
        command: starts it; ``{python}``, ``{bin}`` and ``{port}`` are filled in.
        asked: path of the address -> preset.
    """

    files: dict[str, str]
    command: tuple[str, ...]
    asked: dict[str, str]


V2 = "/v2/models/suspect/infer"
SERVERS = {
    "bentoml": Server(
        {
            "service.py": """
import bentoml
import numpy as np
from suspect import answer


@bentoml.service
class Suspect:
    @bentoml.api
    def predict(self, input_data: np.ndarray) -> np.ndarray:
        return answer(input_data)
"""
        },
        ("{bin}/bentoml", "serve", "service:Suspect", "--host", "127.0.0.1", "--port", "{port}"),
        {"/predict": "bentoml"},
    ),
    "fastapi": Server(  # by hand, with the JSON of LitServe's documentation
        {
            "server.py": """
import sys

import numpy as np
import uvicorn
from fastapi import FastAPI
from suspect import answer

app = FastAPI()


@app.post("/predict")
def predict(request: dict):
    return {"output": answer(np.array(request["input"])[None])[0].tolist()}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
"""
        },
        ("{python}", "server.py", "{port}"),
        {"/predict": "litserve"},
    ),
    "kserve": Server(
        {
            "server.py": """
import sys

import kserve
import numpy as np
from suspect import answer


class Suspect(kserve.Model):
    def __init__(self):
        super().__init__("suspect")
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, dict):  # TensorFlow Serving's protocol, channels last
            images = np.array(payload["instances"], dtype=float).transpose(0, 3, 1, 2)
            return {"predictions": answer(images).tolist()}
        found = answer(payload.inputs[0].as_numpy())
        output = kserve.InferOutput("y", list(found.shape), "FP64", data=found.flatten().tolist())
        return kserve.InferResponse(payload.id or "0", "suspect", [output])


kserve.ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([Suspect()])
"""
        },
        ("{python}", "server.py", "{port}"),
        {V2: "kserve_v2", "/v1/models/suspect:predict": "tf_serving"},
    ),
    "litserve": Server(
        {
            "server.py": """
import sys

import litserve
import numpy as np
from suspect import answer


class Suspect(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return np.array(request["input"])

    def predict(self, image):
        return answer(image[None])[0].tolist()

    def encode_response(self, output):
        return {"output": output}


if __name__ == "__main__":
    server = litserve.LitServer(Suspect(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
"""
        },
        ("{python}", "server.py", "{port}"),
        {"/predict": "litserve"},
    ),
    "mlserver": Server(
        {
            "model.py": """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from suspect import answer


class Suspect(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        found = answer(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", found)])
""",
            "model-settings.json": '{"name": "suspect", "implementation": "model.Suspect"}',
            "settings.json": '{"host": "127.0.0.1", "http_port": PORT, "grpc_port": 0, "parallel_workers": 0}',
        },
        ("{bin}/mlserver", "start", "."),
        {V2: "kserve_v2"},
    ),
}


def installed(package: str, root: Path) -> Path:
    """The Python that has the package: this one, or one of a virtual environment that is made under ``root``."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        place = root / f"{package}-environment"
        if not (place / "ready").is_file():
            venv.create(place, with_pip=True, clear=True)
            subprocess.run([place / "bin/pip", "install", "-q", package, "numpy"], check=True)
            (place / "ready").touch()
        return place.resolve() / "bin/python"
    return Path(sys.executable)


@contextmanager
def serving(server: Server, python: Path, folder: Path) -> Iterator[str]:
    """The server on a free port of loopback, until the context ends; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    source = f"from __future__ import annotations\n\nimport numpy as np\n\n\n{inspect.getsource(answer)}"
    for name, text in {**server.files, "suspect.py": source}.items():
        (folder / name).write_text(text.replace("PORT", str(port)))
    command = [part.format(python=python, bin=python.parent, port=port) for part in server.command]
    given = {**os.environ, "PYTHONPATH": str(folder.resolve()), "BENTOML_DO_NOT_TRACK": "1"}
    with (
        open(folder / "log.txt", "w") as log,
        subprocess.Popen(command, cwd=folder, env=given, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def tried(address: str, preset: str, count: int) -> Row:
    """How far a server's answers, asked with a preset, are from what it serves."""
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    compute = Compute.set_up(ComputeConfig("cpu", threads=None, bf16=False, channels_last=False, compile=False))
    oracle = open_oracle(address, Context(NAMES, compute), {"preset": preset})
    started = time.perf_counter()
    found = oracle.query(images).values
    seconds = time.perf_counter() - started
    apart = float(np.abs(found - answer(images.transpose(0, 3, 1, 2) / 255)).max())
    return {"preset": preset, "images": count, "largest_difference": apart, "seconds": round(seconds, 3)}


def main(
    only: Annotated[list[str] | None, typer.Option(help="Servers.  [default: all]")] = None,
    count: Annotated[int, typer.Option(help="Images that are asked about.")] = 50,
    root: Annotated[Path, typer.Option(help="Where environments and servers' files are kept.")] = ROOT,
    results: Annotated[Path, typer.Option(help="Where the rows go.")] = RESULTS,
) -> None:
    """Start each server and ask it with its preset; fails if an answer is off by more than rounding."""
    rows: list[Row] = []
    for name in only or SERVERS:
        server, python = SERVERS[name], installed(name, root)
        code = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
        version = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
        with serving(server, python, root / name) as address:
            _wait(address, root / name / "log.txt")
            for path, preset in server.asked.items():
                rows.append(
                    {"server": name, "version": version, "machine": machine(), **tried(address + path, preset, count)}
                )
                print(json.dumps({key: rows[-1][key] for key in rows[-1] if key != "machine"}), flush=True)
                write_json(results, rows)
    if any(row["largest_difference"] > 1e-5 for row in rows):
        raise typer.Exit(1)


def _wait(address: str, log: Path) -> None:
    """Until the server answers anything at all."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            httpx.get(address, timeout=1)
            return
        except httpx.TransportError:
            time.sleep(0.3)
    raise SystemExit(f"{address}: no answer in {PATIENCE:.0f} s; see {log}")


if __name__ == "__main__":
    typer.run(main)
