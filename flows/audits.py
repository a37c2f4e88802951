"""Flow ``audits``: every suspect of a list, one after the other; one that does not answer does not stop the others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow

from sscl.cli.common import Debug, reporting
from sscl.errors import SSCLError
from tasks.audit import UnansweredError, announce_verdict, read_suspects, run_audit


@flow(name="audits", validate_parameters=True)
def audits(suspects: str = "suspects.yaml", root: str = ".") -> list[dict[str, Any]]:
    """Audit every suspect of a list with the committed exact test; the evidence of each lies beside the others.

    Args:
        suspects: YAML file, a list of ``{suspect, oracle, sign}``; addresses without credentials.
        root: the checkout's folder.

    Returns:
        The verdicts, in the list's order.

    Raises:
        UnansweredError: some suspects could not be audited; the others were.
    """
    found, failed = [], []
    for entry in read_suspects(Path(root) / suspects):
        name = hashlib.sha256(entry["suspect"].encode()).hexdigest()[:12]
        bundle = str(Path(root) / f"out/private/audits/{name}.zip")
        try:
            verdict = run_audit(entry["suspect"], root, entry.get("oracle"), bundle, entry.get("sign"), False)
        except SSCLError as error:
            failed.append(f"{entry['suspect']}: {error}")
            continue
        announce_verdict(entry["suspect"], verdict)
        found.append({"suspect": entry["suspect"], **verdict})
    if failed:
        raise UnansweredError(failed, len(found))
    return found


def main(
    suspects: Annotated[str, typer.Argument(help="YAML list of suspects.")] = "suspects.yaml",
    root: Annotated[Path, typer.Option("--root", help="The checkout's folder.")] = Path(),
    debug: Debug = False,
) -> None:
    """Audit a list of suspects in a Prefect flow."""
    with reporting(debug):
        for found in audits(suspects, str(root)):
            typer.echo(f"{found['suspect']}: {found['decision']}")


if __name__ == "__main__":
    typer.run(main)
