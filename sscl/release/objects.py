"""One prefix of a bucket on any S3-compatible server: whole objects, checked by SHA-256, with errors for people."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore import UNSIGNED
from botocore.config import Config as ClientConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.loaders import Loader, create_loader
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from sscl.artifacts import digest, disk_error
from sscl.errors import InputError, SSCLError
from sscl.release.places import place_of
from sscl.release.reasons import LASTING, NO_CREDENTIALS, REASONS, code_of, said

PART = 16 << 20  # bytes of a part; larger objects are uploaded in several
LARGEST = 64 << 20  # bytes of an object that is read whole, unless it may be larger: manifests, claims
CHUNK = 1 << 20  # bytes in memory at a time when an object is read
ATTEMPTS = 8  # of a request, with exponential back-off and jitter
READS = 5  # of a body that breaks off or arrives damaged
LONGEST_WAIT = 10.0  # seconds between them
MOST_PAGES = 10_000  # of a listing, at most 1,000 objects each: a stranger's server may never end
STALE = 3600  # seconds after which an upload that was not completed is taken for dead
SHA256 = "sha256"  # user metadata of every object that we write
MISSING = {"404", "NoSuchKey", "NotFound"}
LOST = {"412", "PreconditionFailed"}
P = ParamSpec("P")
T = TypeVar("T")


class TamperedError(SSCLError):
    """What was read is not what was written."""


def _persistent(work: Callable[P, T]) -> Callable[P, T]:
    """botocore repeats requests; a body that breaks off, or arrives damaged, is for the reader to ask for again."""
    again = retry_if_exception_type((ResponseStreamingError, IncompleteReadError, ReadTimeoutError, TamperedError))
    stop = stop_after_attempt(READS)
    return retry(retry=again, stop=stop, wait=wait_random_exponential(0.2, LONGEST_WAIT), reraise=True)(work)


@dataclass(frozen=True)
class Object:
    """What a listing says of an object: key under the prefix, bytes, and the server's time."""

    key: str
    size: int
    modified: datetime


@cache
def _descriptions() -> Loader:
    """botocore's descriptions of the services, megabytes of JSON: parsed once a process instead of once a client."""
    return create_loader(botocore.session.get_session().get_config_variable("data_path"))


def _new_session() -> Any:
    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions())
    return boto3.Session(botocore_session=core)


def endpoint_of(session: Any) -> str | None:
    """The S3 endpoint of environment or profile; ``None`` for AWS."""
    return _endpoint(session.client("s3"))


def _endpoint(client: Any) -> str | None:
    found = client.meta.endpoint_url
    return None if urlsplit(found).hostname.endswith(".amazonaws.com") else found


