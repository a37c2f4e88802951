"""What is committed to, and what follows from it: the word, and the words that it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from sscl.audit import beacon
from sscl.audit.canonical import digest_of
from sscl.errors import ConfigError
from sscl.keystream import Keystream
from sscl.statistics import words

FORMAT = "sscl-commitment/8"
LEAST_EFFECT = 0.01  # in the unit of the statistic ``effect``: less could come from the last digits of answers


def images_key(salt: bytes) -> Keystream:
    """What the committed verification images are drawn with: nobody knows them before the opening."""
    return Keystream(salt).part("images")


def salt_of(key: Keystream) -> bytes:
    """32 bytes that keep the commitment from being opened by trying, and draw the verification images."""
    return key.part("salt").take(32)


def commitment_digest(commitment: dict[str, Any]) -> str:
    """SHA-256 of a whole commitment, date and pulse included: what a time stamp is of, and what to publish.

    ``sha256`` in it is the opening's alone, so two commitments to one opening, for two pulses, share that.
    """
    return digest_of(commitment)


def copy_for(opening: dict[str, Any], recipient: str, key: Keystream) -> dict[str, Any]:
    """What is committed to for one recipient's copy: the same marks and images, and a secret of its own.

    It differs from one dataset, version and attempt to the next, as the release's does: a model that knows one copy's
    word knows no other. The secret comes from the release's key, so that who has one opening knows no other word. A
    copy has a commitment of its own: if the name alone decided the word, an owner could try names until one fits.
    """
    return {**opening, "recipient": recipient, "secret": key.part("copy", opening["secret"], recipient).take(32).hex()}


def require_for(opening: dict[str, Any], carrier: str) -> None:
    """Raise ``ConfigError`` if the commitment is for something else: its word is for one dataset, or one encoder."""
    found = opening["protocol"]["protects"]
    if found != carrier:
        raise ConfigError(
            f"audit.protects: {found}, and this would put the word into the {carrier}; commit with {carrier}, in an "
            "output root of its own"
        )


def draw_word(opening: dict[str, Any], pulse: beacon.Pulse | None) -> np.ndarray:
    """The word, int64 (K,): it follows from the committed secret, the beacon's pulse and what is protected.

    A dataset and an encoder have different words even if an owner commits to both with one secret.
    """
    stream = Keystream(beacon.mixed(bytes.fromhex(opening["secret"]), pulse))
    if opening["protocol"]["protects"] == "encoder":
        stream = stream.part("encoder")
    drawn: np.ndarray = words.draw(opening["mark_count"], opening["groups"], stream)[0]
    return drawn


def null_key(opening: dict[str, Any], pulse: beacon.Pulse | None) -> Keystream:
    """What the words of the null distribution are drawn with, where they are too many to list.

    It follows from the pulse, as the word does: references that are committed to before cannot be fitted to it.
    """
    return Keystream(beacon.mixed(bytes.fromhex(opening["secret"]), pulse)).part("null words")


def differences(commitment: dict[str, Any], opening: dict[str, Any]) -> list[str]:
    """Why the opening is not the commitment's; empty if it is."""
    if commitment.get("format") != FORMAT or opening.get("format") != FORMAT:
        return [f"commitment: format {commitment.get('format')!r}, expected {FORMAT}"]
    found = digest_of(opening)
    return [] if found == commitment.get("sha256") else ["commitment: its SHA-256 is not the opening's"]
