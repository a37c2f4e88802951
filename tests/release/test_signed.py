"""Manifests signed by the committed key, and readers who hold a release to it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sscl.audit.bundle import new_key, public_of
from sscl.doctor import examine
from sscl.errors import ConfigError, InputError
from sscl.params import load
from sscl.release import reader
from sscl.release.create import signed_by_owner
from sscl.release.objects import Objects, endpoint_of
from tests.conftest import ROOT
from tests.release.publisher import Publisher


def test_a_signed_release_and_readers_that_pin_the_key(bucket: str, tmp_path: Path) -> None:
    one, key = Publisher(tmp_path, bucket), Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    one.manifest = one.manifest.signed(key)
    one.publish()
    found = reader.get(one.public, "d", "1.0", public)
    assert found.signer == public
    reader.pull(one.public, found, tmp_path / "out", 2)
    assert reader.check_folder(tmp_path / "out", public.upper()) == []
    with pytest.raises(InputError, match=f"signed by {public}, expected {'0' * 64}; do not use it"):
        reader.get(one.public, "d", "1.0", "0" * 64)
    with pytest.raises(InputError, match="do not use it"):
        reader.check_folder(tmp_path / "out", "0" * 64)


def test_an_unsigned_release_is_not_the_pinned_owners(bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path, bucket)
    one.publish()
    assert reader.get(one.public, "d", "1.0").signer is None
    with pytest.raises(InputError, match="signed by nobody"):
        reader.get(one.public, "d", "1.0", "0" * 64)


@pytest.mark.parametrize(
    "change",
    [{"created": "later"}, {"commitment": "2"}, {"signature": {}}, {"signature": {"ed25519": "zz", "signature": ""}}],
)
def test_what_is_changed_after_signing_is_no_manifest(change: dict[str, object], bucket: str, tmp_path: Path) -> None:
    one = Publisher(tmp_path, bucket)
    raw = asdict(one.manifest.signed(Ed25519PrivateKey.generate())) | change
    one.public.write("d/versions/1.0.json", json.dumps(raw).encode())
    with pytest.raises(InputError, match="not a manifest"):
        reader.get(one.public, "d", "1.0")


def test_the_key_is_the_committed_one(bucket: str, tmp_path: Path) -> None:
    manifest, file = Publisher(tmp_path, bucket).manifest, tmp_path / "sign.pem"
    file.write_bytes(new_key())
    public = public_of(file.read_bytes())
    assert signed_by_owner(manifest, str(file), public).signer == public
    assert signed_by_owner(manifest, None, None).signer is None
    with pytest.raises(InputError, match=r"release\.sign: null, and the commitment names a signer"):
        signed_by_owner(manifest, None, public)
    with pytest.raises(InputError, match=r"is not the key of audit\.signer"):
        signed_by_owner(manifest, str(file), None)
    with pytest.raises(ConfigError, match=r"audit\.signer: 'x' is not possible"):
        load(ROOT / "params.yaml", "demo", ["audit.signer=x"])


@pytest.mark.slow
def test_the_profiles_endpoint_and_addressing_style_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: the profile's style was overridden, and doctor called its endpoint AWS."""
    (tmp_path / "config").write_text(
        "[profile own]\nregion = eu\nendpoint_url = http://s3.example.org\ns3 =\n    addressing_style = virtual\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "own")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert endpoint_of(boto3.Session()) == "http://s3.example.org"
    assert Objects("s3://b/p").client.meta.config.s3["addressing_style"] == "virtual"
    (line,) = [finding for finding in examine() if finding.what == "S3 endpoint"]
    assert line.state == "http://s3.example.org"
    monkeypatch.setenv("AWS_PROFILE", "missing")
    (line,) = [finding for finding in examine() if finding.what == "S3 endpoint"]
    assert not line.ok
    with pytest.raises(InputError, match=r"s3://b/p: .*missing.*; correct AWS_PROFILE"):
        Objects("s3://b/p")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(InputError, match=r"s3://b/p: .*localhost:9000.*AWS_ENDPOINT_URL \(http://HOST:PORT\)"):
        Objects("s3://b/p")
