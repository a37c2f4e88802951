"""Tasks of the flow ``encoder``: a stage each, kept by the product's own content key, which DVC's stages see too."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact

from sscl.artifacts import read_json
from sscl.layout import Root
from sscl.params import load, rebased
from sscl.report.tables import encoder_rows
from sscl.runner import require_carrier, run_stage
from sscl.stages.table import ENCODER
from tasks.console import LINES
from tasks.retries import STAGE

OUT = "encoder/out"  # where `dvc repro` in the folder `encoder` has it too


@task(**STAGE)
def encoder_stage(name: str, out: str, params: str, profile: str | None, overrides: list[str]) -> bool:
    """Build one stage's outputs unless they are there; whether it computed anything. A killed one resumes."""
    started = time.monotonic()
    LINES.running(name)
    config = rebased(load(Path(params), profile, overrides), Path(params).parent)
    require_carrier(config, "encoder")
    computed = run_stage(ENCODER[name], config, Path(out), overwrite=True)
    if computed:
        LINES.ended(name, f"{time.monotonic() - started:.1f} s")
    return computed


@task
def publish_encoder_results(out: str) -> dict[str, Any]:
    """The table of an encoder's suspects as an artifact; returns each one's decision and p-value."""
    metrics = read_json(Root(Path(out)).encoder_metrics)
    create_table_artifact(encoder_rows(metrics), key="encoder-verification", description=metrics["dataset"])
    return {name: {part: found[part] for part in ("decision", "p_value")} for name, found in metrics["audits"].items()}
