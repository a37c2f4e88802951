"""The evidence as one zip file of which every byte counts: stored, sorted, dated 1980, and signed with Ed25519."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from sscl.artifacts import write_atomically
from sscl.errors import InputError
from sscl.evidence.canonical import canonical
from sscl.foreign import content_of

MANIFEST, SIGNATURE = "manifest.json", "signature.json"
LARGEST = 1 << 28  # bytes; a bundle is some megabytes
PARTS = 100


def new_key() -> bytes:
    """A private Ed25519 key, PEM (PKCS 8)."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(path: Path) -> Ed25519PrivateKey:
    """Raises ``InputError`` if the file is missing or holds no Ed25519 key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path}: not a private key in PEM; `sscl keygen` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: not an Ed25519 key; `sscl keygen` makes one")
    return key


def write(path: Path, parts: dict[str, bytes], key: Ed25519PrivateKey | None) -> None:
    """Write the parts with a manifest of their SHA-256 digests, and its signature if there is a key."""
    manifest = canonical({name: hashlib.sha256(content).hexdigest() for name, content in parts.items()})
    signed = {**parts, MANIFEST: manifest}
    if key:
        public = key.public_key().public_bytes_raw().hex()
        signed[SIGNATURE] = canonical({"ed25519": public, "signature": key.sign(manifest).hex()})
    write_atomically(path, pack(signed))


def pack(parts: dict[str, bytes]) -> bytes:
    """The one zip file of these parts: the same parts give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(parts):
            archive.writestr(zipfile.ZipInfo(name), parts[name])
    return buffer.getvalue()


def unpack(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """The parts, and what is wrong with file, manifest or signature.

    Raises:
        InputError: not a zip file.
    """
    try:
        content = content_of(path, LARGEST, "a bundle of evidence")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if len(archive.infolist()) > PARTS:
                raise InputError(f"{path}: more than {PARTS} parts; a bundle has about ten")
            if sum(info.file_size for info in archive.infolist()) > LARGEST:
                raise InputError(f"{path}: implausibly large for a bundle")
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise InputError(f"{path}: its parts are compressed, and a bundle's are stored as they are")
            parts = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, RuntimeError) as error:
        raise InputError(f"{path}: not an undamaged zip file ({error})") from None
    wrong = [] if pack(parts) == content else ["the file has bytes that are not of its parts"]
    return parts, wrong + _unsigned(parts)


def signer(parts: dict[str, bytes]) -> str | None:
    """The signer's public key in hexadecimal; ``None`` for an unsigned bundle."""
    return json.loads(parts[SIGNATURE])["ed25519"] if SIGNATURE in parts else None


def _unsigned(parts: dict[str, bytes]) -> list[str]:
    rest = {name: hashlib.sha256(c).hexdigest() for name, c in parts.items() if name not in (MANIFEST, SIGNATURE)}
    try:
        listed: dict[str, Any] = json.loads(parts.get(MANIFEST, b"null"))
        names = sorted(set(rest) | set(listed))
    except (ValueError, TypeError, RecursionError):
        return [f"{MANIFEST}: missing or damaged"]
    if not isinstance(listed, dict):
        return [f"{MANIFEST}: missing or damaged"]
    wrong = [f"{name}: not what the manifest lists" for name in names if rest.get(name) != listed.get(name)]
    if SIGNATURE in parts:
        try:
            signature = json.loads(parts[SIGNATURE])
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["ed25519"]))
            public.verify(bytes.fromhex(signature["signature"]), parts[MANIFEST])
        except (InvalidSignature, ValueError, KeyError, TypeError, RecursionError):
            wrong.append(f"{SIGNATURE}: not a valid signature of the manifest")
    return wrong
