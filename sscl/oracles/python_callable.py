"""A Python function of the auditor's own, ``pkg.mod:function``: any client library fits behind it."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sscl.errors import InputError
from sscl.oracles.base import ORACLES, Context, Oracle
from sscl.types import Responses


@ORACLES.register("callable")
class PythonCallable(Oracle):
    """The function takes uint8 (N, H, W, C) and returns probabilities, float (N, K), or labels, int (N,), -1 for none.

    Raises:
        InputError: no such module or function.
    """

    example = "pkg.mod:function"

    def __init__(self, address: str, context: Context, options: Any) -> None:
        super().__init__(address, context, options)
        module, _, name = address.partition(":")
        try:
            with _from_here():
                self._function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"{address}: {error}; expected pkg.mod:function, importable from here") from None

    @classmethod
    def accepts(cls, address: str) -> bool:
        return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", address) is not None

    def answer(self, images: np.ndarray) -> Responses:
        given = np.asarray(self._function(images))
        if given.ndim == 1 and np.issubdtype(given.dtype, np.integer):
            return Responses.of_labels(given, len(self.context.class_names))
        return Responses(given.astype(np.float64))

    def identity(self) -> dict[str, str]:
        return {"kind": "callable", "function": self.address}


@contextmanager
def _from_here() -> Iterator[None]:
    """The current folder is where modules are looked for first, as with ``python -m``."""
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path.remove(os.getcwd())
