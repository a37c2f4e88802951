"""A model file of a stranger, run in the sandbox: in a new process for each mark, so that it cannot compare them."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sscl.answers.scale import Scale, as_probabilities, scale_of
from sscl.config import require
from sscl.errors import ConfigError, InputError, SuspectError
from sscl.foreign import content_of
from sscl.sandbox.process import Sandbox, SandboxError
from sscl.sandbox.runtimes import RUNTIMES
from sscl.suspects.base import ORACLES, Context, Oracle
from sscl.types import Responses

LARGEST = 1 << 31  # bytes of a file
BATCH = 256
MOST_SENT = 1 << 28  # bytes of images that are handed over at a time
DTYPES = {
    "float": np.float32,
    "float32": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "uint8": np.uint8,
    "int32": np.int32,
    "int64": np.int64,
}


@dataclass(frozen=True)
class FileOptions:
    """What the model takes and gives, where its file does not say.

    Attributes:
        layout: order of the input's dimensions; null: the file's, else ``nchw``.
        values: ``unit`` for pixels in [0, 1], ``bytes`` for 0 to 255; null: by the input's type.
        channels: 1 or 3; null: the file's, else the images' own.
        mean, std: subtracted and divided by, one number a channel; null: the model does it itself.
        output: name or number of the output; null: the first with a column for every class.
        scale: what the output is; null: judged once, by the first answers.
        seconds: how long a batch may take. memory: bytes that the model may use.
    """

    layout: Literal["nchw", "nhwc"] | None = None
    values: Literal["unit", "bytes"] | None = None
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    output: str | None = None
    scale: Scale | None = None
    seconds: float = 300.0
    memory: int = 8 << 30

    def __post_init__(self) -> None:
        require(self.channels in (None, 1, 3), "channels", self.channels, "1 or 3")
        require(self.seconds > 0, "seconds", self.seconds, "a positive number")
        require(self.memory >= 1 << 30, "memory", self.memory, "at least 1073741824 bytes, most of it for libraries")
        require(not self.std or all(self.std), "std", self.std, "numbers other than 0")


@ORACLES.register("model_file")
class ModelFile(Oracle):
    """``*.onnx``, ``*.pt2``, ``*.ts`` or ``*.torchscript``.

    Raises:
        InputError: not such a file, or it cannot be opened in the sandbox.
    """

    Options = FileOptions
    options: FileOptions
    example = "model.onnx"

    def __init__(self, address: str, context: Context, options: FileOptions) -> None:
        super().__init__(address, context, options)
        runtime = runtime_of(address)
        assert runtime is not None
        self._runtime, self._content = runtime, content_of(Path(address), LARGEST, "a model file")
        self._sha256 = hashlib.sha256(self._content).hexdigest()
        self._unused: Sandbox | None = self._opened()
        self._takes = _Input.of(options, self._unused.shape, self._unused.dtype)
        self._scale: Scale | None = options.scale

    @classmethod
    def accepts(cls, address: str) -> bool:
        return "://" not in address and runtime_of(address) is not None

    @property
    def interface(self) -> dict[str, str]:
        told = self._takes.told() | {"scale": self._scale or "not asked yet"}
        return told | ({"output": self.options.output} if self.options.output else {})

    def answer(self, images: np.ndarray) -> Responses:
        given = self._takes.of_images(images)
        size = self._batch_of(given)
        sandbox, self._unused = self._unused or self._opened(), None
        with closing(sandbox):
            parts = [self._rows(sandbox, given[start : start + size], size) for start in range(0, len(given), size)]
        rows = np.concatenate(parts) if parts else np.zeros((0, self.width or 1))
        if self._scale == "features":
            return Responses(rows.astype(np.float64), "features")
        if self._scale is None:
            self._scale = scale_of(rows)
        return Responses(as_probabilities(rows, self._scale))

    def _batch_of(self, given: np.ndarray) -> int:
        """How many of these images are handed over at a time.

        Raises:
            InputError: the model takes so many at a time, and no others, that they need too much memory.
        """
        each = max(1, given[:1].nbytes)
        if self._takes.batch and self._takes.batch * each > MOST_SENT:
            needed = self._takes.batch * each >> 20
            raise InputError(
                f"{self.address}: takes {self._takes.batch} images at a time, {needed} MiB, and at most "
                f"{MOST_SENT >> 20} are handed over; export it for any number of images, or for one"
            )
        return self._takes.batch or max(1, min(BATCH, MOST_SENT // each))

    def identity(self) -> dict[str, str]:
        return {"kind": "model file", "sha256": self._sha256}

    def _opened(self) -> Sandbox:
        """A process that has seen no image: one that had could remember it, and answer its marked copy alike."""
        try:
            return Sandbox(self._runtime, self._content, self.options.seconds, self.options.memory)
        except SandboxError as error:
            extra = RUNTIMES[self._runtime].extra if "No module named" in str(error) else None
            remedy = f"; pip install '.[{extra}]'" if extra else ""
            raise InputError(f"{self.address}: cannot be opened: {error}{remedy}") from None

    def _rows(self, sandbox: Sandbox, batch: np.ndarray, size: int) -> np.ndarray:
        """Outputs for up to ``size`` images; a model of a fixed batch gets the last image several times."""
        missing = size - len(batch) if self._takes.batch else 0
        sent = np.concatenate((batch, batch[-1:].repeat(missing, axis=0))) if missing else batch
        try:
            outputs, others = sandbox.run(np.ascontiguousarray(sent))
        except SandboxError as error:
            raise SuspectError(
                f"{self.address}: does not take {sent.dtype} {sent.shape}: {error}; set layout, values or channels in "
                "the --oracle file"
            ) from None
        wanted = self.options.output
        for number, (name, values) in enumerate(outputs):
            fits = values.ndim == 2 and values.shape == (len(sent), self.width or values.shape[1])
            if wanted in (None, name, str(number)) and fits:
                return values[: len(batch)]
        classes = self.width or "columns"
        seen = [f"{name} {values.shape}" for name, values in outputs] + others
        raise SuspectError(
            f"{self.address}: no output {wanted or ''} of shape {(len(sent), classes)} (images, classes); it gives "
            f"{', '.join(seen) or 'nothing'}; set output in the --oracle file, or audit with attraction"
        )


@dataclass(frozen=True)
class _Input:
    """How images are handed over."""

    layout: str
    values: str
    dtype: str
    channels: int | None
    batch: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @classmethod
    def of(cls, options: FileOptions, shape: list[int | None] | None, dtype: str | None) -> _Input:
        dims = shape if shape and len(shape) == 4 else [None] * 4
        layout = options.layout or ("nhwc" if dims[3] in (1, 3) and dims[1] not in (1, 3) else "nchw")
        channels = options.channels or dims[1 if layout == "nchw" else 3]
        whole = (dtype or "").startswith(("uint", "int"))
        values = options.values or ("bytes" if whole else "unit")
        if whole and (values == "unit" or options.mean or options.std):
            raise ConfigError(
                f"oracle.values: the model takes {dtype}, which cannot hold pixels in [0, 1] or less a mean; expected "
                "values: bytes, and no mean or std"
            )
        for name, given in (("mean", options.mean), ("std", options.std)):
            if given and channels in (1, 3) and len(given) not in (1, channels):
                raise ConfigError(f"oracle.{name}: {len(given)} numbers, expected one, or {channels}, one a channel")
        batch = dims[0] if dims[0] and dims[0] > 0 else None
        kept = channels if channels in (1, 3) else None
        return cls(layout, values, dtype or "float32", kept, batch, options.mean, options.std)

    def told(self) -> dict[str, str]:
        return {name: str(value) for name, value in vars(self).items() if value is not None}

    def of_images(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) as the model takes them."""
        if self.channels == 3 and images.shape[3] == 1:
            images = images.repeat(3, axis=3)
        x: np.ndarray = images if self.values == "bytes" else images.astype(np.float32) / np.float32(255)
        if self.mean or self.std:
            x = (x - np.array(self.mean or 0, dtype=np.float32)) / np.array(self.std or 1, dtype=np.float32)
        x = x.astype(DTYPES.get(self.dtype, np.float32), copy=False)
        return x if self.layout == "nhwc" else x.transpose(0, 3, 1, 2)


def runtime_of(address: str) -> str | None:
    """The runtime whose files end so."""
    return next((name for name in RUNTIMES if address.endswith(RUNTIMES[name].suffixes)), None)
