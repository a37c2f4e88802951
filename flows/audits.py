"""Flow ``audits``: every suspect of a list, one after the other; one that does not answer does not stop the others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer
from prefect import flow

from flows.command import running
from sscl.artifacts import key_of, read_json, write_atomically
from sscl.cli.common import Debug
from sscl.layout import Root
from sscl.statistics.correction import holm
from tasks.audit import UnansweredError, announce_verdict, read_suspects, run_audit
from tasks.results import OUT


@flow(name="audits", validate_parameters=True)
def audits(suspects: str = "suspects.yaml", root: str = ".") -> list[dict[str, Any]]:
    """Audit every suspect of a list with the committed exact test; the evidence of each lies beside the others.

    Every night's audit of a suspect has its share of alpha: however long they go on, an innocent one is ever accused
    with probability at most alpha (``sscl.audit.spending``).

    Args:
        suspects: YAML file under ``root``, a list of ``{suspect, oracle, sign}``: an address without credentials or a
            model's file, and files; relative ones are under ``root``.
        root: the checkout's folder.

    Returns:
        The verdicts, in the list's order, with p-values corrected for its length (Holm).

    Raises:
        UnansweredError: some suspects could not be audited; the others were.
    """
    folder, out, today = Path(root), Root(Path(root) / OUT), datetime.now(UTC).date().isoformat()
    entries = read_suspects(folder / suspects)
    commitment = read_json(out.commitment)["sha256"]
    found, failed = [], []
    for entry in entries:
        name = key_of(commitment=commitment, suspect=spelt(entry["suspect"]))[:12]  # however it is queried
        bundle = out.audits / f"{today}-{name}.zip"
        occasion = occasion_of(out, name, today)
        oracle, sign = (str(folder / entry[key]) if key in entry else None for key in ("oracle", "sign"))
        model = folder / entry["suspect"]
        suspect = str(model) if model.is_file() else entry["suspect"]
        try:
            verdict = run_audit(suspect, root, oracle, str(bundle), sign, False, occasion)
        except Exception as error:  # whatever one suspect does, the others are audited
            failed.append(f"{entry['suspect']}: {type(error).__name__}: {error}")
            continue
        keep_day(out, name, today)
        found.append({"suspect": entry["suspect"], **verdict})
    adjusted = holm({str(number): verdict["p_value"] for number, verdict in enumerate(found)})
    for number, verdict in enumerate(found):
        verdict["adjusted"] = adjusted[str(number)]
        announce_verdict(verdict["suspect"], verdict)
    if failed:
        raise UnansweredError(failed, len(found))
    return found


def spelt(suspect: str) -> str:
    """A suspect's address as it is always spelt: the case of scheme and host says nothing."""
    parts = urlsplit(suspect)
    return urlunsplit(parts._replace(netloc=parts.netloc.lower())) if parts.scheme in ("http", "https") else suspect


def occasion_of(out: Root, name: str, today: str) -> int:
    """Which audit of a suspect under one commitment today's is: the next one, also if the clock was set back."""
    days = _days(out, name)
    return (days.index(today) if today in days else len(days)) + 1


def keep_day(out: Root, name: str, today: str) -> None:
    """Note that the suspect was audited today, wherever the bundle goes."""
    ledger = _ledger(out, name)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(ledger, "".join(f"{day}\n" for day in dict.fromkeys([*_days(out, name), today])).encode())


def _days(out: Root, name: str) -> list[str]:
    """The days of its audits, in their order; those that only a bundle tells of come last."""
    ended, ledger = f"-{name}.zip", _ledger(out, name)
    noted = ledger.read_text().split() if ledger.is_file() else []
    told = sorted(path.name.removesuffix(ended) for path in out.audits.glob(f"*{ended}"))
    return list(dict.fromkeys([*noted, *told]))


def _ledger(out: Root, name: str) -> Path:
    return out.state / "occasions" / f"{name}.txt"


def main(
    suspects: Annotated[str, typer.Argument(help="YAML list of suspects.")] = "suspects.yaml",
    root: Annotated[Path, typer.Option("--root", help="The checkout's folder.")] = Path(),
    debug: Debug = False,
) -> None:
    """Audit a list of suspects in a Prefect flow."""
    with running(debug):
        for found in audits(suspects, str(root)):
            typer.echo(f"{found['suspect']}: {found['decision']}")


if __name__ == "__main__":
    typer.run(main)
