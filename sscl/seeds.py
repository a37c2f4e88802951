"""Random numbers: one named generator per use, all derived from one seed; the global state is never touched."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *names: str) -> int:
    """A 63-bit seed for the use called ``names`` (e.g. ``"surrogate", "order"``), independent between uses."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str) -> torch.Generator:
    """A CPU ``torch.Generator`` for the named use. Draw on the CPU so that every device sees the same numbers."""
    return torch.Generator().manual_seed(derive(seed, *names))
