"""RFC 3161 against OpenSSL: its reader of requests, and its own time-stamp authority behind HTTP on loopback."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sscl.artifacts import digest, read_json
from sscl.audit import timestamp
from sscl.audit.bundle import unpack
from sscl.audit.canonical import canonical
from sscl.audit.check import Expected, check
from sscl.audit.commitment import seal
from sscl.audit.parts import TOKEN
from sscl.audit.summary import rests_on
from sscl.cli import app
from sscl.config import BeaconConfig, Config
from sscl.errors import InputError, SSCLError
from sscl.layout import TIMESTAMP_REPLY, TIMESTAMP_REQUEST, Root
from sscl.release.recipients import protect
from sscl.runner import run_all, run_stage
from sscl.stages.table import STAGES
from tests.serving import listening

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
NONE = BeaconConfig("none", 600, None)
SETTINGS = (
    "[tsa]\ndefault_tsa=t\n[t]\nserial=serial\ncrypto_device=builtin\nsigner_cert=c.pem\nsigner_key=k.pem\n"
    "signer_digest=sha256\ndefault_policy=1.2.3\ndigests=sha256\nordering=no\ntsa_name=no\ness_cert_id_chain=no\n"
    "[req]\ndistinguished_name=d\nx509_extensions=v\n[d]\n[v]\nextendedKeyUsage=critical,timeStamping\n"
)


class Authority:
    """A time-stamp authority of OpenSSL's, with a key and a certificate of its own in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.certificate = folder, folder / "c.pem"
        (folder / "serial").write_text("01")
        (folder / "tsa.cnf").write_text(SETTINGS)
        self.openssl("req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=tsa -config tsa.cnf")

    def openssl(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)

    def reply(self, request: bytes) -> bytes:
        (self.folder / "q.tsq").write_bytes(request)
        self.openssl("ts -reply -queryfile q.tsq -out r.tsr -config tsa.cnf")
        return (self.folder / "r.tsr").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def url(authority: Authority) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            found = {"/tsr": authority.reply, "/error": lambda _: b"<html>", "/endless": lambda _: bytes(2 << 20)}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(found[self.path](sent))

    with listening(Handler) as where:
        yield where


def test_a_request_is_one_of_the_commitment(finished: Path) -> None:
    """Parsed by an independent reader of ASN.1: OpenSSL."""
    path = Root(finished).commitment.with_name(TIMESTAMP_REQUEST)
    shown = subprocess.run(["openssl", "ts", "-query", "-in", path, "-text"], capture_output=True, text=True).stdout
    commitment = read_json(Root(finished).commitment)
    printed = "".join(
        part for line in shown.splitlines() if " - " in line for part in line.split(" - ", 1)[1][:49].split()
    )
    assert hashlib.sha256(canonical(commitment)).hexdigest() == printed.replace("-", "")


def test_replies_are_read_and_verified(config: Config, authority: Authority, tmp_path: Path) -> None:
    commitment = seal({"salt": "x"}, "data", config.audit, NONE)
    reply = authority.reply(timestamp.request(commitment))
    assert timestamp.read(reply, commitment).year >= 2024
    timestamp.verify(reply, commitment, authority.certificate.read_bytes())
    with pytest.raises(InputError, match="not signed by this authority"):
        timestamp.verify(reply, commitment, Authority(tmp_path).certificate.read_bytes())
    with pytest.raises(InputError, match="--authority: no certificate; expected"):
        timestamp.verify(reply, commitment, b"nonsense")
    with pytest.raises(InputError, match="no token to verify"):
        timestamp.verify(b"nonsense", commitment, authority.certificate.read_bytes())
    with pytest.raises(InputError, match="not one of this commitment"):
        timestamp.read(reply, seal({"salt": "y"}, "data", config.audit, NONE))
    with pytest.raises(InputError, match="not an RFC 3161 response"):
        timestamp.read(b"nonsense", commitment)


