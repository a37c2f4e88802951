"""The command line: ``sscl run`` for everything, one verb a stage for DVC, ``sscl doctor`` for what is missing."""

import json
import os
import secrets
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
from sscl.cli_benchmark import benchmark
from sscl.cli_release import app as release_app
from sscl.cli_release import init_remote
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
        shown = [column for column in rows[0] if column not in ("Paper", "p")]  # 80 columns; the page has them
        for column in shown:
            table.add_column(column, overflow="fold", no_wrap=column == shown[-1])
        for row in rows:
            table.add_row(*(row[column].partition(" (")[0] if column == shown[0] else row[column] for column in shown))
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
_stage_command("commit", (), "Draw decoys; fix keys, test and images before the release; publish only a hash.")
_stage_command("simulate", tuple(SCENARIOS), "Train a stranger's model on a marked or clean set.")


@app.command(
    short_help="Query models and test ownership. [dim]sscl verify --suspect model.onnx --bundle evidence.zip[/]"
)
def verify(
    suspect: Annotated[
        str | None, typer.Option(help="Model file, pkg.mod:function or URL; else the scenarios.")
    ] = None,
    oracle: Annotated[Path | None, typer.Option(help="YAML file that says how the suspect's API is spoken to.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Write the evidence here.")] = None,
    sign: Annotated[Path | None, typer.Option(help="Ed25519 key (PEM) that signs the evidence.")] = None,
    references: Annotated[Path | None, typer.Option(help="Folder of clean models, for the conformal test.")] = None,
    exploratory: Annotated[bool, typer.Option(help="Without the published commitment; proves nothing.")] = False,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    out: Out = Path("out"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Query the three scenarios' models (the pipeline's stage), or audit a suspect with the committed exact test.

    Example: sscl verify --out out --suspect http://host/predict --oracle api.yaml --bundle evidence.zip --sign key.pem
    """
    options = Options(params, profile, set_, out, overwrite, quiet, json_, debug)
    if suspect is None:
        _run_one("verify", options)
        return

    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.evidence.session import audit_suspect

        finding, audit = audit_suspect(
            suspect, options.out, config.compute, oracle, bundle, sign, references, not exploratory
        )
        result = {**vars(finding), "suspect": audit["suspect"], "confirmatory": audit["confirmatory"]}
        if not options.json:
            print_finding(result, bundle)
        return result

    _execute(options, work)


_stage_command("audit", tuple(SCENARIOS), "Test one scenario's model exactly, over keys, with evidence.")
_stage_command("report", (), "Write metrics.json, plots and the HTML report.")


def print_finding(finding: dict[str, Any], bundle: Path | None = None) -> None:
    """A verdict for people at 80 columns."""
    colour = {"trained-on-it": "red", "no evidence": "green"}.get(finding["decision"], "yellow")
    kind = "confirmatory" if finding["confirmatory"] else "exploratory: no commitment, so this proves nothing"
    out_console.print(f"[bold {colour}]{finding['decision']}[/] ({kind})")
    out_console.print(_escape(finding["reason"]))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, value in (
        ("p-value", f"{finding['p_value']:.4g} ({finding['test']}, smallest possible {finding['floor']:.4g})"),
        ("delta_P, WSR", f"{finding['delta_p']:.3f}, {100 * finding['wsr']:.1f} %"),
        ("queries", f"{finding['queries']:,}"),
        ("published test", "would accuse" if finding["published"].get("accuses") else "would not accuse"),
    ):
        table.add_row(name, value)
    out_console.print(table)
    if bundle:
        out_console.print(f"Evidence: {bundle}", soft_wrap=True)


@app.command(short_help="Derive every figure of an evidence bundle again, offline. [dim]sscl check evidence.zip[/]")
def check(bundle: Path, json_: Json = False, debug: Debug = False) -> None:
    """Derive every figure of an evidence bundle again, offline; exit code 1 if anything differs.

    Example: sscl check evidence.zip
    """
    with reporting(debug):
        from sscl.evidence.bundle import signer, unpack
        from sscl.evidence.check import check as differences

        wrong = differences(bundle)
        key = None if wrong else signer(unpack(bundle)[0])
        if json_:
            typer.echo(json.dumps({"valid": not wrong, "differences": wrong, "ed25519": key}, indent=2))
        elif wrong:
            for line in wrong:
                out_console.print(f"[red]differs:[/] {_escape(line)}", highlight=False, soft_wrap=True)
        else:
            by = f"signed by Ed25519 {key}" if key else "not signed: anybody could have made it"
            out_console.print(f"[bold green]VALID[/], {by}", soft_wrap=True)
        if wrong:
            raise typer.Exit(1)


@app.command(short_help="Say how many queries an audit needs. [dim]sscl power --effect 0.5[/]")
def power(
    effect: Annotated[float, typer.Option(help="Expected WSR of a model trained on the release.")] = 0.5,
    decoy: Annotated[float, typer.Option(help="Expected WSR of decoy keys.")] = 0.05,
    spread: Annotated[float, typer.Option(help="Its standard deviation between keys.")] = 0.05,
    alpha: Annotated[float, typer.Option(help="Significance level.")] = 0.05,
    target: Annotated[float, typer.Option("--power", help="Wanted power.")] = 0.95,
    decoys: Annotated[int, typer.Option(help="Decoy keys of the fixed test.")] = 199,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Say how many queries an audit needs for an effect, before the first is sent (simulated, labels only).

    Example: sscl power --effect 0.3 --decoy 0.05
    """
    with reporting(debug):
        import numpy as np

        from sscl import seeds
        from sscl.verify.power import Effect, plan

        found = plan(
            Effect(effect, decoy, spread), alpha, target, decoys, np.random.default_rng(seeds.derive(seed, "power"))
        )
        if json_:
            typer.echo(json.dumps(vars(found) if found else None, indent=2))
            return
        if found is None:
            out_console.print("Not even 1,280 images for each key give that power; the effect is too small.")
            return
        out_console.print(f"{found.images} verification images for each key:")
        out_console.print(f"  key_rank        {found.queries_fixed:,} queries, power {found.power_fixed:.2f}")
        out_console.print(
            f"  key_sequential  {found.queries_sequential:,.0f} queries on average, power {found.power_sequential:.2f}"
        )


app.command(short_help="Compare watermarks under attacks. [dim]sscl benchmark --profile small --dry-run[/]")(benchmark)


app.command(short_help="Name DVC's public and private remotes. [dim]sscl init-remote --help[/]")(init_remote)
app.add_typer(release_app, name="release", short_help="Publish, pull and check releases in S3.")


@app.command(short_help="Make a secret key. [dim]sscl keygen private/sign.pem[/]")
def keygen(
    path: Path,
    release: Annotated[bool, typer.Option("--release", help="The release's secret (`key_file`) instead.")] = False,
    seal: Annotated[bool, typer.Option("--seal", help="The key that opens sealed secrets (age) instead.")] = False,
    debug: Debug = False,
) -> None:
    """Make an Ed25519 key that signs evidence, or one of the others; an existing file is never replaced.

    Example: sscl keygen --release private/release.key
    """
    with reporting(debug):
        from sscl.evidence.bundle import new_key
        from sscl.release.sealed import new_identity

        if release and seal:
            raise InputError("--release and --seal are two keys; make one after the other")
        public, content = None, secrets.token_bytes(32) if release else new_key()
        if seal:
            identity, public = new_identity()
            content = f"{identity}\n".encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise InputError(f"{path}: already there; choose another name") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        out_console.print(f"{path}: keep it private", soft_wrap=True)
        if public:
            out_console.print(f"public key, for release.seal_to: {public}", soft_wrap=True)


@app.command(short_help="Start every scheduled flow in one process. [dim]sscl serve[/]")
def serve(debug: Debug = False) -> None:
    """Start what prefect.yaml schedules: audits, benchmark, releases; PREFECT_API_URL names the server.

    Example: sscl serve
    """
    with reporting(debug):
        if not Path("flows/serve.py").is_file():
            raise InputError("flows/serve.py: not here; run this in the checkout, where prefect.yaml is")
        os.execv(sys.executable, [sys.executable, "-m", "flows.serve"])


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
