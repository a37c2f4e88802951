"""Where random numbers come from: one named stream per use, never the global state.

What is public (splits, initial weights of simulated strangers, the order of their images) follows from the run's seed.
What is secret follows from 256 bits: see ``sscl.keystream``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sscl.errors import InputError
from sscl.keystream import KEY_BYTES, Keystream

if TYPE_CHECKING:
    import torch  # loaded on first use: whoever asks what is current needs none

_GLOBAL = Lock()  # PyTorch's global state is one for all threads


def derive(seed: int, *names: str) -> int:
    """A 63-bit seed for the public use called ``names`` (e.g. ``"surrogate", "order"``), independent between uses."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str) -> torch.Generator:
    """A CPU generator for the named public use. Draw on the CPU so that every device sees the same numbers."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def global_state(seed: int) -> Iterator[None]:
    """Seed PyTorch's global state for a library that draws from nothing else, one thread at a time; then restore it."""
    import torch

    with _GLOBAL, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def secret(seed: int, key_file: str | None) -> Keystream:
    """The stream from which a release's secrets are drawn.

    Args:
        seed: the run's seed; two seeds with one file give independent streams.
        key_file: path of at least 32 secret bytes; ``None`` for a study, in which everything may be known.

    Raises:
        InputError: the file is missing or too short.
    """
    content = b"" if key_file is None else _read(key_file)
    return Keystream(hashlib.sha256(f"sscl/{seed}/".encode() + content).digest())


def secret_digest(key_file: str | None) -> str | None:
    """SHA-256 of the file's bytes, which tells one secret from another; ``None`` without a file. Raises as above."""
    return None if key_file is None else hashlib.sha256(_read(key_file)).hexdigest()


def _read(key_file: str) -> bytes:
    try:
        content = Path(key_file).read_bytes()
    except OSError as error:
        raise InputError(f"key_file: {key_file}: {error.strerror}; `sscl keygen --release FILE` makes one") from None
    if len(content) < KEY_BYTES:
        raise InputError(f"key_file: {key_file} has {len(content)} bytes, expected {KEY_BYTES} or more random ones")
    return content
