"""``sscl run``, and the stages that DVC runs."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sscl.cli.common import (
    Debug,
    Json,
    Options,
    Out,
    Overwrite,
    Params,
    Profile,
    Quiet,
    Set,
    err_console,
    execute,
    out_console,
    reporting,
    styled,
)
from sscl.errors import InputError
from sscl.layout import CODE, Root
from sscl.stages.table import ABOUT, ALL, STAGES, Stage

OfEncoder = Annotated[bool, typer.Option("--encoder", help="Of the pipeline that protects an encoder.")]
TRACKED = "DVC_STAGE"  # set where DVC runs a stage: it keeps every version of the outputs


def run_one(name: str, options: Options, encoder: bool) -> None:
    """Run one stage and say what it wrote."""

    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.orphans import end_with_parent
        from sscl.runner import note_of, require_carrier, run_stage

        end_with_parent()
        require_carrier(config, "encoder" if encoder or name not in STAGES else "dataset")
        stage = ALL[name]
        computed = run_stage(stage, config, options.out, options.overwrite, vouched=TRACKED in os.environ)
        if not options.json:
            outputs = ", ".join(str(options.out / path) for path in stage.outputs.values())
            err_console.print(f"{name}: {'wrote' if computed else 'up to date:'} {outputs}", highlight=False)
        noted = note_of(stage, options.out)
        return {
            "stage": name,
            "computed": computed,
            "digests": noted.get("digests"),
            "seconds": noted.get("seconds"),
        }

    execute(options, work)


def run(
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    *,
    out: Out = Path("runs/latest"),
    encoder: Annotated[bool, typer.Option("--encoder", help="Protect an encoder instead of a dataset.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Run the whole pipeline in a directory of its own, without Prefect or DVC.

    Example: sscl run --profile cifar10-small --set seed=1 --out runs/cifar-1

    Example: sscl run --encoder --profile contrastive-demo --out runs/encoder
    """

    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.artifacts import read_json
        from sscl.runner import run_all

        def announce(stage: Stage) -> None:
            if not (options.quiet or options.json):
                err_console.print(styled("dim", stage.name))

        root, carrier = Root(options.out), "encoder" if encoder else "dataset"
        computed = run_all(config, root.path, options.overwrite, before=announce, carrier=carrier)
        if not options.json:
            (print_encoder_result if encoder else print_result)(root)
        metrics, page = (root.encoder_metrics, root.encoder_page) if encoder else (root.metrics, root.page)
        return {"computed": computed, "metrics": read_json(metrics), "report": str(page)}

    execute(Options(params, profile, set_, out, overwrite, quiet, json_, debug), work)


def print_result(root: Root) -> None:
    """The result table and the path of the report, for people at 80 columns."""
    from sscl.artifacts import read_json
    from sscl.report.tables import attack_rows, comparison_rows, false_accusations, scenario_rows

    metrics = read_json(root.metrics)
    titled = {
        "Ownership verification": scenario_rows(metrics),
        "After removal attacks": attack_rows(metrics),
        "This run": comparison_rows(metrics, {}),
    }
    for title, rows in titled.items():
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        shown = [column for column in rows[0] if column not in ("Paper", "p")]  # 80 columns; the page has them
        for column in shown:
            table.add_column(column, overflow="fold", no_wrap=column == shown[-1])
        for row in rows:
            table.add_row(*(row[column].partition(" (")[0] if column == shown[0] else row[column] for column in shown))
        out_console.print(table)
    accused = false_accusations(metrics)
    if accused:
        out_console.print(styled("bold red", "The published test accuses an innocent here:", "; ".join(accused)))
    out_console.print(f"Report: {root.page}", soft_wrap=True)


def print_encoder_result(root: Root) -> None:
    """The table of an encoder's suspects and the path of the report."""
    from sscl.artifacts import read_json
    from sscl.report.tables import encoder_rows

    rows = encoder_rows(read_json(root.encoder_metrics))
    table = Table(title="Classifiers on the encoder", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    out_console.print(table)
    out_console.print(f"Report: {root.encoder_page}", soft_wrap=True)


def code(out: Out = Path("out"), debug: Debug = False) -> None:
    """Note which code each stage runs, so that DVC starts after an edit only what the edit concerns.

    Example: sscl stage code
    """
    from sscl.artifacts import write_atomically
    from sscl.permissions import close_new
    from sscl.provenance import code_digest

    with reporting(debug):
        close_new(out)
        (out / CODE).mkdir(parents=True, exist_ok=True)
        for verb in ABOUT:
            write_atomically(out / CODE / verb, f"{code_digest(f'sscl.stages.{verb}')}\n".encode())


def add_stage(app: typer.Typer, verb: str, variants: tuple[str, ...], text: str) -> None:
    """Give ``app`` the verb of a stage; with variants, as its argument."""
    names = [name for name, stage in ALL.items() if stage.verb == verb]
    example = f"sscl stage {verb} {variants[0]}" if variants else f"sscl stage {verb}"

    def plain(
        params: Params = None,
        profile: Profile = None,
        set_: Set = None,
        out: Out = Path("out"),
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        json_: Json = False,
        encoder: OfEncoder = False,
        debug: Debug = False,
    ) -> None:
        run_one(names[0], Options(params, profile, set_, out, overwrite, quiet, json_, debug), encoder)

    def varied(
        variant: Annotated[str, typer.Argument(help=" | ".join(variants), metavar="VARIANT")],
        params: Params = None,
        profile: Profile = None,
        set_: Set = None,
        out: Out = Path("out"),
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        json_: Json = False,
        encoder: OfEncoder = False,
        debug: Debug = False,
    ) -> None:
        with reporting(debug):
            if variant not in variants:
                raise InputError(f"{verb}: {variant!r} does not exist, choose one of {', '.join(variants)}")
        run_one(f"{verb}@{variant}", Options(params, profile, set_, out, overwrite, quiet, json_, debug), encoder)

    command = varied if variants else plain
    command.__doc__ = f"{text}\n\nExample: {example}"
    app.command(verb, short_help=f"{text} [dim]{example}[/]")(command)
