"""An API's credential: where it comes from, and everything that a server may repeat of it."""

from __future__ import annotations

import base64
import json
import os
import re
from urllib.parse import quote, quote_plus

from sscl.errors import InputError

SECRET = re.compile(
    r"key|token|secret|sig|auth|pass|cred|code|jwt|bearer|pwd|sas|sess|sid|ticket", re.IGNORECASE
)  # in names of parameters
SHOWN = 3  # characters that are too few to be a credential
SHORTEST = 8  # characters of a credential that is also looked for in replies


def echoes(secret: str) -> set[str]:
    """A secret as a server may repeat it: as it is, as JSON writers escape it, and as addresses do."""
    coded = ["".join(c if c.isalnum() else f"\\u{ord(c):04{kind}}" for c in secret) for kind in "xX"]
    some = "".join(f"\\u{ord(c):04x}" if c in "=<>&'" else c for c in secret)
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        secret.replace("/", "\\/"),
        some,
        *coded,
    }


def hidden(header: str) -> set[str]:
    """Everything of a header with a credential that no record may show; a server may repeat it decoded."""
    scheme, _, rest = header.rpartition(" ")
    found = {header, rest, *(piece for piece in re.split(r"[\s:;,]+", header) if len(piece) >= SHORTEST)}
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest, validate=True).decode()
        except ValueError:
            pair = ""
        found |= {pair, pair.partition(":")[2]}
    return {form for part in found if len(part) > SHOWN for form in echoes(part)}


def split(name: str, value: str) -> list[tuple[str, str]]:
    """A parameter of an address as servers may read it that take a semicolon for the end of a parameter."""
    first, *others = value.split(";")
    return [(name, first), *((left.strip(), right) for left, _, right in (other.partition("=") for other in others))]


def masked(value: str) -> str:
    """A parameter's value without the credentials that stand behind a semicolon."""
    first, *others = value.split(";")
    told = (
        f"{left}=***" if SECRET.search(left) else f"{left}{sign}{right}"
        for left, sign, right in (other.partition("=") for other in others)
    )
    return ";".join((first, *told))


def credential(variable: str | None, header: str) -> dict[str, str]:
    """The header with the credential, whose value is never shown."""
    if not variable:
        return {}
    value = os.environ.get(variable, "").strip()
    if not value:
        raise InputError(f"oracle.auth_env: ${variable} is not set; put the API's credential there")
    if not (value.isascii() and value.isprintable()):
        raise InputError(f"oracle.auth_env: ${variable} has characters that no header can have; remove them")
    return {header: value}
