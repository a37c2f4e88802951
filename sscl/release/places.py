"""Buckets and prefixes in S3."""

from __future__ import annotations

from urllib.parse import urlsplit

from sscl.errors import InputError


def place_of(url: str) -> tuple[str, str]:
    """Bucket and prefix (empty, or ending in a slash).

    Raises:
        InputError: not ``s3://BUCKET/PREFIX``.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError(f"{url}: expected s3://BUCKET/PREFIX")
    prefix = "/".join(part for part in parts.path.split("/") if part)
    return parts.netloc, f"{prefix}/" if prefix else ""


def are_apart(one: str, other: str) -> bool:
    """Whether neither place is inside the other: who may read one need not see the other."""
    (bucket, prefix), (other_bucket, other_prefix) = place_of(one), place_of(other)
    return bucket != other_bucket or not (prefix.startswith(other_prefix) or other_prefix.startswith(prefix))
