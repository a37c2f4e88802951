from __future__ import annotations

import hashlib
import os
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscl.errors import InputError, SSCLError
from sscl.release.objects import PART, Objects, TamperedError


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1])
def test_what_was_put_is_what_is_got(size: int, bucket: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "a").write_bytes(content)
    objects = Objects(f"s3://{bucket}/some/prefix")
    assert objects.sha256("k") is None
    assert objects.put("k", tmp_path / "a", sha(content))
    assert not objects.put("k", tmp_path / "a", sha(content))
    assert objects.sha256("k") == sha(content)
    objects.check("k", sha(content), size)
    objects.download("k", tmp_path / "b", sha(content), size)
    assert (tmp_path / "b").read_bytes() == content
    assert [(item.key, item.size) for item in objects.list("")] == [("k", size)]


def test_a_changed_object_is_not_kept(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sscl.release.objects.LONGEST_WAIT", 0.1)
    objects = Objects(f"s3://{bucket}/p")
    objects.write("k", b"right")
    boto3.client("s3").put_object(Bucket=bucket, Key="p/k", Body=b"wrong")
    with pytest.raises(TamperedError, match="its SHA-256 is not the manifest's"):
        objects.download("k", tmp_path / "k", sha(b"right"), 5)
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_new_object_is_written(bucket: str) -> None:
    objects = Objects(f"s3://{bucket}")
    assert objects.write("k", b"first", new=True)
    assert not objects.write("k", b"second", new=True)
    assert objects.read("k") == b"first"
    assert objects.read("other") is None


def test_more_objects_than_a_page_and_than_a_listing_may_have(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects(f"s3://{bucket}/p")
    for number in range(12):
        objects.write(f"k/{number:02d}", b"")
    objects.client.meta.events.register(
        "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=5)
    )
    assert [item.key for item in objects.list("k/")] == [f"k/{number:02d}" for number in range(12)]
    monkeypatch.setattr("sscl.release.objects.MOST_PAGES", 2)
    with pytest.raises(InputError, match="a listing of more than 2 pages"):
        list(objects.list("k/"))


def test_errors_are_for_people(s3: str) -> None:
    with pytest.raises(InputError, match="expected s3://BUCKET/PREFIX"):
        Objects("https://example.org/x")
    with pytest.raises(SSCLError, match="s3://no-such-bucket-here/k: no such bucket; make it, or correct the URL"):
        Objects("s3://no-such-bucket-here").write("k", b"")


@pytest.mark.skipif("SSCL_TEST_S3" in os.environ, reason="that server's buckets are private")
def test_a_public_bucket_is_read_without_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Objects(f"s3://{bucket}").write("k", b"x")
    boto3.client("s3").put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    stranger = Objects(f"s3://{bucket}")
    sent: list[str] = []
    stranger.client.meta.events.register("before-send.s3", lambda request, **_: sent.extend(request.headers))
    assert stranger.read("k") == b"x"
    assert sent
    assert "Authorization" not in sent


@given(st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=8))
def test_what_is_not_a_url_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Objects(f"file:{text}")
