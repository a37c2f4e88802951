"""A reader sees a whole release or none, whoever publishes at the same time and whenever it breaks off."""

from __future__ import annotations

import itertools
import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sscl.audit.opening import commitment_digest
from sscl.errors import InputError, SSCLError
from sscl.package.files import File, files_of
from sscl.release import reader
from sscl.release.errors import TakenError
from sscl.release.manifest import FORMAT, Manifest, content_digest, folder_of, read_manifest
from sscl.release.objects import Objects, TamperedError
from sscl.release.publish import SETTLE
from sscl.release.sealed import SEALED
from tests.release.publisher import SHARD, Publisher


class Breaks:
    """Lets some requests through, then none."""

    def __init__(self, after: int) -> None:
        self.left = iter(range(after))

    def __call__(self, **_: object) -> None:
        if next(self.left, None) is None:
            raise KeyboardInterrupt


def test_publish_pull_verify(bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path, bucket)
    assert list(reader.published(one.public)) == []
    assert one.publish().sent == 4
    assert one.publish().sent == 0
    (found,) = reader.published(one.public)
    assert found == one.manifest
    assert reader.verify(one.public, found, 2) == []
    assert reader.pull(one.public, found, tmp_path / "out", 2) == 4
    assert reader.pull(one.public, found, tmp_path / "out", 2) == 0
    assert reader.check_folder(tmp_path / "out") == []
    private = f"{folder_of('d', found.digest)}/{SEALED}0.age"
    assert one.private.read(private) == b"sealed x"
    assert not [item for item in one.public.list("") if SEALED in item.key]


def test_other_content_does_not_replace_a_version(bucket: str, tmp_path: Path) -> None:
    Publisher(tmp_path / "a", bucket, "x").publish()
    with pytest.raises(TakenError, match=r"d 1\.0 is published with other content .* publish another version"):
        Publisher(tmp_path / "b", bucket, "y").publish()
    Publisher(tmp_path / "c", bucket, "y", "1.1").publish()
    assert [m.version for m in reader.published(Objects(f"s3://{bucket}/public"), "d")] == ["1.0", "1.1"]


def test_a_version_with_other_marks_is_not_put_beside_one(bucket: str, tmp_path: Path) -> None:
    """An image that differs between two public versions is marked in one of them."""
    Publisher(tmp_path / "a", bucket, "x").publish()
    other = Publisher(tmp_path / "b", bucket, "y", "1.1", dataset="1")
    before = sorted(item.key for item in other.public.list(""))
    with pytest.raises(InputError, match=r"d 1\.0 has other images or other marks: .* or say --differing"):
        other.publish()
    assert sorted(item.key for item in other.public.list("")) == before
    assert other.publish(differing=True).sent == 4


def test_whoever_would_lose_the_version_sends_nothing(bucket: str, tmp_path: Path) -> None:
    """Its files would stay, and differ from the winner's where images are marked."""
    first, late = Publisher(tmp_path / "a", bucket, "x"), Publisher(tmp_path / "b", bucket, "y")
    with pytest.raises(InterruptedError):
        first.publish(_interrupted)  # after its claim
    before = sorted(item.key for item in late.public.list(""))
    with pytest.raises(TakenError, match=r"claimed at .* for other content"):
        late.publish()
    assert sorted(item.key for item in late.public.list("")) == before
    assert first.publish().manifest == first.manifest


def _interrupted(_: float) -> None:
    raise InterruptedError


