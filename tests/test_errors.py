"""Which failures another try may mend."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sscl.artifacts import disk_error
from sscl.errors import InputError, SSCLError, may_pass, printable


@pytest.mark.parametrize("unseen", ["\u2800", "\ufe0f", "\u034f", "\U000e0100", "\u180b", "\u200b", "\U0001d159"])
def test_what_nobody_sees_is_shown(unseen: str) -> None:
    assert printable(f"a{unseen}b") == "a?b"


def failed(number: int) -> SSCLError:
    try:
        raise disk_error(Path("out"), OSError(number, "text")) from OSError(number, "text")
    except SSCLError as error:
        return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (failed(errno.EIO), True),
        (failed(errno.ESTALE), True),
        (failed(errno.ENOSPC), False),
        (failed(errno.EACCES), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (SSCLError("training diverged"), False),
        (InputError("no such file"), False),
        (ValueError("no"), False),
    ],
)
def test_a_disk_or_a_network_that_failed_may_work_again(error: Exception, passes: bool) -> None:
    assert may_pass(error) == passes
