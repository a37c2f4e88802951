"""Whatever goes wrong between client and server: the old state or the whole new one, and a rerun completes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import UnauthorizedSSOTokenError

from sscl.artifacts import digest
from sscl.errors import InputError, SSCLError
from sscl.release import reader
from sscl.release.objects import Objects
from tests.conftest import ROOT
from tests.release.proxy import FAULTS, proxying
from tests.release.publisher import SHARD, Publisher, intact


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(2))
def test_faults_on_the_line(
    fault: str, seed: int, s3: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sscl.release.objects.LONGEST_WAIT", 0.2)
    straight = Objects(f"s3://{bucket}/public")
    with proxying(s3, fault, share=0.35, seed=seed) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        one = Publisher(tmp_path, bucket)
        for _ in range(20):
            try:
                one.publish(lambda _: None)
                found = reader.get(one.public, "d", "1.0")
                reader.pull(one.public, found, tmp_path / "out", 2)
                if proxy.injected:
                    break
                shutil.rmtree(tmp_path / "out")  # a lucky line; once more
            except SSCLError:
                assert intact(straight)
        else:
            pytest.fail("twenty reruns did not complete")
    assert intact(straight)
    assert reader.check_folder(tmp_path / "out") == []


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_a_random_moment(seed: int, s3: str, bucket: str, tmp_path: Path) -> None:
    """Three of the twenty of ``benchmarks/faults.py``; a slow line stretches a publishing to some seconds."""
    command = [sys.executable, "-m", "tests.release.publisher", str(tmp_path / "owner"), bucket, "1"]
    with proxying(s3, "latency", share=0.5, seed=seed) as proxy:
        extra = {**os.environ, "AWS_ENDPOINT_URL": proxy.url}
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=extra) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.Random(seed).uniform(0.0, 2.0))
            assert process.poll() is None, "it had ended before it could be killed"
            process.send_signal(signal.SIGKILL)
    objects = Objects(f"s3://{bucket}/public")
    assert intact(objects)
    Publisher(tmp_path / "again", bucket).publish(lambda _: None)
    assert len(list(reader.published(objects))) == 1
    assert intact(objects)


def test_a_full_disk_loses_nothing(bucket: str, tmp_path: Path, small_disk: Path) -> None:
    one = Publisher(tmp_path, bucket, content="x" * 100_000)
    found = one.publish(lambda _: None).manifest
    with pytest.raises(SSCLError, match=r"MB free, .* MB are missing"):
        reader.pull(one.public, found, small_disk / "out", 2)
    assert intact(one.public)
    reader.pull(one.public, found, tmp_path / "out", 2)
    assert reader.check_folder(tmp_path / "out") == []


def test_a_disk_that_fills_while_a_release_is_pulled(
    bucket: str, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was room when it began."""
    one = Publisher(tmp_path, bucket, content="x" * 100_000)
    found = one.publish(lambda _: None).manifest
    room = shutil.disk_usage(small_disk)._replace(free=10**9)
    with monkeypatch.context() as before:
        before.setattr("sscl.release.reader.shutil.disk_usage", lambda _: room)
        with pytest.raises(SSCLError, match="the disk is full; free some space"):
            reader.pull(one.public, found, small_disk / "out", 1)
    files = [path for path in (small_disk / "out/data").iterdir() if path.is_file()]
    assert {path.name: digest(path) for path in files} == {Path(SHARD.format(0)).name: found.content()[0].sha256}
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    assert reader.pull(one.public, found, small_disk / "out", 1) == 3
    assert reader.check_folder(small_disk / "out") == []


@pytest.mark.parametrize("operation", ["PutObject", "HeadObject"])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "no permission; these credentials"),
        ("ExpiredToken", "the session token has expired; log in again"),
        ("RequestTimeTooSkewed", "this machine's clock is wrong; set it"),
        ("InvalidAccessKeyId", "the server does not know the access key"),
    ],
)
def test_refusals_say_what_to_do(
    code: str, message: str, operation: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused HEAD has no body, so the answer's reason has to be asked for."""
    one = Publisher(tmp_path, bucket)

    def refuse(request: Any, **_: object) -> object:
        class Raw:
            def stream(self, **_: object) -> object:
                yield b"" if request.method == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()

        return AWSResponse("http://x", 400 if code == "ExpiredToken" else 403, {}, Raw())

    for name in (operation, "GetObject") if operation == "HeadObject" else (operation,):
        one.public.client.meta.events.register(f"before-send.s3.{name}", refuse)
    with pytest.raises(InputError, match=message):
        one.public.put("k", one.package / SHARD.format(0), one.manifest.content()[0].sha256)
    assert list(reader.published(Objects(f"s3://{bucket}/public"))) == []


def test_a_refused_upload_says_why_also_on_a_busy_machine(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect: where the transfer's own threads were slow, the server's reason was lost."""
    monkeypatch.setattr(
        "s3transfer.manager.TransferCoordinatorController.remove_transfer_coordinator", lambda *_: None
    )  # as if they had not come to it yet
    one = Publisher(tmp_path, bucket)
    body = b"<Error><Code>AccessDenied</Code></Error>"

    def refuse(**_: object) -> AWSResponse:
        return AWSResponse("http://x", 403, {}, SimpleNamespace(stream=lambda **_: iter([body])))

    one.public.client.meta.events.register("before-send.s3.PutObject", refuse)
    with pytest.raises(InputError, match="no permission; these credentials"):
        one.public.put("k", one.package / SHARD.format(0), one.manifest.content()[0].sha256)


def test_a_session_that_cannot_be_renewed_says_so(s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects(f"s3://{bucket}/public")

    def expired(**_: object) -> None:
        raise UnauthorizedSSOTokenError()

    objects.client.meta.events.register("before-sign.s3.HeadObject", expired)
    with pytest.raises(InputError, match="log in again, or correct the credentials"):
        objects.sha256("k")
