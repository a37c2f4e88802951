from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest

from sscl.errors import SSCLError
from sscl.fetch import ArrayUnpickler


def test_arrays_are_read() -> None:
    content = pickle.dumps({"kernel": np.arange(4.0), "pairs": (np.arange(2), [1])})
    loaded = ArrayUnpickler(io.BytesIO(content)).load()
    assert loaded["kernel"].tolist() == [0, 1, 2, 3]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/owned",)


@pytest.mark.parametrize("value", [Evil(), io.BytesIO(), np.random.RandomState], ids=["system", "object", "numpy"])
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(SSCLError, match="refused, only numpy arrays are read"):
        ArrayUnpickler(io.BytesIO(pickle.dumps(value))).load()
