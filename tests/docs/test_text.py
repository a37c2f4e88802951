"""Commands within the text of README and docs: verbs, options and scripts exist. Nothing is run."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from sscl.cli import app
from sscl.compute import Compute
from sscl.suspects import Context, open_oracle
from tests.conftest import ROOT, shell
from tests.docs.pages import PAGES, PLACES, inline


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_are_understood(page: str) -> None:
    for command in inline(page):
        program, *arguments = shlex.split(command)
        if program == "sscl":
            understood(get_command(app), arguments)
        elif program == "make":
            shell(ROOT, "make", "-n", *[a for a in arguments if not a.startswith("-")])
        elif program == "python" and arguments[0].startswith("benchmarks/"):
            script(ROOT / arguments[0], arguments[1:])
        elif program == "python":
            assert arguments[0] == "-m"
            assert importlib.util.find_spec(arguments[1]) is not None, command
        else:
            assert program in ("dvc", "prefect", "git"), command


def test_the_settings_shown_for_suspects_are_understood(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUSPECT_TOKEN", "Bearer of-a-test")
    shown = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/suspects.md").read_text(), flags=re.S | re.M)
    assert len(shown) == 3
    for settings in map(yaml.safe_load, shown):
        assert open_oracle("http://127.0.0.1/predict", Context(("cat", "dog"), compute), settings)


def understood(command: Any, arguments: list[str]) -> None:
    """The verb exists, and so do its options; nothing is run."""
    while arguments and hasattr(command, "commands") and arguments[0] in command.commands:
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if hasattr(command, "commands"):
        assert set(arguments) <= PLACES, arguments
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {a.partition("=")[0] for a in arguments if a.startswith("-")} <= known, arguments


def script(path: Path, arguments: list[str]) -> None:
    """The script exists, and so do its options."""
    assert path.is_file(), path
    module = importlib.import_module(f"benchmarks.{path.stem}")
    single = getattr(module, "app", None) or typer.Typer(add_completion=False)
    if not hasattr(module, "app"):
        single.command()(module.main)
    understood(get_command(single), arguments)
    assert CliRunner().invoke(single, ["--help"]).exit_code == 0
