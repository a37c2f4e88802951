"""Errors that a person reads: one line that names the thing, what was expected, and the remedy."""

from __future__ import annotations

import errno

# What Python takes for printable and nobody sees: Unicode's default ignorable code points, and two blanks.
UNSEEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE10), 0xFFA0}
UNSEEN |= {*range(0xE0100, 0xE01F0), 0x2800, 0x1D159}


def printable(text: str, longest: int = 200) -> str:
    """One line of a stranger's text, without the characters that would change a terminal."""
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() and ord(c) not in UNSEEN else "?" for c in line[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


class SSCLError(Exception):
    """Something failed while working (exit code 1)."""

    exit_code = 1


class InputError(SSCLError):
    """What the user gave cannot be used (exit code 2)."""

    exit_code = 2


class ConfigError(InputError):
    """A key or value of the configuration is wrong."""


class SuspectError(SSCLError):
    """A suspect answers with what cannot be an answer (NaN, wrong class count): no verdict rests on that."""


class BudgetError(SSCLError):
    """The query budget is spent; what was answered is kept."""


def lacks_memory(error: BaseException) -> bool:
    """Whether memory ran out, by Python's, numpy's or PyTorch's account of it."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


LASTING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOENT,
}


def may_pass(error: BaseException) -> bool:
    """Whether another try may help: the disk or the network failed, and not for a reason that stays."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno not in LASTING
