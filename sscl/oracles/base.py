"""What an oracle is: images in, answers out, and nothing else is known of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from torch import Tensor

from sscl.compute import Compute
from sscl.errors import InputError, SSCLError
from sscl.parsing import parse
from sscl.registry import Registry
from sscl.types import Responses


class SuspectError(SSCLError):
    """The suspect answers with what cannot be an answer (NaN, wrong class count): no verdict rests on that."""


@dataclass(frozen=True)
class Context:
    """What an oracle may know besides the suspect's address.

    Attributes:
        class_names: of the owner's dataset, in index order.
        compute: device and precision for models that run here.
        state: folder for response caches; ``None`` for none.
    """

    class_names: tuple[str, ...]
    compute: Compute
    state: Path | None = None


@dataclass(frozen=True)
class NoOptions:
    """An oracle without settings."""


class Oracle(ABC):
    """A suspicious model.

    Args:
        address: path, URL or ``module:function``.
        context: the owner's classes, the device, where to cache.
        options: the oracle's own ``Options``, from the ``--oracle`` file.
    """

    Options: ClassVar[type] = NoOptions
    example: ClassVar[str] = ""  # an address of this kind, which no other kind accepts

    def __init__(self, address: str, context: Context, options: Any) -> None:
        self.address, self.context, self.options = address, context, options
        self.transcript: list[dict[str, Any]] = []  # an API's own words, one a query
        self.reading: dict[str, str | None] | None = None  # how answers were read from them

    @classmethod
    @abstractmethod
    def accepts(cls, address: str) -> bool:
        """Whether the address is one of this kind."""

    @abstractmethod
    def answer(self, images: np.ndarray) -> Responses:
        """Answers for uint8 images (N, H, W, C)."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What the evidence says of the suspect, e.g. the file's SHA-256; no credentials."""

    @final
    def query(self, images: np.ndarray) -> Responses:
        """``answer``, checked.

        Raises:
            ValueError: not uint8 (N, H, W, 1 or 3).
            SuspectError: another number of answers or classes, or answers that are no probabilities.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(f"images must be uint8 (N, H, W, 1 or 3), got {images.dtype} {images.shape}")
        try:
            responses = self.answer(images)
        except ValueError as error:
            raise SuspectError(f"{self.address}: {error}; is this the suspect's usual interface?") from None
        expected = (len(images), len(self.context.class_names))
        if responses.probabilities.shape != expected:
            raise SuspectError(
                f"{self.address}: answers of shape {responses.probabilities.shape}, expected {expected} "
                "(images, classes of the dataset)"
            )
        return responses


ORACLES: Registry[type[Oracle]] = Registry("oracle", "sscl.oracles")


def open_oracle(address: str, context: Context, settings: Mapping[str, Any] | None = None) -> Oracle:
    """The oracle whose kind the address is.

    Raises:
        InputError: no kind of oracle takes the address, or the file cannot be read.
        ConfigError: unknown or impossible settings.
    """
    for name in ORACLES:
        kind = ORACLES[name]
        if kind.accepts(address):
            options: object = parse(kind.Options, dict(settings or {}), f"oracle ({name})")
            return kind(address, context, options)
    raise InputError(
        f"{address}: no address of a suspect; expected one such as "
        f"{', '.join(ORACLES[name].example for name in ORACLES)}; pickles are never opened"
    )


def to_probabilities(outputs: np.ndarray) -> np.ndarray:
    """Rows of a model's output, float (N, K), as probabilities: softmax unless they already are.

    Raises:
        ValueError: not two-dimensional, or not finite.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"the model's output must be finite (N, classes), got shape {values.shape}")
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def nhwc(images: Tensor) -> np.ndarray:
    """uint8 (N, C, H, W) as oracles are asked: (N, H, W, C)."""
    array: np.ndarray = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array


def as_input(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, C) as float32 (N, C, H, W) in [0, 1], which exported models take."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


BATCH = 256


def in_batches(images: np.ndarray) -> list[np.ndarray]:
    """The images in chunks of at most ``BATCH``."""
    return [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
