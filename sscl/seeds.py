"""Random numbers: one named generator per use, all derived from one seed; the global state is never touched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from sscl.errors import InputError


def derive(seed: int, *names: str) -> int:
    """A 63-bit seed for the use called ``names`` (e.g. ``"surrogate", "order"``), independent between uses."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def with_secret(seed: int, key_file: str | None) -> int:
    """A seed that nobody can find from the public parameters: derived from ``seed`` and a file of random bytes.

    Args:
        seed: the run's seed.
        key_file: path of at least 16 secret bytes; ``None`` for a study, in which everything may be known.

    Raises:
        InputError: the file is missing or too short.
    """
    secret = secret_digest(key_file)
    return seed if secret is None else derive(seed, "secret", secret)


def secret_digest(key_file: str | None) -> str | None:
    """SHA-256 of the file's bytes, which tells one secret from another; ``None`` without a file. Raises as above."""
    if key_file is None:
        return None
    try:
        secret = Path(key_file).read_bytes()
    except OSError as error:
        raise InputError(f"key_file: {key_file}: {error.strerror}; `sscl keygen --release FILE` makes one") from None
    if len(secret) < 16:
        raise InputError(f"key_file: {key_file} has {len(secret)} bytes, expected 16 or more random ones")
    return hashlib.sha256(secret).hexdigest()


def generator(seed: int, *names: str) -> torch.Generator:
    """A CPU ``torch.Generator`` for the named use. Draw on the CPU so that every device sees the same numbers."""
    return torch.Generator().manual_seed(derive(seed, *names))
