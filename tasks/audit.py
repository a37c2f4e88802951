"""The audit of one suspect as a Prefect task; what it returns and shows holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import Task, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from sscl.errors import InputError
from sscl.evidence.session import audit_suspect
from sscl.params import load
from tasks.results import OUT


def _passes_by_itself(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Bad input would fail again; a suspect that does not answer may do so later, and no paid query is repeated."""
    return not isinstance(state.result(raise_on_failure=False), InputError)


@task(
    name="audit",
    tags=["gpu"],
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=30),
    retry_jitter_factor=0.5,
    retry_condition_fn=_passes_by_itself,
)
def run_audit(
    suspect: str, root: str, oracle: str | None, bundle: str, sign: str | None, exploratory: bool
) -> dict[str, Any]:
    """Query the suspect, write the evidence, show the verdict."""
    folder = Path(root)
    finding, audit = audit_suspect(
        suspect,
        folder / OUT,
        load(folder / "params.yaml").compute,
        Path(oracle) if oracle else None,
        Path(bundle),
        Path(sign) if sign else None,
        confirmatory=not exploratory,
    )
    kind = "confirmatory" if audit["confirmatory"] else "exploratory: proves nothing"
    text = f"# {finding.decision} ({kind})\n\n{finding.reason}\n\n"
    text += f"p = {finding.p_value:.4g} ({finding.test}), {finding.queries:,} queries. Evidence: `{bundle}`\n"
    create_markdown_artifact(text, key="audit", description=str(audit["suspect"]))
    shown = ("decision", "reason", "test", "p_value", "delta_p", "wsr", "queries")
    return {name: getattr(finding, name) for name in shown} | {"confirmatory": audit["confirmatory"], "bundle": bundle}
