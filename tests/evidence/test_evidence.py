"""Commitment, time stamp, bundle and check on the finished tiny pipeline."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sscl.artifacts import load_tensors, read_json, save_tensors, write_json
from sscl.config import BeaconConfig, ComputeConfig, Config
from sscl.errors import InputError
from sscl.evidence import bundle, timestamp
from sscl.evidence.bundle import load_key, new_key
from sscl.evidence.canonical import canonical
from sscl.evidence.check import AUDIT, QUERIES, check
from sscl.evidence.commitment import seal
from sscl.evidence.session import audit_suspect
from sscl.stages.names import COMMITMENT, FINDING, OPENING

COMPUTE = ComputeConfig("cpu", None, "auto", "auto", "auto")
NONE = BeaconConfig("none", 600, None)


@pytest.fixture(scope="module")
def signed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "key.pem").write_bytes(new_key())
    path = folder / "bundle.zip"
    suspect = str(finished / "models/malicious/model.safetensors")
    audit_suspect(suspect, finished, COMPUTE, bundle=path, sign=folder / "key.pem")
    return path


def test_a_bundle_is_valid(signed: Path, finished: Path) -> None:
    assert check(signed) == []
    assert bundle.signer(bundle.unpack(signed)[0]) is not None
    for scenario in ("malicious", "independent_model", "independent_watermark"):
        assert check(finished / f"private/audits/{scenario}/bundle.zip") == []


def differs(path: Path) -> bool:
    """Whether the check finds anything, an unreadable file included."""
    try:
        return check(path) != []
    except InputError:
        return True


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_altered_byte_is_caught(signed: Path, tmp_path: Path, where: float, flip: int) -> None:
    content = bytearray(signed.read_bytes())
    content[int(where * len(content))] ^= flip
    altered = tmp_path / "altered.zip"
    altered.write_bytes(content)
    assert differs(altered)


def rewritten(source: Path, target: Path, name: str, change: Any) -> Path:
    """A bundle whose part is changed and whose manifest is made anew, as a forger without the key would."""
    with zipfile.ZipFile(source) as archive:
        parts = {n: archive.read(n) for n in archive.namelist() if n not in (bundle.MANIFEST, bundle.SIGNATURE)}
    value = json.loads(parts[name])
    change(value)
    parts[name] = canonical(value)
    bundle.write(target, parts, None)
    return target


def test_a_forged_figure_differs_from_the_derived_one(signed: Path, tmp_path: Path) -> None:
    forged = rewritten(signed, tmp_path / "f.zip", FINDING, lambda v: v.update(p_value=0.0001))
    assert any(line.startswith("finding.json: p_value is 0.0001, derived") for line in check(forged))


def test_a_forged_protocol_is_not_the_committed_one(signed: Path, tmp_path: Path) -> None:
    forged = rewritten(signed, tmp_path / "f.zip", OPENING, lambda v: v.update(mark_count=9))
    assert any("SHA-256 is not the opening's" in line for line in check(forged))
    late = rewritten(signed, tmp_path / "l.zip", AUDIT, lambda v: v.update(started="2000-01-01T00:00:00+00:00"))
    assert any("made after the first query" in line for line in check(late))


def test_a_word_that_fits_better_is_not_the_drawn_one(signed: Path, tmp_path: Path) -> None:
    """Whoever could choose the word could accuse anybody."""
    swapped = rewritten(signed, tmp_path / "w.zip", AUDIT, lambda v: v.update(word=[*v["word"][1:], v["word"][0]]))
    assert "audit.json: its word does not follow from the committed secret and the beacon" in check(swapped)
    secret = rewritten(signed, tmp_path / "s.zip", OPENING, lambda v: v.update(secret="00" * 32))
    assert any("SHA-256 is not the opening's" in line for line in check(secret))
    moved = rewritten(
        signed, tmp_path / "t.zip", AUDIT, lambda v: v.update(labels=[(label + 1) % 3 for label in v["labels"]])
    )
    assert any("other images than the audit's" in line for line in check(moved))


def test_guarantees_cannot_be_claimed(signed: Path, tmp_path: Path) -> None:
    claimed = rewritten(signed, tmp_path / "g.zip", AUDIT, lambda v: v.update(guarantees=v["guarantees"][:1]))
    assert "audit.json: its guarantees are not those of the commitment" in check(claimed)


def test_an_image_cannot_be_passed_off_as_another(signed: Path, tmp_path: Path) -> None:
    """Whoever could answer for one mark with another's queries could accuse anybody."""
    parts = {n: c for n, c in bundle.unpack(signed)[0].items() if n not in (bundle.MANIFEST, bundle.SIGNATURE)}
    queries = [json.loads(line) for line in parts[QUERIES].splitlines()]
    swap = {0: 1, 1: 0}
    sent = {(q["mark"], q["image"]): q for q in queries}
    made = [{**sent[swap.get(q["mark"], q["mark"]), q["image"]], "mark": q["mark"]} for q in queries]
    bundle.write(tmp_path / "s", {**parts, QUERIES: b"".join(canonical(q) + b"\n" for q in made)}, None)
    assert f"{QUERIES}: other images were sent under mark 0 than were committed to" in check(tmp_path / "s")
    short = b"".join(canonical(q) + b"\n" for q in queries[1:])
    bundle.write(tmp_path / "o", {**parts, QUERIES: short}, None)
    assert any("not those of the protocol, in its order" in line for line in check(tmp_path / "o"))


