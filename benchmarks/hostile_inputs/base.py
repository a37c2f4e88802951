"""What a hostile input is, and how what happens is put into one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sscl.compute import Compute
from sscl.config import ComputeConfig
from sscl.errors import SSCLError
from sscl.suspects import Context, open_oracle

COMPUTE = ComputeConfig("cpu", None, False, False, False)


@dataclass(frozen=True)
class Place:
    """Where an input is tried.

    Attributes:
        root: output root of a finished pipeline, to change at will.
        folder: an empty folder of this input's own.
        bucket: on an S3 server.
    """

    root: Path
    folder: Path
    bucket: str

    @property
    def canary(self) -> Path:
        """A file that no input may read or change."""
        path = self.folder / "canary"
        if not path.exists():
            path.write_bytes(b"canary")
        return path

    @property
    def suspect(self) -> Path:
        return self.root / "models/malicious/model.safetensors"


@dataclass(frozen=True)
class Input:
    """One hostile input.

    Attributes:
        name: what it is.
        surface: what it comes in through.
        expected: pattern of what should be seen.
        tried: uses it, and returns what is seen; errors for people are caught.
        slow: whether it waits for a time limit.
    """

    name: str
    surface: str
    expected: str
    tried: Callable[[Place], str]
    slow: bool = False


def seen(attempt: Input, place: Place) -> str:
    """What happens, in one line; an error that is not for people is named with its type."""
    try:
        found = attempt.tried(place)
    except SSCLError as error:
        found = f"refused: {error}"
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    if place.canary.read_bytes() != b"canary":
        found = f"the canary was changed; {found}"
    return found


def asked(place: Place, address: str, settings: dict[str, object] | None = None, names: str = "abc") -> str:
    """Open a suspect and ask it about four images."""
    images = np.zeros((4, 28, 28, 1), dtype=np.uint8)
    context = Context(tuple(names), Compute.set_up(COMPUTE), place.folder / "state")
    answers = open_oracle(address, context, settings).query(images)
    return f"{int(answers.valid.sum())} of {len(answers)} answered"
