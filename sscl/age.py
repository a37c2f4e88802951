"""Public keys of age (https://age-encryption.org/v1), for whose holders something is encrypted."""

from __future__ import annotations

from collections.abc import Sequence

import pyrage
from pyrage import x25519

from sscl.errors import InputError


def public_keys(named: Sequence[str], where: str) -> list[x25519.Recipient]:
    """The keys.

    Args:
        named: ``age1...`` each.
        where: the option or parameter that names them.

    Raises:
        InputError: one is no such key.
    """
    try:
        return [x25519.Recipient.from_str(name) for name in named]
    except pyrage.RecipientError:
        raise InputError(
            f"{where}: not an age public key; expected age1..., which `sscl keygen --seal FILE` prints"
        ) from None
