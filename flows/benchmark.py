"""Flow ``benchmark``: the comparison's cells as tasks, on threads, Dask or Ray."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow

from flows.command import running
from sscl.cli.common import Debug
from tasks.benchmark import measure, publish
from tasks.runners import Address, Runner, Workers, runner


@flow(name="benchmark", task_runner=runner("thread", 1), validate_parameters=True)
def benchmark(
    profile: str = "small",
    overrides: list[str] | None = None,
    out: str = "runs/benchmark",
    root: str = ".",
) -> list[dict[str, Any]]:
    """Measure every cell that is not there yet; tables show in the Prefect UI.

    Args:
        profile: a benchmark of ``benchmark.yaml``.
        overrides: ``section.key=value`` for every cell.
        out: where pieces, rows and tables are kept, under ``root``; workers on other machines must see it too.
        root: the checkout's folder.

    Returns:
        The rows, in the plan's order.

    Raises:
        IncompleteError: some cells failed; the others' rows are published.
    """
    from sscl.benchmark.plan import load_plan
    from sscl.benchmark.results import IncompleteError

    folder = Path(root).resolve()  # workers may have another working directory
    params, kept = str(folder / "params.yaml"), folder / out
    cells = load_plan(folder / "benchmark.yaml", profile)
    waiting = [measure.submit(cell.name, asdict(cell), str(kept), params, overrides or []) for cell in cells]
    answers = [future.result(raise_on_failure=False) for future in waiting]
    named = list(zip([cell.name for cell in cells], answers, strict=True))
    failed = [f"{name}: {answer}" for name, answer in named if isinstance(answer, Exception)]
    rows = [answer for answer in answers if not isinstance(answer, Exception)]
    if rows:
        publish(rows, kept)
    if failed:
        raise IncompleteError(failed, len(cells))
    return rows


def main(
    profile: Annotated[str, typer.Option(help="A benchmark of benchmark.yaml.")] = "small",
    on: Runner = "thread",
    workers: Workers = 1,
    *,
    address: Address = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override for every cell.")] = None,
    out: Annotated[Path, typer.Option(help="Where pieces, rows and tables are kept.")] = Path("runs/benchmark"),
    debug: Debug = False,
) -> None:
    """Run the comparison in a Prefect flow."""
    with running(debug):
        benchmark.with_options(task_runner=runner(on, workers, address))(profile, overrides, str(out))


if __name__ == "__main__":
    typer.run(main)
