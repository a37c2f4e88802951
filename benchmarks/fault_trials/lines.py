"""Bad lines, refusing servers and wrong clocks."""

from __future__ import annotations

import shutil
import uuid
from datetime import timedelta

import botocore.auth

from benchmarks.fault_trials.base import Place, changed, says, through
from sscl.errors import SSCLError
from sscl.release import reader
from tests.release.proxy import proxying
from tests.release.publisher import Publisher

RERUNS = 20


def line(fault: str, seed: int, place: Place, upstream: str) -> bool:
    """A publisher and a reader on a bad line, run again until they complete."""
    with proxying(upstream, fault, share=0.35, seed=seed) as proxy:
        one = through(proxy.url, place)
        for _ in range(RERUNS):
            try:
                one.publish(lambda _: None)
                reader.pull(one.public, reader.get(one.public, "d", "1.0"), place.folder / "out", 2)
                if proxy.injected:
                    break
                shutil.rmtree(place.folder / "out")  # a lucky line; once more
            except SSCLError:
                if not place.is_intact():
                    return False
        else:
            return False
    return reader.check_folder(place.folder / "out") == [] and place.completes()


def no_bucket(seed: int, place: Place, upstream: str) -> bool:
    """A bucket that is not there."""
    one = Publisher(place.folder / "owner", f"missing-{uuid.uuid4().hex[:8]}")
    return says("no such bucket", one.publish) and place.completes()


def wrong_secret(seed: int, place: Place, upstream: str) -> bool:
    """A secret key that the server refuses."""
    with changed(AWS_SECRET_ACCESS_KEY=f"wrong-{seed}"):
        one = Publisher(place.folder / "owner", place.bucket)
    return says("check the credentials", one.publish) and place.completes()


def no_permission(seed: int, place: Place, upstream: str) -> bool:
    """A writer without credentials at a bucket that does not let everybody write."""
    with changed(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_EC2_METADATA_DISABLED="true"):
        one = Publisher(place.folder / "owner", place.bucket)
    return says("no permission", one.publish) and place.completes()


def expired_token(seed: int, place: Place, upstream: str) -> bool:
    """The session ends somewhere in the middle; the proxy says so in the server's words."""
    with proxying(upstream, "expired", share=0.2, seed=seed) as proxy:
        one = through(proxy.url, place)
        for _ in range(RERUNS):  # until the session has ended in one of them
            try:
                one.publish(lambda _: None)
            except SSCLError as error:
                return "the session token has expired; log in again" in str(error) and place.completes()
    return False


def wrong_clock(seed: int, place: Place, upstream: str) -> bool:
    """This machine's clock is an hour off: the server refuses what it signs."""
    one = Publisher(place.folder / "owner", place.bucket)
    true = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *a, **k: true(*a, **k) + timedelta(hours=1)
    try:
        refused = says("this machine's clock is wrong", one.publish)
    finally:
        botocore.auth.get_current_datetime = true
    return refused and place.completes()
