"""What ``import sscl`` offers: listed, light to import, and with examples that work."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
from importlib import import_module

import pytest

import sscl
from tests.conftest import ROOT

WORKFLOW = {"audit_suspect", "check", "run_all"}  # need an output root; the page and the docs have their examples


@pytest.mark.parametrize("name", sscl.__all__)
def test_an_entry_is_there_with_an_example(name: str) -> None:
    entry = getattr(sscl, name)
    assert entry.__doc__
    assert name in WORKFLOW or ">>> " in entry.__doc__


@pytest.mark.parametrize("module", ["sscl", *sorted({f"sscl.{p.partition(':')[0]}" for p in sscl._PLACES.values()})])
def test_examples_give_what_they_show(module: str) -> None:
    assert doctest.testmod(import_module(module)).failed == 0


def test_the_import_is_light() -> None:
    code = "import sscl, sys; dir(sscl); print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        sscl.nothing  # noqa: B018


POSITIONAL = {"upload_here", "upload_by_tasks"}  # passed on as a Callable
CALLED_BY_OTHERS = ("command", "flow", "task", "callback")  # Typer and Prefect pass names


@pytest.mark.parametrize("folder", ["sscl", "tasks", "flows", "benchmarks"])
def test_long_signatures_are_called_by_name(folder: str) -> None:
    long = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        module = ast.parse(path.read_text()).body
        for node in (*module, *(part for one in module if isinstance(one, ast.ClassDef) for part in one.body)):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("__") and node.name not in POSITIONAL:
                places = [one.arg for one in node.args.args if one.arg not in ("self", "cls")]
                decorated = " ".join(map(ast.unparse, node.decorator_list))
                if len(places) > 4 and not any(name in decorated for name in CALLED_BY_OTHERS):
                    long.append(f"{path.name}: {node.name}({', '.join(places)})")
    assert not long
