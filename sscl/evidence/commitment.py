"""A commitment before release: key, target, test and images are fixed before the first query, and none is revealed."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from sscl.artifacts import digest
from sscl.audit.protocol import verification_images
from sscl.config import AuditConfig
from sscl.errors import InputError
from sscl.evidence.canonical import canonical
from sscl.oracles import nhwc
from sscl.types import ImageSet

FORMAT = "sscl-commitment/3"


Asked = Callable[[ImageSet], Iterable[Tensor]]


@dataclass(frozen=True)
class Keys:
    """Files with the released key and the decoys, and the classes that they point to."""

    secret: Path
    target_class: int
    decoys: Path | None
    decoy_targets: list[int]


def open_up(
    keys: Keys, decoy_seed: int, config: AuditConfig, test_images: ImageSet, asked: Asked | None = None
) -> dict[str, Any]:
    """What is committed to: digests of secret, decoys and images, their classes, protocol, seeds, a salt.

    Salt and seeds come from the operating system: nobody can find the target by trying all, or choose decoys after
    seeing answers. Who is shown the secret can draw the decoys again from their seed.

    Args:
        keys: of the release; a key is not hashed alone, as a short one could be searched for.
        decoy_seed: what decoys were drawn from.
        config: the audit's protocol, primary test included.
        test_images: where verification images are drawn from.
        asked: from the verification images what each key is asked about, the released one first; ``None`` for a method
            without keys. Their digests are committed to, so that no key can be passed off as another.
    """
    image_seed = secrets.randbits(62)
    chosen = verification_images(test_images, config.images, image_seed)
    return {
        "format": FORMAT,
        "salt": secrets.token_hex(32),
        "generator": digest(keys.secret),
        "target_class": keys.target_class,
        "decoys": keys.decoys and digest(keys.decoys),
        "decoy_targets": keys.decoy_targets,
        "decoy_seed": decoy_seed,
        "classes": test_images.classes,
        "protocol": asdict(config),
        "image_seed": image_seed,
        "labels": chosen.labels.tolist(),
        "images": image_digest(chosen),
        "queries": asked
        and {
            "benign": queries_digest(sha256_of(chosen.images)),
            "keys": [queries_digest(sha256_of(sent)) for sent in asked(chosen)],
        },
    }


def sha256_of(images: Tensor) -> list[str]:
    """Each image's digest as it is recorded when it is sent."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in nhwc(images)]


def queries_digest(sent: list[str]) -> str:
    """SHA-256 over the digests of images that were sent, in order."""
    return hashlib.sha256("".join(sent).encode()).hexdigest()


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


def check_secret(opening: dict[str, Any], watermark_file: Path, decoys: Path, images: ImageSet) -> None:
    """Hold the secret, the decoys and the images at hand against the opening.

    Raises:
        InputError: another generator (key included), other decoys or images than were committed to.
    """
    held = {"generator": digest(watermark_file), "decoys": digest(decoys), "images": image_digest(images)}
    for name, value in held.items():
        if opening.get(name) != value:
            raise InputError(f"commitment: {name} is not the one that was committed to; use the committed files")
