"""The audit of one suspect as a Prefect task; what it returns and shows holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.runtime import task_run

from sscl.errors import InputError, SSCLError
from sscl.params import load
from tasks.results import OUT
from tasks.retries import PATIENT

POSITIVE = "sscl.verdict.trained-on-it"  # what an automation listens for


class UnansweredError(SSCLError):
    """Some suspects of a list could not be audited.

    Args:
        failed: suspect and reason, one line each.
        done: how many others were audited.
    """

    def __init__(self, failed: list[str], done: int) -> None:
        super().__init__(f"{len(failed)} suspects were not audited, {done} were: {'; '.join(failed)}")


def check_address(suspect: str, where: str) -> None:
    """Raises ``InputError`` for an address with credentials: Prefect keeps parameters, and shows them."""
    parts = urlsplit(suspect)
    if parts.query or "@" in parts.netloc:
        raise InputError(f"{where}: no credentials or query in an address; use the oracle's auth_env")


def read_suspects(path: Path) -> list[dict[str, str]]:
    """The list of a nightly audit.

    Raises:
        InputError: not a YAML list of ``{suspect, oracle, sign}``, or a suspect is there twice.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        found = None
    known = {"suspect", "oracle", "sign"}
    if isinstance(found, list):  # null says no more than a key that is not there
        found = [{k: v for k, v in entry.items() if v is not None} if isinstance(entry, dict) else 0 for entry in found]
    if not isinstance(found, list) or not all(
        isinstance(entry, dict) and "suspect" in entry and set(entry) <= known for entry in found
    ):
        raise InputError(f"{path}: expected a list such as `- {{suspect: https://host/predict, oracle: api.yaml}}`")
    for number, entry in enumerate(found, start=1):
        check_address(str(entry["suspect"]), f"{path}: suspect {number}")
    named = [str(entry["suspect"]) for entry in found]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise InputError(f"{path}: {twice} is there twice, and evidence is kept by suspect and day; remove one entry")
    return [{name: str(value) for name, value in entry.items()} for entry in found]


def announce_verdict(suspect: str, verdict: dict[str, Any]) -> None:
    """An event for automations: a confirmatory audit says so, also after correction for the length of the list."""
    if verdict["decision"] == "trained-on-it" and verdict["confirmatory"] and verdict["adjusted"] <= verdict["alpha"]:
        payload = {name: verdict[name] for name in ("p_value", "test", "queries", "bundle")}
        emit_event(POSITIVE, {"prefect.resource.id": "sscl.suspect", "suspect": suspect}, payload=payload)


@task(
    name="audit",
    tags=["gpu"],
    **PATIENT,
)
def run_audit(
    suspect: str,
    root: str,
    oracle: str | None,
    bundle: str,
    sign: str | None,
    exploratory: bool,
    occasion: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Query the suspect, write the evidence, show the verdict; another occasion asks anew what was answered before."""
    from sscl.audit.session import audit_suspect

    folder, retried = Path(root), (task_run.run_count or 1) > 1  # answers are kept: the bundle will say the same
    finding, audit = audit_suspect(
        suspect,
        folder / OUT,
        load(folder / "params.yaml").compute,
        oracle=Path(oracle) if oracle else None,
        bundle=Path(bundle),
        sign=Path(sign) if sign else None,
        confirmatory=not exploratory,
        occasion=occasion,
        overwrite=overwrite or occasion is not None or retried,  # a night's bundle has a name of its own
    )
    kind = "confirmatory" if audit["confirmatory"] else "exploratory: proves nothing"
    text = f"# {finding.decision} ({kind})\n\n{finding.reason}\n\n"
    text += f"p = {finding.p_value:.4g} ({finding.test}), {finding.queries:,} queries. Evidence: `{bundle}`\n"
    create_markdown_artifact(text, key="audit", description=str(audit["suspect"]))
    shown = ("decision", "reason", "test", "p_value", "alpha", "delta_p", "wsr", "queries")
    return {name: getattr(finding, name) for name in shown} | {"confirmatory": audit["confirmatory"], "bundle": bundle}