def rewritten_queries(signed: Path, target: Path, change: Any) -> list[str]:
    """What is found of a bundle whose queries are changed."""
    parts = {n: c for n, c in bundle.unpack(signed)[0].items() if n not in (bundle.MANIFEST, bundle.SIGNATURE)}
    queries = change([json.loads(line) for line in parts[QUERIES].splitlines()])
    bundle.write(target, {**parts, QUERIES: b"".join(canonical(query) + b"\n" for query in queries)}, None)
    return check(target)


def test_classes_in_another_order_are_not_the_committed_ones(signed: Path, tmp_path: Path) -> None:
    """With the word known, an order of the suspect's classes can be found that fits it."""
    moved = rewritten(signed, tmp_path / "c.zip", AUDIT, lambda v: v["class_names"].reverse())
    assert "audit.json: the suspect's classes are not the committed ones in their order" in check(moved)


def test_answers_that_are_left_out_are_seen(signed: Path, tmp_path: Path) -> None:
    """A file always answers; whoever could drop the images that he does not like could accuse anybody."""
    wrong = rewritten_queries(signed, tmp_path / "d.zip", lambda qs: [q | {"answer": None} for q in qs[:1]] + qs[1:])
    assert f"{QUERIES}: a file that answers when it is asked has left images unanswered" in wrong


def test_a_part_of_an_audit_is_held_to_the_committed_images_too(signed: Path, tmp_path: Path) -> None:
    wrong = rewritten_queries(signed, tmp_path / "p.zip", lambda qs: [q | {"sha256": "0" * 64} for q in qs[:25]])
    assert f"{QUERIES}: other images were sent under mark -1 than were committed to" in wrong
    assert f"{QUERIES}: other images were sent under mark 1 than were committed to" in wrong


def test_another_attempt_than_the_protocols(signed: Path, tmp_path: Path) -> None:
    forged = rewritten(signed, tmp_path / "a.zip", COMMITMENT, lambda v: v.update(attempt=57))
    assert "commitment.json: another version or attempt than its opening's" in check(forged)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (AUDIT, {"occasion": 1e200}),
        (AUDIT, {"word": [0] * 200_000}),
        (AUDIT, {"word": "x"}),
        (AUDIT, {"protocol": None}),
        (AUDIT, {"groups": 10**30}),
        (AUDIT, {"protocol": {"alpha": 0.9}}),
        (COMMITMENT, {"created": 5}),
        (OPENING, {"references": []}),
    ],
)
def test_hostile_parts_are_differences_and_never_tracebacks(
    name: str, change: dict[str, Any], signed: Path, tmp_path: Path
) -> None:
    def apply(value: dict[str, Any]) -> None:
        for key, new in change.items():
            value[key] = value[key] | new if isinstance(new, dict) else new

    assert check(rewritten(signed, tmp_path / "h.zip", name, apply)) != []


def test_compressed_and_nested_bundles_are_refused(signed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(AUDIT, b"0" * 10_000_000)
    with pytest.raises(InputError, match="its parts are compressed"):
        check(tmp_path / "z.zip")
    for manifest in (b"[" * 100_000, b"[]", b"7"):
        parts = bundle.unpack(signed)[0] | {bundle.MANIFEST: manifest}
        (tmp_path / "n.zip").write_bytes(bundle.pack(parts))
        assert f"{bundle.MANIFEST}: missing or damaged" in check(tmp_path / "n.zip")


def test_missing_and_foreign_parts(signed: Path, tmp_path: Path) -> None:
    parts = bundle.unpack(signed)[0]
    del parts[QUERIES]
    (tmp_path / "m.zip").write_bytes(bundle.pack(parts))
    assert f"{QUERIES}: missing" in check(tmp_path / "m.zip")
    (tmp_path / "x.zip").write_bytes(bundle.pack({**bundle.unpack(signed)[0], "virus.exe": b""}))
    assert "virus.exe: not a part of a bundle" in check(tmp_path / "x.zip")
    (tmp_path / "n.zip").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="zip"):
        check(tmp_path / "n.zip")


