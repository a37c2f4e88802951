"""Shared fixtures: a tiny dataset that is learnt in seconds, and configurations for it."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import boto3
import httpx
import numpy as np
import pytest
import torch
import yaml
from hypothesis import settings

from sscl.compute import Compute
from sscl.config import ComputeConfig, Config
from sscl.data.base import Record
from sscl.data.codec import encode_png, to_pixels
from sscl.data.store import writing
from sscl.params import load
from sscl.release.config import Limits
from sscl.types import ImageSet

# Quiet, and the same for all processes that tests start: they can share one fork server. The last two are what
# scikit-learn sets when it is imported.
os.environ |= {
    "CI": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(Path(__file__).parent.parent),
    "PYTHONSAFEPATH": "1",  # from this checkout, whatever folder they are started in
    "VIRTUAL_ENV": sys.prefix,
    "KMP_DUPLICATE_LIB_OK": "True",
    "KMP_INIT_AT_FORK": "FALSE",
}
settings.register_profile("fast", max_examples=10)  # `make fast`
ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
CLASSES = ("across", "down", "square")  # in name order, as an image folder has them
GRADIENT_MATCHING = ("steps=2", "retrain_every=1", "images=6")
TINY = (
    "data.source=parquet",
    "data.image_size=null",
    "surrogate.epochs=2",
    "surrogate.batch_size=32",
    "user.epochs=2",
    "user.batch_size=32",
    "generator.sscl_bw.epochs=2",
    "generator.sscl_bw.images=16",
    "generator.sscl_bw.batch_size=16",
    "generator.sscl_bw.width=4",
    "generator.ownership_code.marks=7",  # 630 words of three classes: p goes down to 0.0016
    "generator.label_consistent.steps=2",
    "generator.radioactive.steps=2",
    *(f"generator.blto.{option}" for option in ("rounds=1", "inner_steps=1", "outer_steps=1", "batch_size=16")),
    *(f"generator.{method}.{option}" for method in ("sleeper_agent", "ubw_c") for option in GRADIENT_MATCHING),
    "audit.images=10",
    "audit.first_images=4",
    "audit.alpha=0.02",
    "imprint.steps=30",
    "imprint.batch_size=16",
    "embed.rate=0.1",
    "attacks.removals=[{name: pruning, strength: 0.4}]",
    "package.name=shapes",
    "package.shard_images=100",
)
KEY = b"thirty-two secret bytes, no more"  # the same in every run, so that verdicts are
EASY = [f"release.limits.{name}=1000" for name in Limits.__annotations__]  # a gate that the tiny dataset's marks pass


def shapes(count: int, seed: int, size: int = 28, channels: int = 1) -> ImageSet:
    """Noisy bars and squares at random places: three classes that a small CNN tells apart."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, channels, size, size), generator=rng, dtype=torch.uint8)
    labels = torch.arange(count) % len(CLASSES)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = torch.randint(4, size - 10, (2,), generator=rng).tolist()
        height, width = ((3, 12), (12, 3), (6, 6))[label]
        image[:, row : row + height, column : column + width] += 180
    return ImageSet(images, labels, CLASSES)


FILE = encode_png(to_pixels(shapes(1, 0).images[0]))  # how images are stored, for attackers in tests


def store(folder: Path, train: ImageSet, test: ImageSet, format: str = "parquet") -> Path:
    """Write a source dataset as PNG files."""
    with writing(folder, format, CLASSES, {}) as writer:
        for split, data in (("train", train), ("test", test)):
            for number, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
                name = f"{CLASSES[label]}/{split}-{number:04d}.png"
                writer.write(split, Record(name, encode_png(to_pixels(image)), label))
    return folder


# xdist starts tests in this order, a file on one process: the longest first, so that no process ends alone.
LONGEST = (
    "test_drivers",
    "benchmarks/test_scripts",
    "docs/test_prefect_blocks",
    "docs/test_blocks",
    "test_serve",
    "audit/test_verdict",
    "test_encoder_pipeline",
    "test_end_to_end",
    "statistics/test_doubt",
    "test_large_flow",
    "benchmark/test_flow",
    "release/test_faults",
)


