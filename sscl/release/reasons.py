"""What a server's or boto3's errors mean to people, and which of them pass."""

from __future__ import annotations

from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from sscl.errors import printable

REASONS = {
    "NoSuchKey": "no such object; the release is not complete, or it was removed",
    "NoSuchBucket": "no such bucket; make it, or correct the URL",
    "AccessDenied": "no permission; these credentials (or none: AWS_ACCESS_KEY_ID, AWS_PROFILE) do not allow it",
    "403": "no permission; these credentials (or none: AWS_ACCESS_KEY_ID, AWS_PROFILE) do not allow it",
    "InvalidAccessKeyId": "the server does not know the access key; check the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong; check the credentials",
    "ExpiredToken": "the session token has expired; log in again",
    "ExpiredTokenException": "the session token has expired; log in again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it, requests may be 15 minutes off at most",
    "ConditionalRequestConflict": "another publisher writes the same object; run again",
    "SlowDown": "the server stays busy; run again later, finished objects are not sent again",
    "XAmzContentSHA256Mismatch": "the content was changed on its way; run again",
}
# What somebody has to mend before trying again helps.
LASTING = {"NoSuchBucket", "AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"}
LASTING |= {"ExpiredToken", "ExpiredTokenException"}
NO_CREDENTIALS = (
    CredentialRetrievalError, NoCredentialsError, PartialCredentialsError, SSOError, TokenRetrievalError
)  # fmt: skip


def said(error: ClientError, code: str) -> str:
    """The server's own words."""
    words = error.response.get("Error", {}).get("Message", "")
    return f"the server said {printable(f'{code}: {words}' if words else code)}; run again"


def code_of(error: ClientError) -> str:
    """The server's word for it."""
    return str(error.response.get("Error", {}).get("Code", "?"))
