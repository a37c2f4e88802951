"""The manifest of a release: the one object that makes it visible, written after everything that it names.

Objects under the public prefix, for a release of name N and version V:

    N/content/DIGEST/...     the files; DIGEST is over their paths and SHA-256, so publishers never overwrite each other
    N/claims/V/DIGEST        "I publish V with this content"
    N/versions/V.json        the manifest

and under the private one, ``N/content/DIGEST/secret-WHOM.age``; WHOM is over the keys that open it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sscl.artifacts import key_of
from sscl.audit.canonical import canonical
from sscl.errors import InputError, printable
from sscl.package.files import File
from sscl.release.objects import Objects

FORMAT = "sscl-release/1"
LARGEST = 4 << 20  # bytes of a manifest: about 20,000 files
TEXTS = ("name", "version", "created", "digest", "dataset", "commitment")
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,63}")


# The files that a release has. A manifest that names others could write into whatever reads the folder, e.g. .git.
NAME = re.compile(
    r"README\.md|LICENSE|croissant\.json|SHA256SUMS|commitment/commitment\.(json|tsq|tsr)"
    r"|data/(train|test)-\d{5}-of-\d{5}\.parquet"
)


class StrangeError(ValueError):
    """A manifest names a file that no release has."""


class ManifestError(InputError):
    """What is there is not a manifest, or contradicts itself."""


@dataclass(frozen=True)
class Manifest:
    """What a reader needs to get and check a release.

    Attributes:
        format: of the manifest; name, version: of the release.
        created: UTC, ISO 8601, when it was packed.
        digest: over ``files``.
        dataset: digest of the watermarked dataset, as DVC's stage ``embed`` made it.
        commitment: SHA-256 of the commitment's canonical JSON, which is also what its time stamp is of.
        source: git commit and tag, and the SHA-256 of ``dvc.lock``, where there are.
        files: every file of the release.
        signature: the owner's Ed25519 key and signature, hexadecimal; ``None`` for an unsigned release.
    """

    format: str
    name: str
    version: str
    created: str
    digest: str
    dataset: str
    commitment: str
    source: dict[str, Any]
    files: list[dict[str, Any]]
    signature: dict[str, str] | None = None

    @property
    def signer(self) -> str | None:
        """The key that signs it, hexadecimal; ``None`` for none.

        Raises:
            ValueError, TypeError: it is not signed by the key that it names.
        """
        if self.signature is None:
            return None
        public = bytes.fromhex(self.signature["ed25519"])
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(
                bytes.fromhex(self.signature["signature"]), self._signed()
            )
        except InvalidSignature:
            raise ValueError("not signed by the key that it names") from None
        return public.hex()

    def signed(self, key: Ed25519PrivateKey) -> Manifest:
        """The same, signed."""
        public, signature = key.public_key().public_bytes_raw(), key.sign(self._signed())
        return replace(self, signature={"ed25519": public.hex(), "signature": signature.hex()})

    def _signed(self) -> bytes:
        return canonical({name: value for name, value in asdict(self).items() if name != "signature"})

    def content(self) -> list[File]:
        """The files, typed; raises ``ValueError`` or ``TypeError`` for what is no list of files."""
        found = [File(**file) for file in self.files]
        if len({file.path for file in found}) != len(found):
            raise ValueError("a file is listed twice")
        if strange := next((file.path for file in found if not NAME.fullmatch(file.path)), None):
            raise StrangeError(f"names {printable(strange)!r}, as no release does")
        return found

    def encoded(self) -> bytes:
        return (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode()


def manifest_of(content: bytes) -> Manifest:
    """The manifest in a JSON text.

    Raises:
        ValueError, TypeError, AttributeError, RecursionError: it is none.
    """
    raw = json.loads(content)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"not of {FORMAT}")
    if not all(isinstance(raw.get(name), str) for name in TEXTS) or not isinstance(raw.get("source"), dict):
        raise TypeError(f"{', '.join(TEXTS)} are texts, and source is a mapping")
    found = Manifest(**raw)
    _ = found.encoded()  # raises for what is nested too deep to be written again
    return found


def content_digest(files: list[File]) -> str:
    """Names the content: 32 hexadecimal digits over paths and SHA-256."""
    return key_of(files={file.path: file.sha256 for file in files})[:32]


def folder_of(name: str, digest: str) -> str:
    """Where a content's files are, under either prefix."""
    return f"{name}/content/{digest}"


def manifest_key(name: str, version: str) -> str:
    """Raises ``InputError`` for what cannot be a version."""
    if not VERSION.fullmatch(version):
        raise InputError(f"version: {version!r} is not possible, expected letters, digits, dots and dashes, e.g. 1.0.0")
    return f"{name}/versions/{version}.json"


def read_manifest(objects: Objects, name: str, version: str) -> Manifest | None:
    """The manifest, ``None`` if that version is not published.

    Raises:
        ManifestError: what is there is not a manifest, or its digest is not its files'.
    """
    key = manifest_key(name, version)
    content = objects.read(key, LARGEST)
    if content is None:
        return None
    place = f"{objects.url}/{key}"
    try:
        manifest = manifest_of(content)
        files = manifest.content()
        _ = manifest.signer
    except StrangeError as error:
        raise ManifestError(f"{place}: {error}; tell the owner") from None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise ManifestError(f"{place}: not a manifest of {FORMAT}; is the URL right?") from None
    if content_digest(files) != manifest.digest or (manifest.name, manifest.version) != (name, version):
        raise ManifestError(f"{place}: the manifest contradicts itself; do not use it, tell the owner")
    return manifest
