"""Flow ``large``: mark and publish a dataset of which the pipeline saw a sample, shard by shard on many workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow, get_run_logger, unmapped

from flows.command import running
from sscl.cli.common import Debug, Differing
from tasks.large import gated, mark_shard, plan_shards, publish_shards
from tasks.runners import Address, Runner, Workers, runner


@flow(name="large", validate_parameters=True)
def large(version: str | None = None, root: str = ".", differing: bool = False) -> dict[str, Any]:
    """Mark every shard of the whole dataset with the finished pipeline's secret; a second run resumes the first.

    Args:
        version: to publish it as; ``None`` to only write ``out/large``.
        root: the checkout's folder, which every worker must see.
        differing: whether it may stand beside a version with other images or marks, e.g. the sample's.

    Returns:
        How many shards there are; and name and digest of what was published.
    """
    log = get_run_logger().info
    if version is not None:
        gated(version, root=root, log=log)  # before hours of marking, not after them
    plan, count = plan_shards(root)
    shards = mark_shard.map(unmapped(plan), range(count)).result()
    if version is None:
        return {"shards": count, "folder": plan}
    return {
        "shards": count,
        "folder": plan,
        **publish_shards(plan, shards, version, root=root, log=log, differing=differing),
    }


def main(
    version: Annotated[str | None, typer.Argument(help="e.g. 1.0.0; without it nothing is published.")] = None,
    on: Runner = "thread",
    workers: Workers = 1,
    *,
    address: Address = None,
    differing: Differing = False,
    root: Annotated[Path, typer.Option("--root", help="The checkout's folder.")] = Path(),
    debug: Debug = False,
) -> None:
    """Mark a large dataset in a Prefect flow."""
    with running(debug):
        found = large.with_options(task_runner=runner(on, workers, address))(version, str(root), differing)
        typer.echo(", ".join(f"{key} {value}" for key, value in found.items()))


if __name__ == "__main__":
    typer.run(main)