def test_a_stamped_commitment_stays_and_its_stamp_goes_with_audits_and_release(
    copy: Path, config: Config, authority: Authority, url: str
) -> None:
    """The reply is beside the stage's folder: a file in it would look like a change, and the stage commit anew."""
    root, before = Root(copy), digest(Root(copy).committed)
    bundle, trusted = root.audits / "malicious/bundle.zip", Expected(authority=authority.certificate.read_bytes())
    assert check(bundle, trusted) == ["commitment.tsr: missing"]
    result = CliRunner().invoke(app, ["stamp", f"{url}/tsr", "--out", str(copy)], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert result.stdout.startswith("The authority saw the commitment at 20")
    suspects = {name for name in run_all(config, copy, overwrite=True) if name != "report"}
    assert {name.partition("@")[0] for name in suspects} == {"package", "audit"}
    assert digest(root.committed) == before
    expected = Expected(root.commitment.read_bytes(), token=root.stamp.read_bytes())
    assert check(bundle, expected) == []
    assert check(bundle, trusted) == []
    timestamp.verify(unpack(bundle)[0][TOKEN], read_json(root.commitment), authority.certificate.read_bytes())
    packed = root.packed / "commitment" / TIMESTAMP_REPLY
    assert packed.read_bytes() == root.stamp.read_bytes()
    assert timestamp.reply_to(packed.with_name("commitment.json")) == packed  # as an auditor has it
    assert any("MISSING: the time-stamp authority's root" in line for line in rests_on(unpack(bundle)[0], expected))
    trusted = replace(expected, authority=authority.certificate.read_bytes())
    assert check(bundle, trusted) == []
    assert not any("root certificate" in line for line in rests_on(unpack(bundle)[0], trusted))
    with pytest.raises(InputError, match="already there, and an earlier time stamp is worth more"):
        timestamp.stamp(root, f"{url}/tsr")
    root.commitment.write_text(json.dumps({**read_json(root.commitment), "attempt": 2}))
    with pytest.raises(InputError, match=r"commitment\.tsr: time stamp: it is not one of this commitment; remove it"):
        timestamp.reply_to(root.commitment)


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"vouched": True}])
def test_a_commitment_under_a_key_is_never_replaced(
    how: dict[str, bool], copy: Path, config: Config, tmp_path: Path
) -> None:
    """The defect: a file beside it, an edit of the code or another setting made a new one."""
    (tmp_path / "release.key").write_bytes(bytes(32))
    owners, commit = replace(config, key_file=str(tmp_path / "release.key")), STAGES["commit"]
    for folder in (Root(copy).committed, Root(copy).opened):
        shutil.rmtree(folder)
    assert run_stage(commit, owners, copy)
    before = Root(copy).commitment.read_bytes()
    assert not run_stage(commit, owners, copy, **how)
    raised = replace(owners, audit=replace(owners.audit, attempt=2))
    with pytest.raises(InputError, match="public/commitment: not what commit would make now"):
        run_stage(commit, raised, copy, **how)
    (Root(copy).committed / TIMESTAMP_REPLY).write_bytes(b"a reply")
    with pytest.raises(InputError, match="public/commitment: not what commit would make now"):
        run_stage(commit, owners, copy, **how)
    assert Root(copy).commitment.read_bytes() == before


def test_a_copys_commitment_stays_too(copy: Path, config: Config) -> None:
    made = protect(Root(copy), config, "bob")
    commitment = made.commitment.read_bytes()
    (made.committed / TIMESTAMP_REPLY).write_bytes(b"a reply")
    with pytest.raises(InputError, match="not what commit-bob would make now"):
        protect(Root(copy), config, "bob")
    assert made.commitment.read_bytes() == commitment


def test_what_is_no_time_stamp_is_not_kept(copy: Path, url: str) -> None:
    for path, message in [("/error", "not an RFC 3161 response"), ("/endless", "more than 1,048,576 bytes")]:
        with pytest.raises(SSCLError, match=message):
            timestamp.stamp(Root(copy), url + path)
    with pytest.raises(SSCLError, match="no time stamp"):
        timestamp.stamp(Root(copy), "http://127.0.0.1:9/")
    late = {**read_json(Root(copy).commitment), "beacon": "drand", "pulse": 1000}
    Root(copy).commitment.write_text(json.dumps(late))
    Root(copy).commitment.with_name(TIMESTAMP_REQUEST).write_bytes(timestamp.request(late))
    with pytest.raises(InputError, match=r"a stamp must be 60 s older\. It was not kept"):
        timestamp.stamp(Root(copy), f"{url}/tsr")
    assert not Root(copy).stamp.exists()
