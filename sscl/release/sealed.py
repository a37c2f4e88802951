"""The owner's part of a release, encrypted before it leaves the machine (age, https://age-encryption.org/v1)."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pyrage
from pyrage import x25519

from sscl.age import public_keys
from sscl.artifacts import key_of, write_atomically
from sscl.errors import InputError, SSCLError, printable

SEALED = "secret-"  # what the names of sealed secrets start with

LARGEST = 1 << 29  # bytes of a sealed secret; the images of an audit are most of it
OVERHEAD = 1 << 20  # bytes that encryption adds, and more
HEADER = 4096  # bytes of age's header, a line or two a recipient; the time to read it grows with its square
MOST_RECIPIENTS = 30  # whose lines it has room for
VARIABLE = "SSCL_SEAL_KEY"  # holds an identity, AGE-SECRET-KEY-1...
KMS = "kms:"  # kms:FILE is an identity that AWS KMS encrypted


def new_identity() -> tuple[str, str]:
    """A secret identity and its public key."""
    identity = x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def name_for(recipients: Sequence[str]) -> str:
    """A file name that says for which keys a secret is sealed, and nothing else."""
    return f"{SEALED}{key_of(recipients=sorted(recipients))[:8]}.age"


def seal(root: Path, folders: Sequence[str], recipients: Sequence[str], out: Path) -> None:
    """Write some folders under ``root`` as one encrypted file, another each time; nothing plain touches the disk.

    Raises:
        InputError: no recipients, one that is not an age public key, or more than ``unseal`` reads.
    """
    keys, content = keys_of(recipients), _packed(root, folders)
    if len(content) > LARGEST - OVERHEAD:
        raise InputError(
            f"{root}: the secret has {len(content) >> 20} MiB, expected at most {LARGEST >> 20}; most of it are the "
            "images of an audit, so commit to fewer (audit.images)"
        )
    write_atomically(out, pyrage.encrypt(content, keys))


def keys_of(recipients: Sequence[str]) -> list[x25519.Recipient]:
    """Raises ``InputError`` if there are no recipients, or one that is not an age public key."""
    if not recipients:
        raise InputError("release.seal_to: no public key; `sscl keygen --seal FILE` makes one, put its age1... there")
    if len(recipients) > MOST_RECIPIENTS:
        raise InputError(f"release.seal_to: {len(recipients)} keys, expected at most {MOST_RECIPIENTS}")
    return public_keys(recipients, "release.seal_to")


def unseal(sealed: bytes, identity: str, out: Path) -> None:
    """Write the folders to ``out``, readable by nobody else, or nothing.

    Args:
        sealed: what ``seal`` wrote.
        identity: a file with ``AGE-SECRET-KEY-1...``; ``env`` for the variable SSCL_SEAL_KEY; ``kms:FILE`` for a file
            that AWS KMS decrypts to one.

    Raises:
        InputError: another key, a damaged file, or no identity there.
    """
    try:
        if b"\n--- " not in sealed[:HEADER]:
            raise pyrage.DecryptError("no header, or a longer one than is read")
        content = pyrage.decrypt(sealed, [x25519.Identity.from_str(_secret_line(_identity(identity)))])
    except (pyrage.IdentityError, pyrage.DecryptError):
        raise InputError(f"{shown(identity)}: not the key that opens this secret, or the file is damaged") from None
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    temporary.mkdir(mode=0o700, parents=True)
    try:
        _unpack(content, temporary)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unseal_any(candidates: Iterable[bytes], identity: str, out: Path) -> None:
    """``unseal`` the first that the key opens: one content may be sealed for several."""
    refused = InputError("no sealed secret")
    for candidate in candidates:
        try:
            unseal(candidate, identity, out)
            return
        except InputError as error:
            refused = error
    raise refused


def shown(where: str) -> str:
    """An identity's place for messages: who passes the key itself must not find it in a log."""
    return "AGE-SECRET-KEY-..." if where.upper().startswith("AGE-SECRET-KEY") else where


def _secret_line(identity: str) -> str:
    """Of an identity's file: age's own programs write comments above it."""
    lines = [line.strip("\ufeff \t\r") for line in identity.splitlines()]
    return next((line for line in lines if line.upper().startswith("AGE-SECRET-KEY-")), "")


def _identity(where: str) -> str:
    if where == "env":
        if VARIABLE not in os.environ:
            raise InputError(f"{VARIABLE}: not set; export the identity, or name its file")
        return os.environ[VARIABLE]
    try:
        content = Path(where.removeprefix(KMS)).read_bytes()
        return (_decrypted(where, content) if where.startswith(KMS) else content).decode()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{shown(where)}: not readable; name the file with AGE-SECRET-KEY-1...") from None


def _decrypted(where: str, content: bytes) -> bytes:
    """What AWS KMS encrypted."""
    import boto3  # not needed for keys in files
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        plain: bytes = boto3.client("kms").decrypt(CiphertextBlob=content)["Plaintext"]
    except (ClientError, BotoCoreError) as error:
        raise InputError(f"{where}: AWS KMS does not decrypt it ({type(error).__name__}); check key and role") from None
    return plain


def _packed(root: Path, folders: Sequence[str]) -> bytes:
    """A tar file without dates and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(p for folder in folders for p in (root / folder).rglob("*") if p.is_file()):
            entry = tarfile.TarInfo(path.relative_to(root).as_posix())
            entry.size = path.stat().st_size
            with open(path, "rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()


@contextmanager
def _archive(content: bytes) -> Iterator[tarfile.TarFile]:
    """Uncompressed: anybody can encrypt for a public key, and a compressed file unpacks to any size."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            yield archive
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"no sealed secret is in it ({printable(str(error))}); ask its owner for another") from None


def _unpack(content: bytes, folder: Path) -> None:
    """The files of such a tar file, and nothing else that one can hold."""
    with _archive(content) as archive:
        for entry in archive:
            path = PurePosixPath(entry.name)
            plain = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()
            if not plain or path.is_absolute() or ".." in path.parts:
                raise InputError(f"{printable(entry.name)}: no file of a sealed secret; ask its owner for another")
            file = archive.extractfile(entry)
            assert file is not None
            try:
                (folder / path.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(folder / path, file.read())
                (folder / path).chmod(0o600)
            except (OSError, SSCLError, ValueError) as error:  # such as a file where another entry has a folder
                reason = getattr(error, "strerror", None) or type(error).__name__
                raise InputError(f"{printable(entry.name)}: {reason}; ask the secret's owner for another") from None