@pytest.mark.parametrize("serialised", [True, False])
def test_two_publishers_cannot_both_win(
    serialised: bool, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server lets every parallel conditional write through; all have looked before any has claimed."""
    monkeypatch.setattr("sscl.release.publish._first", lambda *_: None)
    if not serialised:
        write = Objects.write
        monkeypatch.setattr(Objects, "write", lambda self, key, content, new=False: write(self, key, content))
    owners = [Publisher(tmp_path / name, bucket, name) for name in "abcd"]
    listed = threading.Barrier(len(owners))
    outcomes: list[str] = []

    def go(owner: Publisher) -> None:
        try:
            owner.publish(lambda _: listed.wait(30) and None)
            outcomes.append(owner.manifest.digest)
        except TakenError:
            outcomes.append("taken")

    threads = [threading.Thread(target=go, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if outcome != "taken"]
    assert len(winners) == 1
    found = read_manifest(owners[0].public, "d", "1.0")
    assert found is not None
    assert found.digest == winners[0]
    assert reader.verify(owners[0].public, found, 2) == []


def test_the_settling_time_is_waited(bucket: str, tmp_path: Path) -> None:
    waited: list[float] = []
    Publisher(tmp_path, bucket).publish(waited.append)
    assert waited == [SETTLE]


def test_broken_off_at_any_request(bucket: str, tmp_path: Path) -> None:
    """Each time one request later: nothing is visible until everything is, and a rerun completes."""
    for last in itertools.count():
        place = f"{bucket}/{last}"
        one = Publisher(tmp_path / str(last), place)
        breaks = Breaks(last)
        for objects in (one.public, one.private):
            objects.client.meta.events.register("before-send.s3", breaks)
        try:
            one.publish()
            break
        except KeyboardInterrupt:
            pass
        fresh = Objects(f"s3://{place}/public")
        assert read_manifest(fresh, "d", "1.0") is None
        one.public, one.private = fresh, Objects(f"s3://{place}/private")
        one.publish()
        found = read_manifest(fresh, "d", "1.0")
        assert found is not None
        assert reader.verify(fresh, found, 2) == []
    assert last > 4 * 2 + 2, "the files, the secret, the claim and the manifest were asked for and written"


def test_verify_and_check_name_what_differs(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sscl.release.objects.LONGEST_WAIT", 0.1)
    one = Publisher(tmp_path, bucket)
    found = one.publish().manifest
    reader.pull(one.public, found, tmp_path / "out", 2)
    (tmp_path / "out" / SHARD.format(1)).write_text("changed")
    (tmp_path / "out" / SHARD.format(2)).unlink()
    assert reader.check_folder(tmp_path / "out") == [
        f"{SHARD.format(1)}: its SHA-256 is not the manifest's",
        f"{SHARD.format(2)}: missing",
    ]
    folder = folder_of("d", found.digest)
    one.public.write(f"{folder}/{SHARD.format(0)}", b"changed")
    assert reader.verify(one.public, found, 2) == [f"{SHARD.format(0)}: its SHA-256 is not the manifest's"]
    with pytest.raises(SSCLError, match="longer than its manifest says; tell the owner"):
        reader.pull(one.public, found, tmp_path / "new", 2)
    assert not (tmp_path / "new" / SHARD.format(0)).exists()


OUTSIDE = ["../x", "/etc/x", "a/../../x", ".git/config", "release.json", "data/x.parquet", "\x1b[31m"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_manifest_cannot_write_outside(path: str, bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path, bucket)
    files = [File(path, 1, "0" * 64)]
    raw = asdict(one.manifest) | {"files": [asdict(file) for file in files], "digest": content_digest(files)}
    one.public.write("d/versions/1.0.json", json.dumps(raw).encode())
    with pytest.raises(InputError, match="as no release does; tell the owner") as error:
        reader.get(one.public, "d", "1.0")
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "sscl-release/1"}', b"\xff", b"[" * 100_000])
def test_what_is_not_a_manifest(content: bytes, bucket: str) -> None:
    objects = Objects(f"s3://{bucket}")
    objects.write("d/versions/1.json", content)
    with pytest.raises(InputError, match=r"not a manifest of sscl-release/1; is the URL right\?"):
        reader.get(objects, "d", "1")


@pytest.mark.parametrize(
    "entry",
    [{"size": -1}, {"size": "1"}, {"size": 10**30, "sha256": "x"}, {"sha256": 7}, {"path": ["a"]}, {"more": 1}],
)
def test_files_that_are_none(entry: dict[str, Any], bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path, bucket)
    raw = asdict(one.manifest)
    raw["files"][0] |= entry
    one.public.write("d/versions/1.0.json", json.dumps(raw).encode())
    with pytest.raises(InputError, match="not a manifest"):
        reader.get(one.public, "d", "1.0")
    assert list(reader.published(one.public)) == []  # and it hides no other


def test_a_folder_with_more_than_the_release(bucket: str, tmp_path: Path) -> None:
    """The defect: a manifest that was replaced, or a file that was added, was VALID."""
    one = Publisher(tmp_path, bucket)
    reader.pull(one.public, one.publish().manifest, tmp_path / "out", 2)
    assert reader.check_folder(tmp_path / "out") == []
    (tmp_path / "out/data/more.parquet").write_text("x")
    assert reader.check_folder(tmp_path / "out") == ["data/more.parquet: not a file of the release"]
    (tmp_path / "out/data/more.parquet").unlink()
    (tmp_path / "out/data/link").symlink_to("/etc/passwd")
    assert reader.check_folder(tmp_path / "out") == ["data/link: not a file of the release"]
    (tmp_path / "out/data/link").unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/data/more").symlink_to(tmp_path / "elsewhere")
    assert reader.check_folder(tmp_path / "out") == ["data/more: not a file of the release"]
    (tmp_path / "out/data/more").unlink()
    (tmp_path / "out/data").rename(tmp_path / "elsewhere/data")
    (tmp_path / "out/data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"out/data: a link, and what is pulled stays in"):
        reader.pull(one.public, one.publish().manifest, tmp_path / "out", 2)
    (tmp_path / "out/data").unlink()
    (tmp_path / "elsewhere/data").rename(tmp_path / "out/data")
    manifest = tmp_path / "out/release.json"
    original = manifest.read_text()
    signed = asdict(one.manifest.signed(Ed25519PrivateKey.generate())) | {"created": "later"}
    hook = asdict(replace(one.manifest, files=[asdict(File(".git/hooks/x", 1, "0" * 64))]))
    for document in (signed, hook):
        manifest.write_text(json.dumps(document))
        with pytest.raises(InputError, match="not a manifest"):
            reader.check_folder(tmp_path / "out")
    manifest.write_text(json.dumps(json.loads(original) | {"files": []}))
    found = reader.check_folder(tmp_path / "out")
    assert found[0] == "release.json: its digest is not that of its files"
    assert len(found) == 5
    size = json.loads(original)
    size["files"][0]["size"] = 10**400
    nested = original.replace(
        '"source": {', '"source": {"x": ' + "[" * 900 + "]" * 900 + ("," if size["source"] else "")
    )
    for text in (json.dumps(size), nested):
        manifest.write_text(text)
        with pytest.raises(InputError, match="not a manifest"):
            reader.check_folder(tmp_path / "out")
    manifest.write_text("[" * 100_000)
    with pytest.raises(InputError, match="not a manifest"):
        reader.check_folder(tmp_path / "out")


def test_an_endless_manifest_is_not_read(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sscl.release.manifest.LARGEST", 1000)
    objects = Objects(f"s3://{bucket}")
    objects.write("d/versions/1.0.json", b" " * 1001)
    with pytest.raises(SSCLError, match="expected less; tell the owner"):
        reader.get(objects, "d", "1.0")
    assert list(reader.published(objects)) == []


def test_a_manifest_that_nobody_would_read_is_not_published(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sscl.release.publish.LARGEST", 100)
    with pytest.raises(InputError, match=r"d 1\.0: its manifest of 4 files .* \(package\.shard_images\)"):
        Publisher(tmp_path, bucket).publish()
    assert list(Objects(f"s3://{bucket}").list("")) == []


def test_a_sealed_secret_may_be_larger(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sscl.release.objects.LARGEST", 1000)
    objects = Objects(f"s3://{bucket}")
    objects.write("secret.age", b" " * 1001)
    assert objects.read("secret.age", 1001) == b" " * 1001
    with pytest.raises(SSCLError, match="expected less; tell the owner"):
        objects.read("secret.age")


def test_a_missing_version_says_which_there_are(bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path, bucket)
    one.publish()
    with pytest.raises(InputError, match=r"no release d 2\.0; published versions: 1\.0"):
        reader.get(one.public, "d", "2.0")
    with pytest.raises(InputError, match=r"version: .* is not possible"):
        reader.get(one.public, "d", "../x")


def test_pull_does_not_mix_with_what_is_there(bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path, bucket)
    found = one.publish().manifest
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo").write_text("mine")
    with pytest.raises(InputError, match="not empty and not this release; choose another folder"):
        reader.pull(one.public, found, tmp_path / "mine", 2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo"]


@pytest.mark.parametrize("kind", ["pipe", "nested", "endless"])
def test_pull_does_not_read_whatever_is_called_a_manifest(kind: str, bucket: str, tmp_path: Path) -> None:
    """The defect: it waited for a pipe for ever."""
    one = Publisher(tmp_path, bucket)
    found, there = one.publish().manifest, tmp_path / "mine" / "release.json"
    there.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(there)
    elif kind == "nested":
        there.write_text("[" * 100_000)
    else:
        there.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not empty and not this release; choose another folder"):
        reader.pull(one.public, found, there.parent, 2)


def test_a_manifest_that_contradicts_itself_hides_no_other(bucket: str, tmp_path: Path) -> None:
    Publisher(tmp_path / "a", bucket, "x").publish()
    Publisher(tmp_path / "b", bucket, "y", "1.1").publish()
    objects = Objects(f"s3://{bucket}/public")
    objects.write("d/versions/1.0.json", b'{"format": "sscl-release/1", "name": "d"}')
    number = json.loads(objects.read("d/versions/1.1.json", 1 << 20) or b"") | {"version": "1.2", "created": 5}
    objects.write("d/versions/1.2.json", json.dumps(number).encode())
    for stray in ("", ".DS_Store", "notes.txt", "a/b.json"):
        objects.write(f"d/versions/{stray}", b"{}")
    reasons: list[str] = []
    assert [m.version for m in reader.published(objects, "d", reasons.append)] == ["1.1"]
    wanted = ["not a manifest of sscl-release/1; is the URL right?"] * 2
    assert [reason.split(": ")[-1] for reason in reasons] == wanted
    with pytest.raises(InputError, match=r"no release d 2\.0; published versions: 1\.1"):
        reader.get(objects, "d", "2.0")


@pytest.mark.parametrize("content", ["{}", "[" * 100_000, "[NaN]", ""])
def test_a_commitment_that_the_manifest_does_not_name_is_noticed(content: str, tmp_path: Path) -> None:
    place, named = tmp_path / "commitment/commitment.json", {"attempt": 1}
    place.parent.mkdir()
    for said, wrong in ((json.dumps(named), False), (content, True)):
        place.write_text(said)
        files = [asdict(file) for file in files_of(tmp_path) if file.path != reader.MANIFEST]
        digest_ = content_digest([File(**file) for file in files])
        manifest = Manifest(FORMAT, "d", "1.0", "now", digest_, "0", commitment_digest(named), {}, files)
        (tmp_path / reader.MANIFEST).write_bytes(manifest.encoded())
        found = reader.check_folder(tmp_path)
        assert any("not the commitment that the manifest names" in line for line in found) is wrong


def test_another_commitment_beside_the_data_is_noticed_while_it_is_pulled(bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path / "a", bucket)
    (one.package / "commitment").mkdir()
    (one.package / "commitment/commitment.json").write_text('{"attempt": 2}')
    files = files_of(one.package)
    listed = [asdict(file) for file in files]
    other = commitment_digest({"attempt": 1})
    one.manifest = replace(one.manifest, digest=content_digest(files), files=listed, commitment=other)
    found = one.publish().manifest
    said = "commitment/commitment.json: not the commitment that the manifest names; tell the owner"
    assert reader.verify(one.public, found, 2) == [said]
    with pytest.raises(TamperedError, match=said):
        reader.pull(one.public, found, tmp_path / "out", 2)


def test_two_pulls_do_not_share_a_folder(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Publisher(tmp_path / "a", bucket)
    found = one.publish().manifest
    download = Objects.download

    def second(self: Objects, key: str, path: Path, sha256: str, size: int) -> None:
        with pytest.raises(InputError, match="another pull is at work there"):
            reader.pull(one.public, found, tmp_path / "out", 1)
        download(self, key, path, sha256, size)

    with monkeypatch.context() as during:
        during.setattr(Objects, "download", second)
        assert reader.pull(one.public, found, tmp_path / "out", 1) == 4
    assert reader.pull(one.public, found, tmp_path / "out", 1) == 0
