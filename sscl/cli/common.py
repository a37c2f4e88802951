"""What every verb shares: consoles, options, errors as one line."""

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from sscl import progress
from sscl.errors import ConfigError, InputError, SSCLError, lacks_memory, may_pass, printable

EXTRAS = {
    "s3": ("boto3", "botocore"),
    "ssl": ("kornia", "lightly"),
    "onnx": ("onnxruntime",),
    "pipeline": (
        *("cleanlab", "dvc", "efficientnet_lite_pytorch", "fastapi", "jinja2", "lpips", "markupsafe"),
        *("matplotlib", "mlcroissant", "pandas", "prefect", "sklearn", "sqlalchemy"),
    ),
}
# Strangers' text is printed here, and no escape of rich's markup is safe for all of it: these consoles know none.
out_console = Console(emoji=False, markup=False)
err_console = Console(stderr=True, soft_wrap=True, emoji=False, markup=False)

Params = Annotated[Path | None, typer.Option("--params", help="Parameter file.  [default: ./params.yaml]")]
Profile = Annotated[str | None, typer.Option("--profile", "-p", help="A profile of the parameter file.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override, e.g. -s verify.tau=0.3 (repeatable).")]
ComputeSet = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override of compute, e.g. -s compute.device=cpu (repeatable).")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output root: the folder of the pipeline's outputs.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that another config made.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Differing = Annotated[
    bool,
    typer.Option(
        help="Publish even though another version is marked differently; comparing the two reveals the marks."
    ),
]
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
    except typer.Exit:
        raise
    except SSCLError as error:
        if debug:
            traceback.print_exc()
        err_console.print(styled("bold red", "error:", str(error)))
        progress.failed(str(error), isinstance(error, InputError), passing=may_pass(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        err_console.print("stopped; run the same command again to go on")
        raise typer.Exit(130) from None
    except ModuleNotFoundError as error:
        if debug:
            traceback.print_exc()
        extra = extra_of(error.name or "")
        said = f"{error.name} is not installed; pip install " + (f"'.[{extra}]' in the clone" if extra else "it")
        err_console.print(styled("bold red", "error:", said))
        progress.failed(said, bad_input=True)
        raise typer.Exit(2) from None
    except Exception as error:
        if debug:
            traceback.print_exc()
        said, hint = f"{type(error).__name__}: {error}", " (--debug shows where)"
        if lacks_memory(error):
            said, hint = f"not enough memory: free some, or lower batch_size, and run the command again ({said})", ""
        err_console.print(styled("bold red", "error:", f"{printable(said, 4000)}{hint}", 5000))
        progress.failed(said, bad_input=False, passing=may_pass(error))
        raise typer.Exit(1) from None


def extra_of(module: str) -> str | None:
    """The smallest extra of this package that brings a module; ``None`` where none does."""
    for extra, modules in EXTRAS.items():
        if module.partition(".")[0] in modules:
            return extra
    return None


def styled(style: str, label: str, text: str = "", longest: int = 4000) -> Text:
    """A label in a style and somebody's text after it, each on one line, with nothing that changes the terminal."""
    return Text.assemble((printable(label, 4000), style), " " if text else "", printable(text, longest))


def require_compute(overrides: list[str] | None) -> None:
    """Raises ``ConfigError`` for an override of what is committed to."""
    for override in overrides or ():
        if not override.startswith("compute."):
            raise ConfigError(f"--set {override}: not possible here, where the commitment counts; set only compute.*")


def execute(options: Options, work: Callable[[Any, Options], dict[str, Any]]) -> None:
    """Load the parameters, do the work, print its result where JSON is wanted."""
    with reporting(options.debug):
        progress.set_quiet(options.quiet or options.json)
        from sscl.params import load

        result = work(load(options.params, options.profile, options.overrides or ()), options)
        if options.json:
            typer.echo(json.dumps(result, indent=2, sort_keys=True))
