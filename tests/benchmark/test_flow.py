"""The comparison as a Prefect flow, by every task runner that is installed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.benchmark import benchmark
from sscl.errors import ConfigError
from tasks.runners import RUNNERS, runner
from tests.conftest import ROOT, TINY, shapes, store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    store(folder / "source", shapes(90, 1), shapes(45, 2))
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "benchmark.yaml").write_text("two:\n  - {profiles: [demo], methods: [badnets], attacks: [none, strip]}\n")
    return folder


@pytest.mark.parametrize("name", sorted({*RUNNERS} - {"dask"}))  # Dask's workers make shards in test_large_flow.py
def test_rows_are_the_same_whichever_runner(name: str, server: None, same_environment: None, place: Path) -> None:
    if importlib.util.find_spec(RUNNERS[name][0]) is None:
        pytest.skip(f"{name} is not installed")
    sets = [*TINY, f"data.path={place / 'source'}"]
    flow = benchmark.with_options(task_runner=runner(name, 2 if name == "thread" else 1))  # each worker imports PyTorch
    rows = flow("two", sets, str(place / name), str(place))
    assert [row["attack"] for row in rows] == ["none", "strip"]
    assert (place / name / "benchmark.parquet").is_file()
    again = benchmark.with_options(task_runner=runner("thread", 2))("two", sets, str(place / name), str(place))
    assert again == rows  # what the workers kept, read without starting them once more


def test_a_cluster_that_is_there() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert runner("dask", 2, "tcp://scheduler:8786").address == "tcp://scheduler:8786"
    with pytest.raises(ConfigError, match="address: 'tcp://x' needs --runner dask or ray"):
        runner("thread", 2, "tcp://x")


def test_unknown_runner() -> None:
    with pytest.raises(ConfigError, match="choose one of thread, dask, ray"):
        runner("threads", 1)


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_workers_need_a_server(name: str) -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConfigError, match=f"runner: {name} needs a Prefect server"),
    ):
        runner(name, 2)
