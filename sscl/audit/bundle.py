"""The evidence as one zip file of which every byte counts, stored, sorted, dated 1980; and the keys that sign it.

The digests of its parts are an in-toto statement in a DSSE envelope, which Ed25519 signs: other tools read that, too.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from sscl.artifacts import write_atomically
from sscl.audit.canonical import canonical
from sscl.errors import InputError
from sscl.foreign import content_of

ATTESTATION = "attestation.json"
PAYLOAD_TYPE, STATEMENT = "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"
PREDICATE = "urn:sscl-bw:audit:1"
LARGEST = 1 << 29  # bytes; most bundles are some megabytes, those with features of many views some hundred
PARTS = 100
LARGEST_LIST = 1 << 20  # bytes of a zip file's list of its entries
LARGEST_ATTESTATION = 1 << 20  # bytes; it names every part


def new_key() -> bytes:
    """A private Ed25519 key, PEM (PKCS 8)."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_of(pem: bytes) -> str:
    """The public half of an Ed25519 key, hexadecimal."""
    key = load_pem_private_key(pem, password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return key.public_key().public_bytes_raw().hex()


def load_key(path: Path) -> Ed25519PrivateKey:
    """Raises ``InputError`` if the file is missing or holds no Ed25519 key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        raise InputError(f"{path}: not a private key in PEM; `sscl keygen` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: not an Ed25519 key; `sscl keygen` makes one")
    return key


def write(path: Path, parts: dict[str, bytes], key: Ed25519PrivateKey | None) -> None:
    """Write the parts with an attestation of their SHA-256 digests, signed if there is a key, for its owner's eyes.

    Raises:
        InputError: more than anybody would read.
    """
    size = sum(map(len, parts.values()))
    if size > LARGEST:
        raise InputError(f"{path}: would have {size >> 20} MiB, more than {LARGEST >> 20}; audit without a bundle")
    write_atomically(path, pack({**parts, ATTESTATION: attest(parts, key)}), rights=0o600)


def attest(parts: dict[str, bytes], key: Ed25519PrivateKey | None) -> bytes:
    """A DSSE envelope around the statement of the parts."""
    public = key.public_key().public_bytes_raw().hex() if key else None
    envelope = Envelope(canonical(statement(parts, public)), PAYLOAD_TYPE, {})
    if key and public:
        envelope.sign(CryptoSigner(key, _public(public)))
    return canonical(envelope.to_dict())


def statement(parts: dict[str, bytes], public: str | None) -> dict[str, Any]:
    """The in-toto statement: every part's digest, and who signs, as a raw Ed25519 public key in hexadecimal."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(parts.items())}
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in digests.items()]
    return {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": {"ed25519": public}}


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
        if _is_long(content):
            raise InputError(f"{path}: more than {PARTS} parts; a bundle has about ten")
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
    return parts, wrong + _unattested(parts)


def _is_long(content: bytes) -> bool:
    """Whether a zip file's list of its entries is longer than any bundle's, or in the long format; before it is read.

    The number of entries that a file states is not looked at: nobody reads the list by it.
    """
    end = content.rfind(b"PK\5\6")
    if end < 0:
        return False
    (size,) = struct.unpack("<I", content[end + 12 : end + 16].ljust(4, b"\xff"))
    return bool(size > LARGEST_LIST or b"PK\6\7" in content[max(0, end - 20) : end])


def signer(parts: dict[str, bytes]) -> str | None:
    """The signer's public key in hexadecimal; ``None`` for an unsigned bundle. Of a bundle that was unpacked."""
    payload = Envelope.from_dict(json.loads(parts[ATTESTATION])).payload
    public: str | None = json.loads(payload)["predicate"]["ed25519"]
    return public


def _unattested(parts: dict[str, bytes]) -> list[str]:
    rest = {name: content for name, content in parts.items() if name != ATTESTATION}
    if len(parts.get(ATTESTATION, b"")) > LARGEST_ATTESTATION:
        return [f"{ATTESTATION}: larger than in any audit"]
    try:
        given = json.loads(parts[ATTESTATION])
        envelope = Envelope.from_dict(json.loads(parts[ATTESTATION]))
        public = json.loads(envelope.payload)["predicate"]["ed25519"]
        same = envelope.payload == canonical(statement(rest, public)) and canonical(given) == parts[ATTESTATION]
        signatures = list(envelope.signatures.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [f"{ATTESTATION}: missing or damaged"]
    if not same or envelope.payload_type != PAYLOAD_TYPE or len(signatures) != (public is not None):
        return [f"{ATTESTATION}: not a statement of these parts"]
    try:
        if public is not None:
            _public(public).verify_signature(signatures[0], envelope.pae())
    except (UnverifiedSignatureError, VerificationError, ValueError, TypeError):
        return [f"{ATTESTATION}: not signed by the key that it names"]
    return []


def _public(public: str) -> SSlibKey:
    if not re.fullmatch(r"[0-9a-f]{64}", public):
        raise ValueError("not a raw Ed25519 key")
    return SSlibKey(public, "ed25519", "ed25519", {"public": public})
