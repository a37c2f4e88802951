"""What an oracle is: images in, answers out, and nothing else is known of the model."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from torch import Tensor

from sscl.compute import Compute
from sscl.errors import InputError, SSCLError, printable
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


def shown(address: str) -> str:
    """An address as messages and evidence may show it: without user, password, query and fragment."""
    scheme, found, rest = address.partition("://")
    if not found:
        return printable(address)
    return printable(f"{scheme}://{re.split('[?#]', rest)[0].rpartition('@')[2]}")


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
        self.reading: dict[str, Any] | None = None  # how answers were read from them

    @classmethod
    def settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of an ``--oracle`` file as ``Options`` has them."""
        return dict(given)

    @property
    def interface(self) -> dict[str, str]:
        """How the suspect was spoken to, for the record; empty where there is only one way."""
        return {}

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
            raise SuspectError(
                f"{self.address}: {printable(str(error))}; is this the suspect's usual interface?"
            ) from None
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
            options: object = parse(kind.Options, kind.settings(settings or {}), f"oracle ({name})")
            return kind(address, context, options)
    raise InputError(
        f"{shown(address)}: no address of a suspect; expected one such as "
        f"{', '.join(ORACLES[name].example for name in ORACLES)}; pickles are never opened"
    )


def nhwc(images: Tensor) -> np.ndarray:
    """uint8 (N, C, H, W) as oracles are asked: (N, H, W, C)."""
    array: np.ndarray = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array
