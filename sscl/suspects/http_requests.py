"""One image as a request that a service understands, and presets for inference servers."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sscl.config import require
from sscl.data.codec import encode_jpeg, encode_png

# How common servers are asked and answer, where they have a protocol of their own.
PRESETS: dict[str, dict[str, Any]] = {
    "kserve_v2": {  # the Open Inference Protocol: KServe, Triton, MLServer, OpenVINO
        "request": "json",
        "body": '{"inputs": [{"name": "input", "shape": [1, {shape}], "datatype": "FP32", "data": {pixels}}]}',
        "probabilities": "$.outputs[0].data",
    },
    "tf_serving": {
        "request": "json",
        "body": '{"instances": [{pixels}]}',
        "layout": "nhwc",
        "probabilities": "$.predictions[0]",
    },
    "litserve": {"request": "json", "body": '{"input": {pixels}}', "probabilities": "$.output"},
    "bentoml": {"request": "json", "body": '{"input_data": [{pixels}]}', "probabilities": "$[0]"},
    "torchserve": {"request": "multipart", "field": "data", "probabilities": "$"},
    "hugging_face": {"request": "raw", "labels": "$[*].label", "scores": "$[*].score"},
}


@dataclass(frozen=True)
class Asking:
    """How the API is asked.

    Attributes:
        request: ``multipart`` with the image as a file, ``raw`` with the file as the body, or ``json``.
        field: the file's name in a multipart request.
        body: JSON in which ``{image}`` stands for the file in base64, ``{pixels}`` for the numbers as nested lists, and
            ``{shape}`` for their dimensions, e.g. ``3, 32, 32``.
        image_format, jpeg_quality: of the file.
        layout, values: order and range of ``{pixels}``: ``unit`` for [0, 1], ``bytes`` for 0 to 255.
    """

    request: Literal["multipart", "raw", "json"] = "multipart"
    field: str = "file"
    body: str = '{"image": "{image}"}'
    image_format: Literal["png", "jpeg"] = "png"
    jpeg_quality: int = 95
    layout: Literal["nchw", "nhwc"] = "nchw"
    values: Literal["unit", "bytes"] = "unit"

    def __post_init__(self) -> None:
        filled = "{image}" in self.body or "{pixels}" in self.body
        require(filled, "body", self.body, "JSON with {image} or {pixels} in it")
        require(1 <= self.jpeg_quality <= 100, "jpeg_quality", self.jpeg_quality, "1 to 100")

    def file(self, image: np.ndarray) -> bytes:
        """A uint8 image (H, W, C) as a file."""
        pixels = image[:, :, 0] if image.shape[2] == 1 else image
        return encode_jpeg(pixels, self.jpeg_quality) if self.image_format == "jpeg" else encode_png(pixels)

    def of(self, image: np.ndarray, content: bytes) -> dict[str, Any]:
        """The arguments of an httpx request for an image and its file."""
        kind = f"image/{self.image_format}"
        if self.request == "multipart":
            return {"files": {self.field: (f"image.{self.image_format}", content, kind)}}
        if self.request == "raw":
            return {"content": content, "headers": {"Content-Type": kind}}
        body = self.body.replace("{image}", base64.b64encode(content).decode())
        if "{pixels}" in body:
            ordered = image if self.layout == "nhwc" else image.transpose(2, 0, 1)
            numbers = ordered if self.values == "bytes" else np.round(ordered / 255, 6)
            body = body.replace("{shape}", ", ".join(map(str, ordered.shape)))
            body = body.replace("{pixels}", json.dumps(numbers.tolist()))
        return {"content": body.encode(), "headers": {"Content-Type": "application/json"}}
