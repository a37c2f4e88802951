"""The verb ``sscl benchmark``."""

import json
from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    profile: Annotated[str, typer.Option("--profile", "-p", help="A benchmark of the plan.")] = "small",
    plan: Annotated[Path, typer.Option(help="The plan.")] = Path("benchmark.yaml"),
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
    *,
    overrides: Annotated[list[str] | None, typer.Option("--set", "-s", help="Override for every cell.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where pieces, rows and tables are kept.")] = Path(
        "runs/benchmark"
    ),
    publish: Annotated[Path | None, typer.Option(help="Where rows, tables and figures go; default: --out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many cells and minutes, and stop.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Compare watermarks under attacks: every cell is computed once, and an interrupted run resumes where it stopped.

    Example: sscl benchmark --profile small --dry-run
    """
    from sscl.cli.common import out_console, reporting, styled

    with reporting(debug):
        from sscl.benchmark import results, tables
        from sscl.benchmark.plan import load_plan
        from sscl.benchmark.run import Bench
        from sscl.errors import SSCLError

        cells = load_plan(plan, profile)
        bench = Bench(out, params, tuple(overrides or ()))
        if dry_run or not json_:
            done, minutes = bench.minutes(cells)
            if json_:
                typer.echo(json.dumps({"cells": len(cells), "cached": done, "minutes": round(minutes, 1)}))
            else:
                out_console.print(f"{len(cells)} cells, {done} cached, about {minutes:,.0f} minutes for the rest")
        if dry_run:
            return
        rows, failed = [], []
        try:
            for number, cell in enumerate(cells, start=1):
                if not json_:
                    out_console.print(styled("dim", f"{number} of {len(cells)}", cell.name))
                try:
                    rows.append(bench.row(cell))
                except Exception as error:  # whatever it is, the others' hours are not lost
                    if debug:
                        raise
                    failed.append(f"{cell.name}: {error if isinstance(error, SSCLError) else repr(error)}")
        finally:  # a run that is broken off shows what there is
            folder = publish or out
            if rows:
                found = results.save(rows, folder)
        if json_:
            typer.echo(json.dumps(rows))
        elif rows:
            out_console.print(tables.markdown(found), soft_wrap=True)
            out_console.print(f"Rows: {folder / results.TABLE}, page: {folder / results.PAGE}", soft_wrap=True)
        if failed:
            raise results.IncompleteError(failed, len(cells))
