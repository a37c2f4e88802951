"""What an oracle is: images in, answers out, and nothing else is known of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from sscl.answers.scale import distributions
from sscl.compute import Compute
from sscl.errors import ConfigError, InputError, SuspectError, printable
from sscl.parsing import parse
from sscl.registry import Registry
from sscl.remote import shown
from sscl.types import Responses

MOST_COLUMNS = 100_000  # of an answer


@dataclass(frozen=True)
class Context:
    """What an oracle may know besides the suspect's address.

    Attributes:
        class_names: of the owner's dataset, in index order; ``None`` where a suspect may answer with classes of its
            own, or with features.
        compute: device and precision for models that run here.
        state: folder for response caches; ``None`` for none.
    """

    class_names: tuple[str, ...] | None
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
        options: the oracle's own ``Options``, from the ``--oracle`` file; classes say again which type they have.
    """

    Options: ClassVar[type] = NoOptions
    example: ClassVar[str] = ""  # an address of this kind, which no other kind accepts

    def __init__(self, address: str, context: Context, options: object) -> None:
        self.address, self.context, self.options = address, context, options
        self.transcript: list[dict[str, Any]] = []  # an API's own words, one a query
        self.reading: dict[str, Any] | None = None  # how answers were read from these; not without them
        self.width = len(context.class_names) if context.class_names else None  # numbers in an answer, once known

    @classmethod
    def settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of an ``--oracle`` file as ``Options`` has them."""
        return dict(given)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that answers are over: the dataset's, or the suspect's own by number."""
        return self.context.class_names or tuple(str(number) for number in range(self.width or 0))

    @property
    def interface(self) -> dict[str, str]:
        """How the suspect was queried, by names of lowercase letters; empty where there is only one way."""
        return {}

    @classmethod
    @abstractmethod
    def accepts(cls, address: str) -> bool:
        """Whether the address is one of this kind."""

    @abstractmethod
    def answer(self, images: np.ndarray) -> Responses:
        """Answers for uint8 images (N, H, W, C), in the audit's order; what is not answered has a row of zeros.

        Evidence and commitment name an image by the SHA-256 that it has as a binary PGM or PPM file.
        """

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What the evidence says of the suspect: its ``kind``, and e.g. ``url``, ``function`` or ``sha256``.

        No credentials. ``sscl check`` shows these four. ``classifier`` and ``model file`` promise an answer to every
        query, so an oracle of your own needs another ``kind``, in lowercase words without these and ``http``. Without
        a ``transcript``, ``check`` says that the suspect's own replies are missing.
        """

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
        self.width = self.width or responses.values.shape[1]
        if self.width > MOST_COLUMNS:
            raise SuspectError(f"{self.address}: answers have {self.width:,} numbers, more than {MOST_COLUMNS:,}")
        if responses.values.shape != (len(images), self.width):
            what = "classes of the dataset" if self.context.class_names else "as before"
            raise SuspectError(
                f"{self.address}: answers of shape {responses.values.shape}, expected {(len(images), self.width)} "
                f"(images, {what})"
            )
        if responses.access == "features" and len(images) and distributions(responses.values):
            raise SuspectError(f"{self.address}: these features are probabilities; audit them as such")
        return responses


ORACLES: Registry[type[Oracle]] = Registry("oracle", "sscl.suspects", base=Oracle, classes=True)


def open_oracle(address: str, context: Context, settings: Mapping[str, Any] | None = None) -> Oracle:
    """The oracle whose kind the address is.

    Settings of every kind: ``columns``, how many numbers an answer has, or its classes' names; for suspects with
    answers of their own.

    Raises:
        InputError: no kind of oracle takes the address, or the file cannot be read.
        ConfigError: unknown or impossible settings.
    """
    settings, columns = dict(settings or {}), (settings or {}).get("columns")
    if columns is not None and context.class_names is not None:
        raise ConfigError("oracle.columns: only for a release under attraction or alignment; leave it out")
    if columns is not None:
        context = replace(context, class_names=named(settings.pop("columns")))
        if settings.get("names"):
            raise ConfigError("oracle.names: maps to the dataset's classes; with columns, list the suspect's own there")
    for name in ORACLES:
        kind = ORACLES[name]
        if kind.accepts(address):
            options: object = parse(kind.Options, kind.settings(settings), f"oracle ({name})")
            return kind(address, context, options)
    raise InputError(
        f"{shown(address)}: no address of a suspect; expected one such as "
        f"{', '.join(ORACLES[name].example for name in ORACLES)}; pickles are never opened"
    )


def named(columns: object) -> tuple[str, ...]:
    """The names of answers' columns, from a list of names or a number; raises ``ConfigError``."""
    if isinstance(columns, int) and not isinstance(columns, bool) and 1 <= columns <= MOST_COLUMNS:
        return tuple(str(number) for number in range(columns))
    names = columns if isinstance(columns, list) and all(type(name) is str for name in columns) else []
    if 1 < len(names) <= MOST_COLUMNS and len(set(names)) == len(names):
        return tuple(names)
    raise ConfigError(f"oracle.columns: {columns!r} is not possible, expected a number, or different class names")
