"""A suspect's API on this machine, to try an audit on.

    python -m examples.suspect_server out/models/malicious/model.safetensors --port 8000
    sscl audit http://127.0.0.1:8000/predict --out out --oracle examples/api.yaml --bundle evidence.zip

It answers a multipart image with probabilities, labels and scores; ``fault`` makes it misbehave, for tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from sscl.compute import Compute
from sscl.config import ComputeConfig
from sscl.data.codec import RefusedImageError, decode
from sscl.models.io import load_classifier
from sscl.suspects import Context, open_oracle

Predict = Callable[[np.ndarray], np.ndarray]
Fault = Callable[[int, dict[str, Any]], Response | dict[str, Any] | None]


def make_app(predict: Predict, fault: Fault | None = None) -> FastAPI:
    """The API.

    Args:
        predict: uint8 (N, H, W, C) to probabilities (N, K).
        fault: called with the request's number and the answer; may return another answer or a whole response.
    """
    app = FastAPI()
    app.state.count = 0

    @app.post("/predict")
    async def answer(request: Request) -> Any:
        app.state.count = number = app.state.count + 1
        app.state.authorization = request.headers.get("Authorization")
        async with request.form() as form:
            upload = form["file"]
            content = upload if isinstance(upload, str) else await upload.read()
        try:
            pixels = decode(content.encode() if isinstance(content, str) else content)
        except RefusedImageError as error:
            return Response(str(error), status_code=422)
        image = pixels[:, :, None] if pixels.ndim == 2 else pixels
        row = predict(image[None])[0]
        best = np.argsort(-row)[:3]
        body: dict[str, Any] = {
            "probabilities": row.tolist(),
            "labels": [int(i) for i in best],
            "scores": [float(row[i]) for i in best],
        }
        changed = fault(number, body) if fault else None
        return body if changed is None else changed

    return app


def main(
    model: Annotated[Path, typer.Argument(help="A classifier of sscl.")],
    port: Annotated[int, typer.Option(help="Port on the loopback.")] = 8000,
    delay: Annotated[float, typer.Option(help="Seconds that each answer takes longer, as over a network.")] = 0.0,
) -> None:
    """Serve a model until interrupted."""
    classes = load_classifier(model)[0].classes
    compute = Compute.resolve(ComputeConfig("auto", None, "auto", channels_last=True, compile=False))
    oracle = open_oracle(str(model), Context(tuple(map(str, range(classes))), compute))
    app = make_app(lambda images: oracle.query(images).values)

    @app.middleware("http")
    async def far_away(request: Request, call_next: RequestResponseEndpoint) -> Response:
        await asyncio.sleep(delay)
        return await call_next(request)

    uvicorn.run(app, host="127.0.0.1", port=port)


if __name__ == "__main__":
    typer.run(main)