def test_a_commitment_that_does_not_match_is_refused(copy: Path) -> None:
    suspect = str(copy / "models/malicious/model.safetensors")
    published = copy / "public/commitment/commitment.json"
    original = read_json(published)
    write_json(published, {**original, "sha256": "0" * 64})
    with pytest.raises(InputError, match="no result is confirmatory"):
        audit_suspect(suspect, copy, COMPUTE)
    finding, audit = audit_suspect(suspect, copy, COMPUTE, confirmatory=False)
    assert audit["confirmatory"] is False
    write_json(published, {**original, "created": "2999-01-01T00:00:00+00:00"})
    with pytest.raises(InputError, match="made after the first query"):
        audit_suspect(suspect, copy, COMPUTE)
    assert finding.queries > 0


def test_other_marks_or_another_word_than_the_committed_ones(copy: Path) -> None:
    secret = copy / "private/watermark/release/generator.safetensors"
    suspect, original = str(copy / "models/malicious/model.safetensors"), secret.read_bytes()
    secret.write_bytes((copy / "private/watermark/independent/generator.safetensors").read_bytes())
    with pytest.raises(InputError, match="are not the committed ones; use the committed files"):
        audit_suspect(suspect, copy, COMPUTE)
    secret.write_bytes(original)
    tensors, metadata = load_tensors(secret)
    save_tensors(secret, {**tensors, "word": tensors["word"].roll(1)}, metadata)
    with pytest.raises(InputError, match="its word does not follow from commitment and beacon"):
        audit_suspect(suspect, copy, COMPUTE)


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@needs_openssl
def test_time_stamp_request_is_one_of_the_commitment(finished: Path) -> None:
    """Parsed by an independent reader of ASN.1: OpenSSL."""
    path = finished / "public/commitment/commitment.tsq"
    shown = subprocess.run(["openssl", "ts", "-query", "-in", path, "-text"], capture_output=True, text=True).stdout
    commitment = read_json(finished / "public/commitment/commitment.json")
    printed = "".join(
        part for line in shown.splitlines() if " - " in line for part in line.split(" - ", 1)[1][:49].split()
    )
    assert hashlib.sha256(canonical(commitment)).hexdigest() == printed.replace("-", "")
    with pytest.raises(InputError, match="not an RFC 3161 response"):
        timestamp.read(b"nonsense", commitment)


@needs_openssl
def test_time_stamps_are_read(config: Config, tmp_path: Path) -> None:
    """A token by OpenSSL's own time-stamp authority, made here."""
    commitment = seal({"salt": "x"}, "data", config.audit, NONE)
    (tmp_path / "q.tsq").write_bytes(timestamp.request(commitment))
    (tmp_path / "serial").write_text("01")
    (tmp_path / "tsa.cnf").write_text(
        "[tsa]\ndefault_tsa=t\n[t]\nserial=serial\ncrypto_device=builtin\nsigner_cert=c.pem\nsigner_key=k.pem\n"
        "signer_digest=sha256\ndefault_policy=1.2.3\ndigests=sha256\nordering=no\ntsa_name=no\ness_cert_id_chain=no\n"
        "[req]\ndistinguished_name=d\nx509_extensions=v\n[d]\n[v]\nextendedKeyUsage=critical,timeStamping\n"
    )
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=tsa -config tsa.cnf",
        "ts -reply -queryfile q.tsq -out r.tsr -config tsa.cnf",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    moment = timestamp.read((tmp_path / "r.tsr").read_bytes(), commitment)
    assert moment.year >= 2024
    with pytest.raises(InputError, match="not one of this commitment"):
        timestamp.read((tmp_path / "r.tsr").read_bytes(), seal({"salt": "y"}, "data", config.audit, NONE))


def test_keys(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes(new_key())
    load_key(tmp_path / "k.pem")
    (tmp_path / "x.pem").write_text("nonsense")
    with pytest.raises(InputError, match="keygen"):
        load_key(tmp_path / "x.pem")
