"""Flow ``evaluate``: protect, let strangers train, verify ownership, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.chain import run_chain
from flows.protect import protect
from sscl.stages.table import STAGES
from tasks.parameters import set_parameters
from tasks.results import publish_results


@flow(name="evaluate", validate_parameters=True)
def evaluate(profile: str | None = None, overrides: list[str] | None = None, root: str = ".") -> dict[str, Any]:
    """The whole main job; the result table and the image grid show in the Prefect UI.

    Args:
        profile: a profile of ``params.yaml`` to put in force first; ``None`` for the one that is.
        overrides: ``section.key=value`` to write to ``params.yaml`` first.
        root: the checkout's folder.

    Returns:
        The main metrics.
    """
    set_parameters(Path(root) / "params.yaml", profile, overrides or ())
    done = protect(root=root)
    run_chain([name for name in STAGES if name not in done], Path(root))
    return publish_results(root)


if __name__ == "__main__":
    from flows.command import main
    from sscl.cli.pipeline import print_result

    main(evaluate, show=print_result)
