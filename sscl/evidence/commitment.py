"""A commitment before release: key, target, test and images are fixed before the first query, and none is revealed."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sscl.artifacts import digest
from sscl.audit.protocol import verification_images
from sscl.config import AuditConfig
from sscl.errors import InputError
from sscl.types import ImageSet

FORMAT = "sscl-commitment/2"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the bytes that are hashed and signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def open_up(
    watermark_file: Path, target_class: int, targets: list[int], config: AuditConfig, test_images: ImageSet
) -> dict[str, Any]:
    """What is committed to: digests of secret and images, their classes, targets, protocol, seeds, a salt.

    Salt and seeds come from the operating system: nobody can find the target by trying all, or choose decoys after
    seeing answers.

    Args:
        watermark_file: the secret generator with its key, which is not hashed alone: a short one could be searched for.
        target_class: ``y_t``.
        targets: the classes among which it was drawn, and decoys' are.
        config: the audit's protocol, primary test included.
        test_images: where verification images are drawn from.
    """
    image_seed = secrets.randbits(62)
    chosen = verification_images(test_images, config.images, image_seed)
    return {
        "format": FORMAT,
        "salt": secrets.token_hex(32),
        "generator": digest(watermark_file),
        "target_class": target_class,
        "targets": targets,
        "classes": test_images.classes,
        "protocol": asdict(config),
        "decoy_seed": secrets.randbits(62),
        "image_seed": image_seed,
        "labels": chosen.labels.tolist(),
        "images": image_digest(chosen),
    }


def seal(opening: dict[str, Any]) -> dict[str, str]:
    """The commitment to publish, with this machine's time; a time-stamp token says it with authority."""
    return {
        "format": FORMAT,
        "sha256": hashlib.sha256(canonical(opening)).hexdigest(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def image_digest(images: ImageSet) -> str:
    """SHA-256 over the uint8 images in order."""
    return hashlib.sha256(images.images.contiguous().numpy().tobytes()).hexdigest()


def differences(commitment: dict[str, Any], opening: dict[str, Any]) -> list[str]:
    """Why the opening is not the commitment's; empty if it is."""
    if commitment.get("format") != FORMAT or opening.get("format") != FORMAT:
        return [f"commitment: format {commitment.get('format')!r}, expected {FORMAT}"]
    found = hashlib.sha256(canonical(opening)).hexdigest()
    return [] if found == commitment.get("sha256") else ["commitment: its SHA-256 is not the opening's"]


def check_secret(opening: dict[str, Any], watermark_file: Path, images: ImageSet) -> None:
    """Hold the secret and the images at hand against the opening.

    Raises:
        InputError: another generator (key included) or image set than was committed to.
    """
    held = {"generator": digest(watermark_file), "images": image_digest(images)}
    for name, value in held.items():
        if opening.get(name) != value:
            raise InputError(f"commitment: {name} is not the one that was committed to; use the committed files")
