"""Why a release is not published, where trying again would not help."""

from __future__ import annotations

from sscl.errors import SSCLError


class GateError(SSCLError):
    """The quality gate failed; nothing was published."""


class TakenError(SSCLError):
    """That version is somebody else's."""
