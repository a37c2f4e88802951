from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import boto3
import pyrage
import pytest
from pyrage import x25519

from sscl.errors import InputError
from sscl.release.sealed import MOST_RECIPIENTS, new_identity, seal, unseal, unseal_any


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "secret"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/key").write_bytes(b"the key material" * 1000)
    (folder / "other").write_bytes(b"")
    return folder


def same(one: Path, other: Path) -> bool:
    return subprocess.run(["diff", "-r", one, other], check=False).returncode == 0


def test_who_has_the_key_gets_it_back(secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (identity, public), (second, second_public) = new_identity(), new_identity()
    seal(tmp_path, ["secret"], [public, second_public], tmp_path / "sealed")
    sealed = (tmp_path / "sealed").read_bytes()
    assert b"the key material" not in sealed
    assert b"other" not in sealed
    (tmp_path / "id").write_text(f"{identity}\n")
    unseal(sealed, str(tmp_path / "id"), tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    assert same(secret, tmp_path / "out/secret")
    monkeypatch.setenv("SSCL_SEAL_KEY", second)
    unseal(sealed, "env", tmp_path / "out2")
    assert same(secret, tmp_path / "out2/secret")


def test_what_could_not_be_unsealed_is_not_sealed(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sscl.release.sealed.LARGEST", 1 << 20)
    with pytest.raises(InputError, match=r"the secret has 0 MiB, expected at most 1; .* \(audit\.images\)"):
        seal(tmp_path, ["secret"], [new_identity()[1]], tmp_path / "sealed")
    assert not (tmp_path / "sealed").exists()


@pytest.mark.skipif("SSCL_TEST_S3" in os.environ, reason="that server has no KMS")
def test_a_key_that_aws_kms_keeps(s3: str, secret: Path, tmp_path: Path) -> None:
    identity, public = new_identity()
    kms = boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    (tmp_path / "blob").write_bytes(kms.encrypt(KeyId=key, Plaintext=identity.encode())["CiphertextBlob"])
    seal(tmp_path, ["secret"], [public], tmp_path / "sealed")
    unseal((tmp_path / "sealed").read_bytes(), f"kms:{tmp_path / 'blob'}", tmp_path / "out")
    assert same(secret, tmp_path / "out/secret")


def test_nobody_else_does(secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, public = new_identity()
    other, _ = new_identity()
    seal(tmp_path, ["secret"], [public], tmp_path / "sealed")
    sealed = (tmp_path / "sealed").read_bytes()
    (tmp_path / "id").write_text(other)
    for content in (sealed, sealed[:-1], b"", sealed[:50] + b"x" + sealed[51:]):
        with pytest.raises(InputError, match="not the key that opens this secret, or the file is damaged"):
            unseal(content, str(tmp_path / "id"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError) as slip:
        unseal(sealed, other, tmp_path / "out")  # the key itself, where its file is wanted
    assert other not in str(slip.value)
    monkeypatch.delenv("SSCL_SEAL_KEY", raising=False)
    with pytest.raises(InputError, match="SSCL_SEAL_KEY: not set"):
        unseal(sealed, "env", tmp_path / "out")
    with pytest.raises(InputError, match="AGE-SECRET-KEY"):
        unseal(sealed, str(tmp_path / "nothing"), tmp_path / "out")


@pytest.mark.parametrize("recipients", [[], ["age1nonsense"], ["AGE-SECRET-KEY-1X"]])
def test_bad_recipients(recipients: list[str], secret: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"release\.seal_to: .*age1"):
        seal(tmp_path, ["secret"], recipients, tmp_path / "sealed")
    assert not (tmp_path / "sealed").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_a_sealed_bomb_is_not_unpacked(packed: bool, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("a/b")
        entry.size = 1 << 20
        archive.addfile(entry, io.BytesIO(bytes(1 << 20)))
    identity, public = new_identity()
    (tmp_path / "key").write_text(identity)
    content = buffer.getvalue() if packed else b"no archive" * 100
    sealed = pyrage.encrypt(content, [x25519.Recipient.from_str(public)])
    with pytest.raises(InputError, match="no sealed secret is in it"):
        unseal(sealed, str(tmp_path / "key"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_header_that_takes_long_to_read_is_not_read(tmp_path: Path) -> None:
    """The defect: the time grows with its square, and a header may be as long as the file."""
    identity, public = new_identity()
    (tmp_path / "key").write_text(identity)
    sealed = pyrage.encrypt(b"", [x25519.Recipient.from_str(public)])
    head, rest = sealed.split(b"\n", 1)
    with pytest.raises(InputError, match="not the key that opens this secret, or the file is damaged"):
        unseal(head + b"\n" + b"-> x y\nAAAA\n" * 1000 + rest, str(tmp_path / "key"), tmp_path / "out")
    most = [new_identity()[1] for _ in range(MOST_RECIPIENTS)]
    (tmp_path / "secret").mkdir()
    seal(tmp_path, ["secret"], [public, *most[1:]], tmp_path / "sealed")
    unseal((tmp_path / "sealed").read_bytes(), str(tmp_path / "key"), tmp_path / "out")
    with pytest.raises(InputError, match=r"release\.seal_to: 31 keys, expected at most 30"):
        seal(tmp_path, ["secret"], [public, *most], tmp_path / "more")


def test_a_key_file_of_ages_own_programs(secret: Path, tmp_path: Path) -> None:
    identity, public = new_identity()
    seal(tmp_path, ["secret"], [public], tmp_path / "sealed")
    (tmp_path / "key").write_text(f"\ufeff# created: 2026-11-29\r\n# public key: {public}\r\n{identity}\r\n")
    unseal((tmp_path / "sealed").read_bytes(), str(tmp_path / "key"), tmp_path / "out")
    assert same(secret, tmp_path / "out/secret")


@pytest.mark.parametrize("name", [".", "a\0b"])
def test_a_name_that_is_none_hides_no_good_secret(name: str, secret: Path, tmp_path: Path) -> None:
    identity, public = new_identity()
    (tmp_path / "key").write_text(identity)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("x")
        entry.pax_headers = {"path": name}
        archive.addfile(entry)
    hostile = pyrage.encrypt(buffer.getvalue(), [x25519.Recipient.from_str(public)])
    seal(tmp_path, ["secret"], [public], tmp_path / "sealed")
    unseal_any([hostile, (tmp_path / "sealed").read_bytes()], str(tmp_path / "key"), tmp_path / "out")
    assert same(secret, tmp_path / "out/secret")


@pytest.mark.parametrize(("names", "said"), [(("a", "a/b"), "a/b: "), (("n" * 300,), "File name too long")])
def test_files_that_cannot_be_are_named(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    identity, public = new_identity()
    (tmp_path / "key").write_text(identity)
    sealed = pyrage.encrypt(buffer.getvalue(), [x25519.Recipient.from_str(public)])
    with pytest.raises(InputError, match=said):
        unseal(sealed, str(tmp_path / "key"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("kind", ["link", "device", "above", "absolute", "sparse"])
def test_what_no_owner_seals_is_not_unpacked(kind: str, tmp_path: Path) -> None:
    """Whoever knows the public key can seal anything for it."""
    entry = tarfile.TarInfo({"above": "a/../../b", "absolute": "/tmp/b"}.get(kind, "a/b"))
    entry.size = 0 if kind in ("link", "device") else 3
    entry.type = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}.get(kind, tarfile.REGTYPE)
    entry.linkname = "/etc/passwd" if kind == "link" else ""
    if kind == "sparse":
        entry.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,3"}
        entry.pax_headers |= {"GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "a/b"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(b"abc"))
    identity, public = new_identity()
    key = tmp_path / "key"
    key.write_text(identity)
    sealed = pyrage.encrypt(buffer.getvalue(), [x25519.Recipient.from_str(public)])
    with pytest.raises(InputError, match="no file of a sealed secret"):
        unseal(sealed, str(key), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
