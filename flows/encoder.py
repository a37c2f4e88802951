"""Flow ``encoder``: imprint a word on an encoder, let strangers build on it, verify ownership, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from sscl.stages.table import ENCODER
from tasks.encoder import OUT, encoder_stage, publish_encoder_results
from tasks.retries import TIMEOUT_SECONDS


@flow(name="encoder", validate_parameters=True)
def encoder(profile: str | None = None, overrides: list[str] | None = None, root: str = ".") -> dict[str, Any]:
    """Train an encoder, commit, imprint, and audit what strangers build on it; the table shows in the Prefect UI.

    Args:
        profile: a profile of ``params.yaml``; ``None`` for the one that is in force.
        overrides: ``section.key=value``, for this run alone.
        root: the checkout's folder; outputs go to ``encoder/out`` there.

    Returns:
        Decision and p-value of each classifier.
    """
    out, params = str(Path(root) / OUT), str(Path(root) / "params.yaml")
    for name, stage in ENCODER.items():
        made = encoder_stage.with_options(
            name=name, tags=["gpu"] if stage.gpu else [], timeout_seconds=TIMEOUT_SECONDS[stage.gpu]
        )
        made(name, out, params, profile, list(overrides or ()))
    return publish_encoder_results(out)


if __name__ == "__main__":
    from flows.command import main
    from sscl.cli.pipeline import print_encoder_result

    main(encoder, by_dvc=False, show=print_encoder_result, out=OUT)
