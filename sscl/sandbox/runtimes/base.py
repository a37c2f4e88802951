"""What a runtime is: it turns a file's bytes into a function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sscl.registry import Registry

Outputs = list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Loaded:
    """A model that was opened.

    Attributes:
        run: an array of images to the outputs, by name, in order.
        shape: what the file says of its input, ``None`` for a dimension or a shape that it leaves open.
        dtype: of the input, ``None`` if the file does not say.
    """

    run: Callable[[np.ndarray], Outputs]
    shape: list[int | None] | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class Runtime:
    """A kind of model file.

    Attributes:
        suffixes: of the file's name.
        load: opens the content of a file; only ever called inside the sandbox.
        extra: the extra of this package that it needs.
        libraries: what ``load`` imports; a fork server imports them before it forks, to save time.
    """

    suffixes: tuple[str, ...]
    load: Callable[[bytes], Loaded]
    extra: str | None = None
    libraries: tuple[str, ...] = ()


RUNTIMES: Registry[Runtime] = Registry("runtime", "sscl.sandbox.runtimes", base=Runtime)
