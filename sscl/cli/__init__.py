"""The command line: what a person does at the top, the pipeline's stages under ``sscl stage``."""

import sys

import typer

from sscl.cli.audit import audit, check, stamp
from sscl.cli.benchmark import benchmark
from sscl.cli.machine import doctor, keygen, serve
from sscl.cli.pipeline import add_stage, code, run
from sscl.cli.release import app as release_app
from sscl.cli.release import init_remote
from sscl.stages.table import ABOUT, variants

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Prove that a model was trained on your images: watermark a dataset, then verify ownership by queries alone.",
)
app.command(short_help="Run the whole pipeline, without Prefect or DVC. [dim]sscl run --out runs/first[/]")(run)
app.command(short_help="Have the commitment time-stamped. [dim]sscl stamp https://freetsa.org/tsr[/]")(stamp)
app.command(short_help="Ask a suspect and test ownership exactly. [dim]sscl audit model.onnx --bundle evidence.zip[/]")(
    audit
)
app.command(short_help="Derive every figure of an evidence bundle again, offline. [dim]sscl check evidence.zip[/]")(
    check
)
app.add_typer(release_app, name="release", short_help="Publish, pull and check releases in S3.")
app.command(short_help="Make a secret key. [dim]sscl keygen private/sign.pem[/]")(keygen)
app.command(short_help="Compare watermarks under attacks. [dim]sscl benchmark --profile small --dry-run[/]")(benchmark)
app.command(short_help="Name DVC's public and private remotes. [dim]sscl init-remote --help[/]")(init_remote)
app.command(short_help="Start every scheduled flow in one process. [dim]sscl serve[/]")(serve)
app.command(short_help="Say what is missing on this machine and how to get it. [dim]sscl doctor[/]")(doctor)

stages = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Run one stage of the pipeline, as DVC does.")
stages.command(short_help="Note which code each stage runs. [dim]sscl stage code[/]")(code)
for _verb, _text in ABOUT.items():
    add_stage(stages, _verb, variants(_verb), _text)
app.add_typer(stages, name="stage", short_help="Run one stage of the pipeline. [dim]sscl stage prepare[/]")


def main() -> None:
    """Entry point."""
    sys.exit(app())
