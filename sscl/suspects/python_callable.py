"""A Python function of the auditor's own, ``pkg.mod:function``: any client library fits behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sscl.errors import InputError
from sscl.functions import function_named, names_function
from sscl.suspects.base import ORACLES, Context, Oracle
from sscl.types import Responses


@dataclass(frozen=True)
class CallableOptions:
    """What a function's float rows are; integers are labels."""

    output: Literal["probabilities", "features"] = "probabilities"


@ORACLES.register("callable")
class PythonCallable(Oracle):
    """The function takes uint8 (N, H, W, C) and returns rows, float (N, K), or labels, int (N,), -1 for none.

    Raises:
        InputError: no such module or function.
    """

    Options = CallableOptions
    options: CallableOptions
    example = "pkg.mod:function"

    def __init__(self, address: str, context: Context, options: CallableOptions) -> None:
        super().__init__(address, context, options)
        self._function = function_named(address)

    @property
    def interface(self) -> dict[str, str]:
        return {"output": self.options.output}

    @classmethod
    def accepts(cls, address: str) -> bool:
        return names_function(address)

    def answer(self, images: np.ndarray) -> Responses:
        given = np.asarray(self._function(images))
        if given.ndim == 1 and np.issubdtype(given.dtype, np.integer):
            if self.width is None:
                raise InputError(f"{self.address}: answers labels; set columns, their number, in the --oracle file")
            return Responses.of_labels(given, self.width)
        return Responses(given.astype(np.float64), self.options.output)

    def identity(self) -> dict[str, str]:
        return {"kind": "callable", "function": self.address}
