"""The command line: ``sscl run`` for everything, one verb a stage for DVC, ``sscl doctor`` for what is missing."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sscl import progress
from sscl.errors import InputError, SSCLError
from sscl.stages.table import ROLES, SCENARIOS, STAGES, Stage

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Prove that a model was trained on your images: watermark a dataset, then verify ownership by queries alone.",
)
out_console = Console()
err_console = Console(stderr=True, soft_wrap=True)

Params = Annotated[Path | None, typer.Option("--params", help="Parameter file.  [default: ./params.yaml]")]
Profile = Annotated[str | None, typer.Option("--profile", "-p", help="A profile of the parameter file.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override, e.g. -s verify.tau=0.3 (repeatable).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output root.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that another config made.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@dataclass(frozen=True)
class Options:
    """What every verb that runs stages takes."""

    params: Path | None
    profile: str | None
    overrides: list[str] | None
    out: Path
    overwrite: bool
    quiet: bool
    json: bool
    debug: bool


@contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Errors as one line: exit code 2 for bad input, 1 for failures; a traceback only with ``--debug``."""
    try:
        yield
    except SSCLError as error:
        if debug:
            traceback.print_exc()
        err_console.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        err_console.print("stopped; run the same command again to go on")
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            traceback.print_exc()
        err_console.print(
            f"[bold red]error:[/] {type(error).__name__}: {_escape(str(error))} (--debug shows where)", highlight=False
        )
        raise typer.Exit(1) from None


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("[", r"\[")


def _execute(options: Options, work: Callable[[Any, Options], dict[str, Any]]) -> None:
    with reporting(options.debug):
        progress.set_quiet(options.quiet or options.json)
        from sscl.params import load

        result = work(load(options.params, options.profile, options.overrides or ()), options)
        if options.json:
            typer.echo(json.dumps(result, indent=2, sort_keys=True))


def _run_one(name: str, options: Options) -> None:
    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.runner import run_stage, slot_of

        stage = STAGES[name]
        computed = run_stage(stage, config, options.out, options.overwrite)
        if not options.json:
            outputs = ", ".join(str(options.out / path) for path in stage.outputs.values())
            err_console.print(f"{name}: {'wrote' if computed else 'up to date:'} {outputs}", highlight=False)
        manifest = slot_of(stage, config, options.out).manifest() or {}
        return {
            "stage": name,
            "computed": computed,
            "digests": manifest.get("digests"),
            "seconds": manifest.get("seconds"),
        }

    _execute(options, work)


@app.command(short_help="Run the whole pipeline, without Prefect or DVC. [dim]sscl run --out runs/first[/]")
def run(
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    out: Out = Path("runs/latest"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Run the whole pipeline in a directory of its own, without Prefect or DVC.

    Example: sscl run --profile cifar10-small --set seed=1 --out runs/cifar-1
    """

    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.artifacts import read_json
        from sscl.runner import run_all

        def announce(stage: Stage) -> None:
            if not (options.quiet or options.json):
                err_console.print(f"[dim]{stage.name}[/]", highlight=False)

        computed = run_all(config, options.out, options.overwrite, announce)
        metrics = read_json(options.out / "metrics.json")
        if not options.json:
            print_result(metrics, options.out)
        return {"computed": computed, "metrics": metrics, "report": str(options.out / "report/report.html")}

    _execute(Options(params, profile, set_, out, overwrite, quiet, json_, debug), work)


def print_result(metrics: dict[str, Any], root: Path) -> None:
    """The result table and the path of the report, for people at 80 columns."""
    from sscl.report.tables import comparison_rows, false_accusations, scenario_rows

    for title, rows in (("Ownership verification", scenario_rows(metrics)), ("This run", comparison_rows(metrics, {}))):
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in rows[0]:
            if column != "Paper":
                table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(value for column, value in row.items() if column != "Paper"))
        out_console.print(table)
    accused = false_accusations(metrics)
    if accused:
        out_console.print(f"[bold red]The published test accuses an innocent here:[/] {'; '.join(accused)}")
    out_console.print(f"Report: {root / 'report/report.html'}", soft_wrap=True)


def _stage_command(verb: str, variants: tuple[str, ...], text: str) -> None:
    names = [name for name, stage in STAGES.items() if stage.verb == verb]
    example = f"sscl {verb} {variants[0]} --out out" if variants else f"sscl {verb} --out out"

    def plain(
        params: Params = None,
        profile: Profile = None,
        set_: Set = None,
        out: Out = Path("out"),
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        json_: Json = False,
        debug: Debug = False,
    ) -> None:
        _run_one(names[0], Options(params, profile, set_, out, overwrite, quiet, json_, debug))

    def varied(
        variant: Annotated[str, typer.Argument(help=" | ".join(variants), metavar="VARIANT")],
        params: Params = None,
        profile: Profile = None,
        set_: Set = None,
        out: Out = Path("out"),
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        json_: Json = False,
        debug: Debug = False,
    ) -> None:
        with reporting(debug):
            if variant not in variants:
                raise InputError(f"{verb}: {variant!r} does not exist, choose one of {', '.join(variants)}")
        _run_one(f"{verb}@{variant}", Options(params, profile, set_, out, overwrite, quiet, json_, debug))

    command = varied if variants else plain
    command.__doc__ = f"{text}\n\nExample: {example}"
    app.command(verb, short_help=f"{text} [dim]{example}[/]")(command)


_stage_command("prepare", (), "Validate a dataset and write it once, clean and named by its content.")
_stage_command("surrogate", (), "Train the owner's classifier on clean data.")
_stage_command("generator", ROLES, "Train the watermark generator against the surrogate.")
_stage_command("embed", ROLES, "Mark a share of the dataset: the released set and the owner's secret.")
_stage_command("simulate", tuple(SCENARIOS), "Train a stranger's model on a marked or clean set.")
_stage_command("verify", (), "Query the suspicious models and test ownership.")
_stage_command("report", (), "Write metrics.json, plots and the HTML report.")


@app.command(short_help="Say what is missing on this machine and how to get it. [dim]sscl doctor[/]")
def doctor(json_: Json = False) -> None:
    """Say what is missing on this machine and how to get it.

    Example: sscl doctor
    """
    from sscl.doctor import examine

    findings = examine()
    if json_:
        typer.echo(json.dumps([vars(f) for f in findings], indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "What", "State", "Remedy"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[yellow]--[/]"
        table.add_row(mark, finding.what, finding.state, finding.remedy)
    out_console.print(table)


def main() -> None:
    """Entry point."""
    sys.exit(app())
