"""``sscl keygen``, ``serve`` and ``doctor``: keys, scheduled flows, what is missing."""

import importlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sscl.cli.common import Debug, Json, out_console, reporting, styled
from sscl.errors import InputError


def keygen(
    path: Annotated[Path, typer.Argument(help="The file that the key goes to; it must not exist.")],
    release: Annotated[bool, typer.Option("--release", help="The secret of a release (`key_file`).")] = False,
    seal: Annotated[bool, typer.Option("--seal", help="The key that opens sealed secrets (age).")] = False,
    debug: Debug = False,
) -> None:
    """Make a key that signs evidence (Ed25519), or with an option one of the other keys; no file is ever replaced.

    Example: sscl keygen --release private/release.key
    """
    with reporting(debug):
        from sscl.audit.bundle import new_key, public_of

        if release and seal:
            raise InputError("--release and --seal are two keys; make one after the other")
        public, content = None, secrets.token_bytes(32) if release else new_key()
        if not release and not seal:
            public = f"audit.signer: {public_of(content)}"
        if seal:
            from sscl.release.sealed import new_identity

            identity, recipient = new_identity()
            public = f"release.seal_to: {recipient}"
            content = f"{identity}\n".encode()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise InputError(f"{path}: already there; choose another name") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        out_console.print(f"{path}: keep it private", soft_wrap=True)
        if public:
            out_console.print(f"public key, for {public}", soft_wrap=True)


def serve(debug: Debug = False) -> None:
    """Start what prefect.yaml schedules: audits, benchmark, releases; PREFECT_API_URL names the server.

    Example: sscl serve
    """
    with reporting(debug):
        if not Path("flows/serve.py").is_file():
            raise InputError("flows/serve.py: not here; run this in the checkout, where prefect.yaml is")
        sys.path.insert(0, str(Path.cwd()))
        importlib.import_module("flows.serve").main()


def doctor(json_: Json = False, debug: Debug = False) -> None:
    """Say what is missing on this machine and how to get it.

    Example: sscl doctor
    """
    with reporting(debug):
        from sscl.doctor import examine

        findings = examine()
        if json_:
            typer.echo(json.dumps([vars(f) for f in findings], indent=2))
            return
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("", "What", "State", "Remedy"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            mark = styled("green", "ok") if finding.ok else styled("yellow", "--")
            table.add_row(mark, finding.what, finding.state, finding.remedy)
        out_console.print(table)
