"""Python functions that the user names as ``module:function``, looked for in the current folder first."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sscl.errors import InputError

NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def names_function(text: str) -> bool:
    """Whether a text has the form ``module:function``."""
    return NAMED.fullmatch(text) is not None


def function_named(address: str) -> Callable[..., Any]:
    """Import the module and return its function.

    Raises:
        InputError: no such module or function, or the module cannot be imported.
    """
    module, _, name = address.partition(":")
    try:
        with _from_here():
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{address}: {error}; expected module:function, importable from here") from None
    except Exception as error:
        raise InputError(f"{address}: {module} cannot be imported ({type(error).__name__}: {error})") from error
    return found


def file_of(address: str) -> Path:
    """The file of the function's module.

    Raises:
        InputError: there is none.
    """
    module = address.partition(":")[0]
    try:
        with _from_here():
            found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address}: {error}; expected module:function, importable from here") from None
    if found is None or not found.has_location or found.origin is None:
        raise InputError(f"{address}: no file of module {module}; expected module:function, importable from here")
    return Path(found.origin)


@contextmanager
def _from_here() -> Iterator[None]:
    """The current folder is where modules are looked for first, as with ``python -m``."""
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path.remove(os.getcwd())