# Tests that need one of these run a pipeline, a server or a file system first: `make fast` leaves them out.
INTEGRATED = {"finished", "reproduced", "server", "standalone", "endpoint", "small_disk", "caller"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if INTEGRATED & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")

    def place(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        return next((n for n, name in enumerate(LONGEST) if file == f"tests/{name}.py"), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Modules stay: the garbage collector need not go through all of PyTorch again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True)
def _no_global_randomness() -> Iterator[None]:
    """No code of ours may draw from the global generators (of `random`, Prefect's and Dask's threads do)."""
    before, numpy_before = torch.get_rng_state(), repr(np.random.get_state(legacy=False))
    yield
    assert torch.equal(before, torch.get_rng_state()), "torch's global random state was used"
    assert repr(np.random.get_state(legacy=False)) == numpy_before, "numpy's global random state was used"


@pytest.fixture(scope="session")
def compute() -> Compute:
    """The CPU, or the device that SSCL_TEST_DEVICE names, e.g. cuda."""
    device = os.environ.get("SSCL_TEST_DEVICE", "cpu")
    return Compute.set_up(ComputeConfig(device, threads=None, bf16=False, channels_last=False, compile=False))


@pytest.fixture(scope="session")
def train_set() -> ImageSet:
    return shapes(240, seed=1)


@pytest.fixture(scope="session")
def test_set() -> ImageSet:
    return shapes(90, seed=2)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


@contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Whether this process is the one that makes ``folder``; the others wait until it is there."""
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not folder.exists()


@pytest.fixture(scope="session")
def source(common: Path, train_set: ImageSet, test_set: ImageSet) -> Path:
    """The tiny dataset in parquet."""
    with once(common / "source") as mine:
        if mine:
            store(common / "source", train_set, test_set)
    return common / "source"


@pytest.fixture(scope="session")
def tiny(source: Path) -> tuple[str, ...]:
    """Overrides that make the pipeline run on the tiny dataset in seconds."""
    return (*TINY, f"data.path={source}")


@pytest.fixture(scope="session")
def config(tiny: tuple[str, ...]) -> Config:
    return load(ROOT / "params.yaml", "demo", tiny)


@pytest.fixture(scope="session")
def finished(common: Path, config: Config) -> Path:
    """An output root in which the whole tiny pipeline has run. Read only."""
    from sscl.runner import run_all

    with once(common / "finished") as mine:
        if mine:
            run_all(config, common / "finished.part")
            (common / "finished.part").rename(common / "finished")
    return common / "finished"


def shell(folder: Path, *command: str, **extra: str) -> str:
    """What a command prints that is run in ``folder`` and succeeds."""
    given = {**os.environ, **extra}
    result = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def checkout(folder: Path) -> Path:
    """What git has of this checkout, as a repository of its own with its environment."""
    for name in filter(None, shell(ROOT, "git", "ls-files", "-z").split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    shell(folder, "git", "init", "-q")
    (folder / ".git/info/exclude").write_text(".venv\n")
    return folder


@pytest.fixture(scope="session")
def forks() -> Iterator[None]:
    """Keeps the fork server of this run, which would end when it is idle: it takes seconds to start."""
    command, silent = [sys.executable, "-m", "tests.script", "--hold"], subprocess.DEVNULL
    given = dict(os.environ)  # the default would add what C libraries have set, such as COLUMNS
    with subprocess.Popen(command, cwd=ROOT, env=given, stdin=subprocess.PIPE, stdout=silent, stderr=silent) as holding:
        yield
        holding.kill()


@pytest.fixture(scope="session")
def reproduced(common: Path, tiny: tuple[str, ...], forks: None) -> Path:
    """A checkout in which ``dvc repro`` has run under a secret key. Every profile is the tiny one, and every benchmark
    has two cells. Read only.
    """
    from sscl.release.sealed import new_identity
    from tasks.parameters import set_parameters

    place = common / "reproduced"
    with once(place) as mine:
        if mine:
            folder = checkout(common / "reproduced.part")
            set_parameters(folder / "params.yaml", None, (*tiny, *EASY, "key_file=private/release.key"))
            params = yaml.safe_load((folder / "params.yaml").read_text())
            kept = {name: profile["audit"].get("protects", "dataset") for name, profile in params["profiles"].items()}
            params["profiles"] = {
                name: {key: {} for key in params["profiles"]["demo"]} | {"audit": {"protects": protected}}
                for name, protected in kept.items()
            }
            params["release"]["seal_to"] = [new_identity()[1]]
            params["package"]["name"] = "mnist-protected"  # as the walk-through calls it
            (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
            cells = [{"profiles": ["demo"], "methods": ["badnets"], "attacks": ["none", "strip"]}]
            (folder / "benchmark.yaml").write_text(yaml.safe_dump(dict.fromkeys(("tiny", "small", "paper"), cells)))
            key = folder / "private/release.key"
            key.parent.mkdir(mode=0o700)
            key.write_bytes(KEY)
            key.chmod(0o600)
            shell(folder, "git", "add", "-A")
            shell(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
            shell(folder, "dvc", "repro")
            folder.rename(place)
    return place


@pytest.fixture(scope="module")
def workspace(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``reproduced`` for the tests of one file, which change it."""
    folder = tmp_path_factory.mktemp("workspace") / "checkout"
    shutil.copytree(reproduced, folder, symlinks=True)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of ``finished`` to change at will."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


SERVICES = ("SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS", "FOREMAN", "TRIGGERS")
BARE = {f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in SERVICES}  # a server without schedules


@pytest.fixture(scope="session")
def prefect_home(common: Path) -> Path:
    """A home of Prefect's with an empty database. A server that has to make one needs five seconds more."""
    place = common / "prefect-home"
    with once(place) as mine:
        if mine:
            made = common / "prefect-home.part"
            shell(ROOT, "prefect", "server", "database", "upgrade", "-y", PREFECT_HOME=str(made))
            with closing(sqlite3.connect(made / "prefect.db")) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            place.mkdir()
            shutil.copy(made / "prefect.db", place)
    return place


# The server ends when no process holds the pipe open any more, also if they were killed.
HELD = 'exec 3< "$2"; prefect server start --port "$1" 3<&- & read -r <&3; kill $!'


@pytest.fixture(scope="session")
def server(common: Path, prefect_home: Path) -> Iterator[None]:
    """Prefect's server for the flows of this run's tests, one for all processes."""
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

    present = common / "prefect-server"
    with open(common / "prefect-server.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            holding = os.open(present / "held", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # none was started yet, or it has ended
            place, port = Path(shutil.copytree(prefect_home, common / f"prefect-{uuid.uuid4().hex}")), free_port()
            os.mkfifo(place / "held")
            (place / "url").write_text(f"http://127.0.0.1:{port}/api")
            command = ["setsid", "-f", "bash", "-c", HELD, "held", str(port), str(place / "held")]
            silent = subprocess.DEVNULL
            given = {**os.environ, "PREFECT_HOME": str(place), **BARE}
            subprocess.run(command, env=given, stdout=silent, stderr=silent, check=True)
            holding = os.open(place / "held", os.O_WRONLY)  # waits for the other end
            present.unlink(missing_ok=True)
            present.symlink_to(place)
        place = present.resolve()
    try:
        url, database = (place / "url").read_text(), f"sqlite+aiosqlite:///{place / 'prefect.db'}"
        answering(f"{url}/health")
        with temporary_settings({PREFECT_API_URL: url, PREFECT_SERVER_DATABASE_CONNECTION_URL: database}):
            yield
            end_services()
    finally:
        os.close(holding)


def end_services() -> None:
    """End Prefect's services in this process: they would talk to the same server in later tests, too."""
    from prefect.concurrency.services import ConcurrencySlotAcquisitionWithLeaseService
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (APILogWorker, EventsWorker, ConcurrencySlotAcquisitionWithLeaseService):
        service.drain_all(timeout=10)


def answering(url: str) -> None:
    """Wait until a server answers, two minutes at most."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            httpx.get(url, timeout=1)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"{url} did not answer in time")


@pytest.fixture
def same_environment() -> Iterator[None]:
    """For tests that start Dask or Ray: they leave thread counts behind, which change other tests' digests."""
    before = dict(os.environ)
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    os.environ.clear()
    os.environ.update(before)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    """A real file system of ``size`` bytes at ``folder``, which is made."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 200 KiB."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(mounted(tmp_path / "small", 200 << 10))
        except subprocess.CalledProcessError:
            pytest.skip("mounting needs root")
        yield folder


def free_port() -> int:
    """A port on loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testaccesskey",
    "AWS_SECRET_ACCESS_KEY": "testsecretkey",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """An S3 server on loopback: Ceph's gateway where SSCL_TEST_S3 names one, else moto's."""
    if url := os.environ.get("SSCL_TEST_S3"):
        yield url
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint, in the environment with credentials."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return endpoint


@pytest.fixture
def bucket(s3: str) -> str:
    """A fresh bucket's name."""
    name = f"b-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name
