"""Flow ``release``: run the pipeline as far as anything changed, then gate, pack, seal and publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow

from flows.chain import run_chain
from flows.command import WrittenProfile, WrittenSet, running
from sscl.cli.common import Debug, Differing
from sscl.params import load
from sscl.stages.table import STAGES
from tasks.parameters import set_parameters
from tasks.release import publish_release, release_section


@flow(name="release", validate_parameters=True)
def release(
    version: str,
    profile: str | None = None,
    overrides: list[str] | None = None,
    root: str = ".",
    differing: bool = False,
) -> dict[str, Any]:
    """Publish one version; a failed gate fails the flow, and publishes nothing.

    Args:
        version: e.g. 1.0.0.
        profile: a profile of ``params.yaml`` to put in force first; ``None`` for the one that is.
        overrides: ``section.key=value`` to write to ``params.yaml`` first; never a secret, Prefect keeps them.
        root: the checkout's folder.
        differing: whether it may stand beside a version with other images or marks.

    Returns:
        Name, version, digest, and how many files were sent.
    """
    from sscl.release.create import require_publishable

    params = Path(root) / "params.yaml"
    changes = overrides or ()  # looked at before they are written, and before hours of training
    require_publishable(load(params, profile, changes), release_section(Path(root), changes, profile), version)
    set_parameters(params, profile, changes)
    run_chain(list(STAGES), Path(root))
    return publish_release(version, root, differing)


def main(
    version: Annotated[str, typer.Argument(help="e.g. 1.0.0")],
    profile: WrittenProfile = None,
    set_: WrittenSet = None,
    *,
    differing: Differing = False,
    root: Annotated[Path, typer.Option("--root", help="The checkout's folder.")] = Path(),
    debug: Debug = False,
) -> None:
    """Release in a Prefect flow."""
    with running(debug):
        found = release(version, profile, list(set_ or ()), str(root), differing)
        typer.echo(f"published: {found['name']} {found['version']}, {found['sent']} files sent")


if __name__ == "__main__":
    typer.run(main)
