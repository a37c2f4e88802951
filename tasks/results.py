"""Tasks that show results in the Prefect UI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from sscl.artifacts import read_json
from sscl.layout import GRID, Root

OUT = "out"


@task
def publish_results(root: str) -> dict[str, Any]:
    """The result table as an artifact; returns the metrics without the config and the machine.

    Of a study also the image grid; of a release under a secret key its amplified marks would tell the key.
    """
    from sscl.report.figures import data_uri
    from sscl.report.tables import scenario_rows

    out = Root(Path(root) / OUT)
    metrics = read_json(out.metrics)
    create_table_artifact(scenario_rows(metrics), key="ownership-verification", description=metrics["dataset"])
    if metrics["config"]["key_file"] is None:
        grid = data_uri(out.page.with_name(GRID).read_bytes())
        markdown = f"Test images: clean, marked, and the change amplified.\n\n![clean, marked, change]({grid})\n"
        create_markdown_artifact(markdown, key="image-grid", description=metrics["dataset"])
    shown = ("dataset", "benign_accuracy_clean", "benign_accuracy_watermarked", "watermark_success_rate", "lpips")
    return {name: metrics[name] for name in shown}