class Objects:
    """The objects under ``s3://bucket/prefix``; credentials and endpoint come from boto3's own chain.

    Without credentials, requests are not signed: a public bucket is read like that.

    Raises:
        InputError: not such a URL, or boto3's settings are wrong.
    """

    def __init__(self, url: str, session: Any = None) -> None:
        self.bucket, self.prefix = place_of(url)
        self.url = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        try:
            session = session or _new_session()
            usual = session.client("s3")  # as environment and profile have it
        except (BotoCoreError, ValueError) as error:
            remedy = "correct AWS_PROFILE, AWS_DEFAULT_REGION or AWS_ENDPOINT_URL (http://HOST:PORT)"
            raise InputError(f"{self.url}: {str(error).rstrip('.')}; {remedy}") from None
        style = (usual.meta.config.s3 or {}).get("addressing_style")
        style = style or ("path" if _endpoint(usual) else "auto")  # other servers seldom have a name for every bucket
        self.client = session.client(
            "s3",
            config=ClientConfig(
                signature_version=UNSIGNED if session.get_credentials() is None else "s3v4",
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                connect_timeout=10,
                read_timeout=60,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # Signed payloads: the server refuses a body whose SHA-256 is another than the one that was sent.
                s3={"payload_signing_enabled": True, "addressing_style": style},
            ),
        )

    def sha256(self, key: str) -> str | None:
        """What was noted when the object was written; ``None`` if there is none."""
        found = self._noted(key)
        return found and found[0]

    def _noted(self, key: str) -> tuple[str | None, int] | None:
        """An object's noted SHA-256, and its bytes."""
        with self._speaking(key):
            try:
                found = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise self._worded(key, error) from None
        return found["Metadata"].get(SHA256), found["ContentLength"]

    def _worded(self, key: str, error: ClientError) -> ClientError:
        """A refused HEAD has no body that says why; asked as a GET, the server says it."""
        try:
            self.client.get_object(Bucket=self.bucket, Key=self.prefix + key, Range="bytes=0-0")["Body"].close()
        except ClientError as worded:
            return worded
        return error

    def put(self, key: str, path: Path, sha256: str) -> bool:
        """Upload a file, in parts if it is large; whether it was sent (it is not if it is there already).

        Raises:
            SSCLError: the server refuses, or the file is not the one that was digested.
        """
        if self._noted(key) == (sha256, path.stat().st_size):
            return False
        if digest(path) != sha256:
            raise SSCLError(f"{path}: was changed after it was packed; run again")
        self._abort_leftovers(key)
        settings = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2)
        # Not `client.upload_file`: it wraps the server's reason, and may lose it where the machine is busy.
        with self._speaking(key), create_transfer_manager(self.client, settings) as manager:
            manager.upload(str(path), self.bucket, self.prefix + key, {"Metadata": {SHA256: sha256}}).result()
        return True

    def _abort_leftovers(self, key: str) -> None:
        """Parts of an upload that a killed publisher began are billed until somebody removes them.

        Young ones may be another publisher's at work. Who may not list them leaves them to the bucket's own rules.
        """
        stale = datetime.now(UTC) - timedelta(seconds=STALE)
        with self._speaking(key):
            try:
                begun = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.prefix + key)
            except ClientError as error:
                if code_of(error) in ("AccessDenied", "NotImplemented"):
                    return
                raise
            for upload in begun.get("Uploads", []):
                if upload["Key"] == self.prefix + key and upload["Initiated"] < stale:
                    self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

    def write(self, key: str, content: bytes, new: bool = False) -> bool:
        """Write a small object; with ``new``, only if there is none: whether it was written."""
        condition = {"IfNoneMatch": "*"} if new else {}
        metadata = {SHA256: hashlib.sha256(content).hexdigest()}
        with self._speaking(key):
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=self.prefix + key, Body=content, Metadata=metadata, **condition
                )
            except ClientError as error:
                if new and code_of(error) in LOST:
                    return False
                raise
        return True

    def read(self, key: str, largest: int | None = None) -> bytes | None:
        """An object of at most ``largest`` bytes (``LARGEST``); ``None`` if there is none.

        Raises:
            TamperedError: it is not what was written, at every attempt.
        """
        with self._speaking(key):
            try:
                return _persistent(self._body)(key, largest or LARGEST)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise

    def check(self, key: str, sha256: str, size: int) -> None:
        """Read an object whole and hold it against its SHA-256.

        Raises:
            TamperedError: it is another, at every attempt.
        """
        with self._speaking(key):
            _persistent(self._copy)(key, sha256, size, Path(os.devnull))

    def download(self, key: str, path: Path, sha256: str, size: int) -> None:
        """Write an object to ``path``, or nothing; raises as ``check`` does."""
        temporary = path.with_name(f".{path.name}.part")
        temporary.unlink(missing_ok=True)  # it may be a link that somebody put there
        try:
            with self._speaking(key):
                _persistent(self._copy)(key, sha256, size, temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise disk_error(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _body(self, key: str, largest: int) -> bytes:
        found = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
        content: bytes = found["Body"].read(largest + 1)
        if len(content) > largest:
            raise TamperedError(f"{self.url}/{key}: more than {largest >> 20} MiB, expected less; tell the owner")
        noted = found["Metadata"].get(SHA256)
        if noted and hashlib.sha256(content).hexdigest() != noted:
            raise TamperedError(f"{self.url}/{key}: not what was written; do not use it, tell the owner")
        return content

    def _copy(self, key: str, sha256: str, size: int, path: Path) -> None:
        total, read = hashlib.sha256(), 0
        body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"]
        with open(path, "wb") as file:
            for chunk in body.iter_chunks(CHUNK):
                total.update(chunk)
                read += len(chunk)
                if read > size:
                    raise TamperedError(f"{self.url}/{key}: longer than its manifest says; tell the owner")
                file.write(chunk)
        if total.hexdigest() != sha256:
            raise TamperedError(f"{self.url}/{key}: its SHA-256 is not the manifest's; do not use it, tell the owner")

    def list(self, prefix: str) -> Iterator[Object]:
        """Every object whose key starts with ``prefix``.

        Raises:
            InputError: the listing does not end.
        """
        with self._speaking(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for number, page in enumerate(pages):
                if number == MOST_PAGES:
                    raise InputError(
                        f"{self.url}/{prefix}: a listing of more than {MOST_PAGES:,} pages; is this a bucket?"
                    )
                for item in page.get("Contents", []):
                    yield Object(item["Key"].removeprefix(self.prefix), item["Size"], item["LastModified"])

    @contextmanager
    def _speaking(self, key: str) -> Iterator[None]:
        place = f"{self.url}/{key}".rstrip("/")
        try:
            yield
        except ClientError as error:
            code = code_of(error)
            kind = InputError if code in LASTING else SSCLError
            raise kind(f"{place}: {REASONS.get(code) or said(error, code)}") from None
        except NO_CREDENTIALS as error:
            # Not its text: a credential helper's own output would be in it.
            raise InputError(f"{place}: {type(error).__name__}; log in again, or correct the credentials") from None
        except (BotoCoreError, HTTPClientError) as error:
            raise SSCLError(f"{place}: {type(error).__name__}; is the server reachable?") from None
