"""Flow ``encoder``: imprint a word on an encoder, let strangers build on it, verify ownership, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.chain import ONE_AT_A_TIME, run_chain
from sscl.stages.table import ENCODER
from tasks.parameters import set_parameters
from tasks.results import publish_encoder_results


@flow(name="encoder", task_runner=ONE_AT_A_TIME, validate_parameters=True)
def encoder(profile: str | None = None, overrides: list[str] | None = None, root: str = ".") -> dict[str, Any]:
    """Train an encoder, commit, imprint, and audit what strangers build on it; the table shows in the Prefect UI.

    Args:
        profile: a profile of ``params.yaml`` to put in force first; ``None`` for the one that is.
        overrides: ``section.key=value`` to write to ``params.yaml`` first.
        root: the checkout's folder.

    Returns:
        Decision and p-value of each classifier.
    """
    set_parameters(Path(root) / "params.yaml", profile, overrides or ())
    run_chain(list(ENCODER), Path(root))
    return publish_encoder_results(root)


if __name__ == "__main__":
    from flows.command import main

    main(encoder)
