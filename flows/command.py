"""``python -m flows.<name>``: run a flow from the terminal."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect.settings import PREFECT_API_URL

from sscl.cli.common import Debug, reporting
from sscl.cli.pipeline import print_encoder_result, print_result
from sscl.layout import Root
from tasks.console import shown
from tasks.encoder import OUT as ENCODER_OUT
from tasks.pipeline import Pipeline
from tasks.results import OUT
from tasks.runners import require_answer

WRITTEN = "Written to params.yaml; the flow `encoder` takes it for this run alone."
WrittenProfile = Annotated[str | None, typer.Option("--profile", "-p", help=f"A profile to put in force. {WRITTEN}")]
WrittenSet = Annotated[
    list[str] | None, typer.Option("--set", "-s", help=f"E.g. verify.tau=0.3 (repeatable). {WRITTEN}")
]


@contextmanager
def running(debug: bool) -> Iterator[None]:
    """Errors as one line, and nothing begun where the Prefect server that is named does not answer."""
    with reporting(debug):
        require_answer()
        if not debug:
            for name in ("prefect.flow_runs", "prefect.task_runs"):
                logging.getLogger(name).addFilter(_without_traceback)
        yield


def main(flow: Callable[..., Any], *, by_dvc: bool = True) -> None:
    """Parse ``--profile``, ``--set`` and ``--root``, run the flow, and print the result table if there is one.

    Where DVC starts the stages, what they import is imported while Prefect starts.
    """

    def command(
        profile: WrittenProfile = None,
        set_: WrittenSet = None,
        root: Annotated[Path, typer.Option("--root", help="The checkout's folder.")] = Path(),
        debug: Debug = False,
    ) -> None:
        with running(debug):
            with shown(debug) as lines:
                if PREFECT_API_URL.value() is None:
                    lines.say("starting a temporary Prefect server")
                if by_dvc:
                    Pipeline(root).warm_up()
                result = flow(profile=profile, overrides=list(set_ or ()), root=str(root))
            if "watermark_success_rate" in result:
                print_result(Root(root / OUT))
            elif "linear" in result:
                print_encoder_result(Root(root / ENCODER_OUT))

    typer.run(command)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True
