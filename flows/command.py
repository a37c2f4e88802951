"""``python -m flows.<name>``: run a flow from the terminal."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect.settings import PREFECT_API_URL

from sscl.cli.common import Debug, reporting
from sscl.layout import Root
from tasks.console import shown
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


def main(
    flow: Callable[..., Any], *, by_dvc: bool = True, show: Callable[[Root], None] | None = None, out: str = OUT
) -> None:
    """Parse ``--profile``, ``--set`` and ``--root``, and run the flow.

    Args:
        flow: takes ``profile``, ``overrides`` and ``root``.
        by_dvc: whether DVC starts the stages; then, what they import is imported while Prefect starts.
        show: prints what is in the output root afterwards; ``None`` for nothing.
        out: that root, from the checkout.
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
                flow(profile=profile, overrides=list(set_ or ()), root=str(root))
            if show:
                show(Root(root / out))

    typer.run(command)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True
