"""Flow ``protect``: a clean dataset in, a watermarked one and the owner's secret out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.chain import run_chain
from tasks.parameters import set_parameters

STAGES = ("prepare", "surrogate", "generator@release", "commit", "embed@release")


@flow(name="protect", validate_parameters=True)
def protect(profile: str | None = None, overrides: list[str] | None = None, root: str = ".") -> dict[str, Any]:
    """Prepare, train the surrogate, make the marks, commit, draw the word and embed.

    Args:
        profile: a profile of ``params.yaml`` to put in force first; ``None`` for the one that is.
        overrides: ``section.key=value`` to write to ``params.yaml`` first.
        root: the checkout's folder.

    Returns:
        Hashes of what each stage made.
    """
    set_parameters(Path(root) / "params.yaml", profile, overrides or ())
    return run_chain(STAGES, Path(root))


if __name__ == "__main__":
    from flows.command import main

    main(protect)
