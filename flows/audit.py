"""Flow ``audit``: was this model trained on our release? One suspect, by its address."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow

from flows.command import running
from sscl.artifacts import key_of
from sscl.cli.common import Debug
from sscl.layout import Root
from tasks.audit import announce_verdict, check_address, run_audit
from tasks.results import OUT


@flow(name="audit", validate_parameters=True)
def audit(
    suspect: str,
    oracle: str | None = None,
    bundle: str | None = None,
    sign: str | None = None,
    exploratory: bool = False,
    root: str = ".",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Audit a suspect with the committed exact test and write the evidence; a positive one is announced.

    Args:
        suspect: model file, ``pkg.mod:function`` or URL without credentials (they come from the environment).
        oracle: YAML file that describes how to query its API.
        bundle: where the evidence goes; by default with the other audits' under ``root``.
        sign: file of the Ed25519 key that signs it.
        exploratory: without the published commitment; such a result proves nothing.
        root: the checkout's folder.
        overwrite: whether evidence that is there may be replaced.

    Returns:
        The verdict and its main figures.
    """
    check_address(suspect, "suspect")
    target = bundle or str(Root(Path(root) / OUT).audits / f"{key_of(suspect=suspect)[:12]}.zip")
    verdict = run_audit(suspect, root, oracle, target, sign, exploratory, overwrite=overwrite)
    announce_verdict(suspect, {**verdict, "adjusted": verdict["p_value"]})
    return verdict


def main(
    suspect: Annotated[str, typer.Argument(help="Model file, pkg.mod:function or URL.")],
    oracle: Annotated[Path | None, typer.Option(help="YAML file of the API's settings.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Where the evidence goes.")] = None,
    *,
    sign: Annotated[Path | None, typer.Option(help="Ed25519 key that signs it.")] = None,
    exploratory: Annotated[bool, typer.Option(help="Without the published commitment.")] = False,
    root: Annotated[Path, typer.Option("--root", help="The checkout's folder.")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing evidence.")] = False,
    debug: Debug = False,
) -> None:
    """Audit one suspect in a Prefect flow."""
    with running(debug):
        check_address(suspect, "suspect")  # before Prefect sees it
        found = audit(
            suspect,
            str(oracle) if oracle else None,
            str(bundle) if bundle else None,
            sign=str(sign) if sign else None,
            exploratory=exploratory,
            root=str(root),
            overwrite=overwrite,
        )
        typer.echo(f"{found['decision']}: {found['reason']}")


if __name__ == "__main__":
    typer.run(main)
