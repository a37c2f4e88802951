"""Commitment, time stamp, bundle and check on the finished tiny pipeline."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyrage
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyrage import x25519
from safetensors.torch import load, save
from typer.testing import CliRunner

from sscl.artifacts import digest, load_tensors, read_json, save_tensors, write_json
from sscl.audit import bundle, session
from sscl.audit.bundle import load_key, new_key
from sscl.audit.canonical import canonical
from sscl.audit.check import Expected, check
from sscl.audit.check_suspect import ASKED, PARTICULAR, misnamed, unclear
from sscl.audit.commitment import seal
from sscl.audit.examine import examine, plain, prepare
from sscl.audit.opening import commitment_digest
from sscl.audit.parts import AUDIT, IMAGES, QUERIES, RAW, SEALED
from sscl.audit.session import audit_suspect
from sscl.audit.summary import particulars, rests_on
from sscl.cli import app
from sscl.compute import Compute
from sscl.config import AuditConfig, BeaconConfig, ComputeConfig
from sscl.errors import InputError
from sscl.layout import COMMITMENT, FINDING, OPENING, Root
from sscl.models.io import load_classifier
from sscl.release.sealed import new_identity
from sscl.statistics.words import floor
from sscl.suspects import Context, open_oracle
from sscl.suspects.http_requests import Asking

COMPUTE = ComputeConfig("cpu", None, "auto", "auto", "auto")
NONE = BeaconConfig("none", 600, None)
API = {"kind": "http", "url": "https://api.example.org/predict"}
AUDIT_CONFIG = AuditConfig("exact", "dataset", "effect", 0.001, 0.05, 50, 16, "1.0", 1)


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
        parts = {n: archive.read(n) for n in archive.namelist() if n != bundle.ATTESTATION}
    value = json.loads(parts[name])
    change(value)
    parts[name] = canonical(value)
    bundle.write(target, parts, None)
    return target


def test_a_forged_figure_differs_from_the_derived_one(signed: Path, tmp_path: Path) -> None:
    forged = rewritten(signed, tmp_path / "f.zip", FINDING, lambda v: v.update(p_value=0.0001))
    assert any(line.startswith("finding.json: p_value is 0.0001, derived") for line in check(forged))


def test_a_forged_protocol_is_not_the_committed_one(signed: Path, tmp_path: Path) -> None:
    forged = rewritten(signed, tmp_path / "f.zip", OPENING, lambda v: v.update(marks="0" * 64))
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


def committed_to(source: Path, target: Path, change: Any, queries: Any = None) -> Path:
    """A bundle of an owner whose genuine commitment is to something else, and whose queries are ``queries`` of it."""
    with zipfile.ZipFile(source) as archive:
        parts = {n: archive.read(n) for n in archive.namelist() if n != bundle.ATTESTATION}
    opening, commitment = json.loads(parts[OPENING]), json.loads(parts[COMMITMENT])
    change(opening)
    parts[OPENING] = canonical(opening)
    parts[COMMITMENT] = canonical(commitment | {"sha256": hashlib.sha256(parts[OPENING]).hexdigest()})
    if queries:
        lines = [queries(json.loads(line)) for line in parts[QUERIES].splitlines()]
        parts[QUERIES] = b"".join(canonical(line) + b"\n" for line in lines)
    bundle.write(target, parts, None)
    return target


@pytest.mark.parametrize("spelling", [1.0, True])
def test_which_images_were_sent_cannot_be_chosen_after_the_word(spelling: Any, signed: Path, tmp_path: Path) -> None:
    """To Python 1, 1.0 and true are equal, so an owner could commit to images for each, and use those that fit."""

    def both(opening: dict[str, Any]) -> None:
        opening["queries"][str(spelling)] = opening["queries"]["1"]

    def spelt(query: dict[str, Any]) -> dict[str, Any]:
        return query | {"mark": spelling} if query["mark"] == 1 else query

    assert any(
        "so which were sent could be chosen" in line for line in check(committed_to(signed, tmp_path / "a.zip", both))
    )
    found = check(committed_to(signed, tmp_path / "b.zip", both, spelt))
    assert any("mark and image must be whole numbers" in line for line in found)


@pytest.mark.parametrize(
    "key",
    ["everybody. Its time stamp was verified", "x" * 101, "a\u00a0b", ""],
    ids=["words", "long", "space", "empty"],
)
def test_a_recipient_is_a_name_and_no_sentence(key: str, signed: Path, tmp_path: Path) -> None:
    """``check`` prints it among its own words."""
    told = committed_to(signed, tmp_path / "r.zip", lambda opening: opening.update(recipient=key))
    assert "opening.json: its dataset, version or recipient is not a name" in check(told)


@pytest.mark.parametrize("access", ["probabilities. The time stamp was verified", "Labels", "", 7, None, ["labels"]])
def test_access_is_one_of_four_words_and_no_sentence(access: Any, signed: Path, tmp_path: Path) -> None:
    forged = rewritten(signed, tmp_path / "b.zip", AUDIT, lambda audit: audit.update(access=access))
    assert any("access must be one of" in difference for difference in check(forged))


@pytest.mark.parametrize("answer", [[], [0.5, 0.5], ["0.2", "0.3", "0.5"], [True, False, False], {"0": 1}])
def test_answers_are_as_many_numbers_as_the_suspect_has_classes(answer: Any, signed: Path, tmp_path: Path) -> None:
    def odd(query: dict[str, Any]) -> dict[str, Any]:
        return query | {"answer": answer} if (query["mark"], query["image"]) == (0, 0) else query

    found = check(committed_to(signed, tmp_path / "o.zip", lambda _: None, odd))
    assert any("an answer must have 3 numbers" in line or "answers must be numbers" in line for line in found)


def test_two_commitments_to_one_opening_are_told_apart() -> None:
    """The defect: the digest that was shown left out the pulse, so an owner could choose among many."""
    opening = {"format": "f", "secret": "00"}
    one, other = (seal(opening, "d", AUDIT_CONFIG, NONE) | {"pulse": pulse} for pulse in (1, 2))
    assert one["sha256"] == other["sha256"]
    assert commitment_digest(one) != commitment_digest(other)


def test_a_shape_that_claims_more_than_any_content_is_not_read(signed: Path, tmp_path: Path) -> None:
    """The defect: each of its 10^15 images of no bytes had a digest."""
    with zipfile.ZipFile(signed) as archive:
        parts = {n: archive.read(n) for n in archive.namelist() if n != bundle.ATTESTATION}
    names = sorted(load(parts[IMAGES]))
    entry = {"dtype": "U8", "shape": [10**15, 1, 0, 1], "data_offsets": [0, 0]}
    header = json.dumps(dict.fromkeys(names, entry)).encode()
    parts[IMAGES] = len(header).to_bytes(8, "little") + header
    bundle.write(tmp_path / "b.zip", parts, None)
    assert f"{IMAGES}: not uint8 images, one for each query" in check(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("url", "https://api.example.org/predict\u2800\u2800time stamp: verified"),
        ("url", "https://api.example.org/predict VALID"),
        ("function", "x" * 2001),
        ("kind", "model_file"),
        ("kind", "the model file"),
        ("kind", "http api"),
        ("kind", "http and it was verified by everybody"),
    ],
)
def test_particulars_cannot_be_taken_for_the_programs_own_words(
    name: str, said: str, signed: Path, tmp_path: Path
) -> None:
    forged = rewritten(
        signed, tmp_path / "f.zip", AUDIT, lambda v: v["suspect"].update({"kind": "recorded", name: said})
    )
    assert any(f"{AUDIT}: the suspect's {name} is not one" in line for line in check(forged))


@pytest.mark.parametrize(
    ("kind", "interface", "wrong"),
    [
        ("classifier", ["x"], "not a table of names and texts"),
        ("classifier", {"probabilities ": "$.scores"}, "not a table of names and texts"),
        ("classifier", {"output": 3}, "not a table of names and texts"),
        ("model file", {}, "does not say how the suspect was asked (dtype, layout, values)"),
    ],
)
def test_settings_are_what_they_are_printed_as(
    kind: str, interface: Any, wrong: str, signed: Path, tmp_path: Path
) -> None:
    def forge(audit: dict[str, Any]) -> None:
        audit["suspect"]["kind"], audit["interface"] = kind, interface

    assert any(wrong in line for line in check(rewritten(signed, tmp_path / "f.zip", AUDIT, forge)))


def test_settings_are_printed_to_their_end(signed: Path, tmp_path: Path) -> None:
    """The defect: what followed after 2,000 characters was in no output of ``check``."""
    asked = {name: str(value) for name, value in asdict(Asking()).items()}
    for name, most in (("note", 2000), ("names", 100_000)):
        assert unclear(API, asked, {name: "x" * most}) == []
        refused = unclear(API, asked, {name: "x" * (most + 1)})
        assert refused == [f"{AUDIT}: setting {name} has {most + 1:,} characters; at most {most:,} are printed"]
    long = "0" * 2000
    forged = rewritten(signed, tmp_path / "b.zip", AUDIT, lambda audit: audit["interface"].update(note=long))
    shown = CliRunner().invoke(app, ["check", str(forged)])
    assert f"setting note: {long}\n" in shown.stdout


@pytest.mark.parametrize(
    "text",
    [
        "\\[answer class 3 if it is bright]&v=2",
        "\\[/]",
        "\\[conceal]unseen\\[/conceal]",
        "[link=http://evil.example]x[/link]",
        "[bold green]VALID[/]",
        "the end\\",
    ],
)
def test_no_text_of_a_stranger_is_markup(text: str, signed: Path, tmp_path: Path) -> None:
    """The defect: what stood in escaped brackets was hidden, or ended the output before what was missing."""
    forged = rewritten(signed, tmp_path / "b.zip", AUDIT, lambda audit: audit["interface"].update(note=text))
    shown = CliRunner().invoke(app, ["check", str(forged)])
    assert shown.exit_code == 0
    assert f"setting note: {text}\n" in shown.stdout
    assert "Not visible here: that the suspect gave these answers" in shown.stdout
    assert "\x1b" not in shown.stdout
    parts, name = bundle.unpack(signed)[0], text.replace("/", "-")
    bundle.write(tmp_path / "e.zip", {n: c for n, c in parts.items() if n != bundle.ATTESTATION} | {name: b"x"}, None)
    assert f"differs: {name}: not a part" in CliRunner().invoke(app, ["check", f"{tmp_path}/e.zip"]).stdout
    missing = CliRunner().invoke(app, ["check", f"{tmp_path}/none", "--commitment", f"{tmp_path}/{name}"])
    assert (missing.exit_code, name in missing.stderr) == (2, True)


def test_how_an_api_was_asked_is_said_in_full() -> None:
    asked = {name: str(value) for name, value in asdict(Asking()).items()}
    assert set(asked) == ASKED, "the checker has a list of its own, because it loads no suspects"
    assert unclear(API, asked, {}) == unclear(API, {**asked, "query": "v=2"}, {}) == []
    for name in asked:
        left = {other: said for other, said in asked.items() if other != name}
        assert f"does not say how the suspect was asked ({name})" in unclear(API, left, {})[0]
    assert "settings that no API is asked with (note)" in unclear(API, {**asked, "note": "x"}, {})[0]
    assert "not named by its URL alone" in unclear({**API, "sha256": "a" * 64}, asked, {})[0]


@pytest.mark.parametrize("said", [10, 2000])
def test_a_long_list_of_parts_is_not_read(said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: it was read whole before its parts were counted."""
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number:0600}", b"")
    content = bytearray((tmp_path / "b.zip").read_bytes())
    content[-14:-10] = said.to_bytes(2, "little") * 2
    (tmp_path / "b.zip").write_bytes(content)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the list was read"))
    with pytest.raises(InputError, match="more than 100 parts"):
        bundle.unpack(tmp_path / "b.zip")


def test_many_parts_are_too_many_whatever_their_number_is_said_to_be(tmp_path: Path) -> None:
    bundle_of_many = bundle.pack({str(number): b"" for number in range(2000)})
    content = bytearray(bundle_of_many)
    content[-14:-10] = (10).to_bytes(2, "little") * 2
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(InputError, match="more than 100 parts"):
        bundle.unpack(tmp_path / "b.zip")


def test_a_file_has_no_replies_that_are_read(signed: Path, tmp_path: Path) -> None:
    """The defect: how an API's replies were read was a further choice, which p was not multiplied for."""
    reader = rewritten(signed, tmp_path / "r.zip", AUDIT, lambda v: v.update(reader={"probabilities": "$.p"}))
    assert any("is a file, and has a reader" in line for line in check(reader))
    parts = {n: c for n, c in bundle.unpack(signed)[0].items() if n != bundle.ATTESTATION}
    lines = len(parts[QUERIES].splitlines())
    bundle.write(tmp_path / "raw.zip", {**parts, RAW: b'{"at":"x","body":"","status":200}\n' * lines}, None)
    assert check(tmp_path / "raw.zip")


def test_lists_that_were_cut_short_show(signed: Path) -> None:
    """Whoever asks again sees longer ones."""
    parts = bundle.unpack(signed)[0]
    audit = json.loads(parts[AUDIT]) | {"access": "top_k"}
    queries = [json.loads(line) | {"answer": [0.9, 0.0, 0.0]} for line in parts[QUERIES].splitlines()]
    queries[3]["answer"] = [0.5, 0.4, 0.0]
    lines = b"".join(canonical(query) + b"\n" for query in queries)
    said = particulars(parts | {AUDIT: canonical(audit), QUERIES: lines})
    assert said["answers"] == "top k, 1 to 2 classes in an answer"


def test_evidence_that_check_would_refuse_is_not_asked_for(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspect = str(finished / "models/malicious/model.safetensors")
    said = {"kind": "gateway", "url": "grpc://host/a b/é"}  # is encoded
    monkeypatch.setattr("sscl.suspects.classifier.LocalModel.identity", lambda _: said)
    audit_suspect(suspect, finished, COMPUTE, bundle=tmp_path / "b.zip")
    assert check(tmp_path / "b.zip") == []
    resting = rests_on(bundle.unpack(tmp_path / "b.zip")[0])
    assert any(line.startswith("MISSING: the suspect's own replies") for line in resting)
    assert any("If m settings were tried" in line for line in resting), "a program of the owner's may do anything"
    assert any(line.startswith("MISSING: how the suspect was asked") for line in resting)
    said["kind"] = "image classifier"
    with pytest.raises(InputError, match=r"would refuse the evidence: .* kind is not one in plain letters"):
        audit_suspect(suspect, finished, COMPUTE, bundle=tmp_path / "c.zip")


@pytest.mark.parametrize("change", [{"function": "api.example.org/predict"}, {"url": "https://x"}, {"sha256": "0"}])
def test_a_file_is_named_by_its_digest_alone(change: dict[str, str], signed: Path, tmp_path: Path) -> None:
    """The defect: an API called a classifier needed no replies, and its p was not multiplied."""
    forged = rewritten(signed, tmp_path / "f.zip", AUDIT, lambda v: v["suspect"].update(change))
    assert f"{AUDIT}: the suspect is a file, and is not named by its SHA-256 alone" in check(forged)


@pytest.mark.parametrize(
    ("kind", "access", "interface", "wrong"),
    [
        ("classifier", "features", {}, True),
        ("classifier", "features", {"output": "features"}, False),
        ("classifier", "probabilities", {"output": "features"}, True),
        ("model file", "features", {"scale": "logits"}, True),
        ("model file", "features", {"scale": "features"}, False),
        ("classifier", "probabilities", {}, False),
        ("classifier", "labels", {}, True),
        ("classifier", "top_k", {}, True),
        ("model file", "labels", {"scale": "logits"}, True),
        ("callable", "labels", {}, False),
        ("callable", "features", {}, False),
    ],
)
def test_how_a_files_answers_are_read_is_in_its_settings(
    kind: str, access: str, interface: dict[str, str], wrong: bool
) -> None:
    """The defect: features, labels or lists that were cut short were further tries that nobody saw."""
    assert misnamed(kind, access, interface) is wrong


def test_an_effect_of_nothing_is_none(signed: Path, tmp_path: Path) -> None:
    forged = rewritten(signed, tmp_path / "f.zip", AUDIT, lambda v: v["protocol"].update(least_effect=0.0))
    assert any("least_effect 0; below 0.01" in line for line in check(forged))


def test_an_address_of_any_letters_is_one_word_in_the_evidence() -> None:
    said = plain({"kind": "model file", "url": "http://h/a b/é?x=%20"})
    assert said == {"kind": "model file", "url": "http://h/a%20b/%C3%A9?x=%20"}
    assert PARTICULAR.fullmatch(said["url"])


def test_a_bundle_is_for_its_owners_eyes(signed: Path) -> None:
    assert signed.stat().st_mode & 0o777 == 0o600


def test_guarantees_cannot_be_claimed(signed: Path, tmp_path: Path) -> None:
    claimed = rewritten(signed, tmp_path / "g.zip", AUDIT, lambda v: v.update(guarantees=v["guarantees"][:1]))
    assert "audit.json: its guarantees are not those of the commitment" in check(claimed)


def test_an_image_cannot_be_passed_off_as_another(signed: Path, tmp_path: Path) -> None:
    """Whoever could answer for one mark with another's queries could accuse anybody."""
    parts = {n: c for n, c in bundle.unpack(signed)[0].items() if n != bundle.ATTESTATION}
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
    parts = {n: c for n, c in bundle.unpack(signed)[0].items() if n != bundle.ATTESTATION}
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
    reason = f"{QUERIES}: a file that answers when it is asked has left images unanswered"
    assert reason in wrong
    recorded = rewritten(tmp_path / "d.zip", tmp_path / "r.zip", AUDIT, lambda v: v["suspect"].update(kind="recorded"))
    assert reason not in check(recorded), "the digest of another kind of suspect is no promise"
    for kind in ("model file ", "model\u00a0file", "m\u043edel file"):
        like = rewritten(tmp_path / "d.zip", tmp_path / "l.zip", AUDIT, lambda v, k=kind: v["suspect"].update(kind=k))
        assert "audit.json: the suspect's kind is not one in plain letters" in check(like)


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
        (AUDIT, {"word": [0] * 65}),
        (AUDIT, {"class_names": [str(n) for n in range(3000)]}),
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
    for attestation in (b"[" * 100_000, b"[]", b"7", b'{"payload":"e30=","payloadType":"x","signatures":[]}'):
        parts = bundle.unpack(signed)[0] | {bundle.ATTESTATION: attestation}
        (tmp_path / "n.zip").write_bytes(bundle.pack(parts))
        assert f"{bundle.ATTESTATION}: missing or damaged" in check(tmp_path / "n.zip")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for number in range(101):
            archive.writestr(str(number), b"")
    with pytest.raises(InputError, match="more than 100 parts"):
        check(tmp_path / "p.zip")


def test_an_attestation_is_one_that_other_tools_read(signed: Path) -> None:
    """An in-toto statement in a DSSE envelope (secure-systems-lab/dsse), verified without our code."""
    parts = bundle.unpack(signed)[0]
    envelope = json.loads(parts.pop(bundle.ATTESTATION))
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)
    assert (statement["_type"], envelope["payloadType"]) == (bundle.STATEMENT, "application/vnd.in-toto+json")
    listed = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    assert listed == {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    kind = envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(statement["predicate"]["ed25519"]))
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)


def test_a_signature_by_another_key_than_the_named_one(signed: Path, tmp_path: Path) -> None:
    parts = bundle.unpack(signed)[0]
    parts.pop(bundle.ATTESTATION)
    owner, forger = (Ed25519PrivateKey.generate() for _ in range(2))
    forged, named = (json.loads(bundle.attest(parts, key)) for key in (forger, owner))
    mixed = {**named, "signatures": [{**named["signatures"][0], "sig": forged["signatures"][0]["sig"]}]}
    unsigned = {**named, "signatures": []}
    twice = {**named, "signatures": named["signatures"] + forged["signatures"]}
    for envelope in (mixed, unsigned, twice):
        (tmp_path / "b.zip").write_bytes(bundle.pack({**parts, bundle.ATTESTATION: canonical(envelope)}))
        assert any(line.startswith(f"{bundle.ATTESTATION}: not") for line in check(tmp_path / "b.zip"))


def test_keys_that_stand_twice_are_refused(signed: Path, tmp_path: Path) -> None:
    """The defect: one reader takes the first, another the last."""
    parts = {n: c for n, c in bundle.unpack(signed)[0].items() if n != bundle.ATTESTATION}
    for name in (AUDIT, FINDING, OPENING, COMMITMENT):
        doubled = b'{"' + min(json.loads(parts[name])).encode() + b'":0,' + parts[name][1:]
        bundle.write(tmp_path / "d.zip", {**parts, name: doubled}, None)
        assert f"{name}: not canonical JSON, which has one reading only" in check(tmp_path / "d.zip")
    spaced = parts[QUERIES].replace(b"\n", b" \n", 1)
    bundle.write(tmp_path / "s.zip", {**parts, QUERIES: spaced}, None)
    assert f"{QUERIES}: not canonical JSON, which has one reading only" in check(tmp_path / "s.zip")


def test_dates_outside_of_the_audit(signed: Path, tmp_path: Path) -> None:
    late = rewritten(signed, tmp_path / "l.zip", AUDIT, lambda v: v.update(finished="2001-01-01T00:00:00+00:00"))
    assert any("not in this order, or in the future" in line for line in check(late))
    future = rewritten(signed, tmp_path / "f.zip", AUDIT, lambda v: v.update(finished="2999-01-01T00:00:00+00:00"))
    assert any("not in this order, or in the future" in line for line in check(future))


def test_a_bundle_that_nobody_would_read_is_not_written(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = bundle.unpack(signed)[0]
    monkeypatch.setattr(bundle, "LARGEST", 1 << 10)
    with pytest.raises(InputError, match=r"large\.zip: would have .* MiB, more than 0; audit without a bundle"):
        bundle.write(tmp_path / "large.zip", parts, None)
    assert not (tmp_path / "large.zip").exists()


def test_an_audit_that_would_have_too_large_a_bundle_stops_early(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the answers under the first mark; without a bundle, it goes on."""
    monkeypatch.setattr(bundle, "LARGEST", 1 << 10)
    suspect = str(finished / "models/malicious/model.safetensors")
    with pytest.raises(InputError, match=r"b\.zip: would have .* answers have 3 numbers, and replies 0 bytes; ask for"):
        audit_suspect(suspect, finished, COMPUTE, bundle=tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()
    assert audit_suspect(suspect, finished, COMPUTE)[0].queries > 0


def test_queries_can_be_repeated_from_the_bundle_or_are_sealed(finished: Path, tmp_path: Path) -> None:
    identity, public = new_identity()
    suspect = str(finished / "models/malicious/model.safetensors")
    audit_suspect(suspect, finished, COMPUTE, bundle=tmp_path / "open.zip")
    audit_suspect(suspect, finished, COMPUTE, bundle=tmp_path / "sealed.zip", seal_to=[public])
    assert check(tmp_path / "open.zip") == check(tmp_path / "sealed.zip") == []
    parts = bundle.unpack(tmp_path / "open.zip")[0]
    images = load(parts[IMAGES])
    queries = [json.loads(line) for line in parts[QUERIES].splitlines()]
    model, _ = load_classifier(Path(suspect))
    with torch.no_grad():
        for query in queries[:: len(queries) // 7]:
            again = model(images[str(query["mark"])][query["image"]][None] / 255).softmax(dim=1)[0]
            assert again.tolist() == pytest.approx(query["answer"], abs=1e-5)
    closed = bundle.unpack(tmp_path / "sealed.zip")[0]
    assert IMAGES not in closed
    assert pyrage.decrypt(closed[SEALED], [x25519.Identity.from_str(identity)]) == parts[IMAGES]
    del parts[bundle.ATTESTATION]
    images["0"][0, 0, 0, 0] += 1
    bundle.write(tmp_path / "other.zip", {**parts, IMAGES: save(images)}, None)
    assert f"{IMAGES}: not the images that were sent" in check(tmp_path / "other.zip")
    images["0"][0, 0, 0, 0] -= 1
    count, channels, height, width = images["0"].shape
    images["0"] = images["0"].reshape(count, channels, height * 2, width // 2)
    bundle.write(tmp_path / "reshaped.zip", {**parts, IMAGES: save(images)}, None)
    assert f"{IMAGES}: not the images that were sent" in check(tmp_path / "reshaped.zip")
    assert check(tmp_path / "sealed.zip", Expected(images=parts[IMAGES])) == []
    other = Expected(images=save(images))
    assert check(tmp_path / "sealed.zip", other) == [f"{IMAGES}: not the images that were sent"]
    for name, changed in (("00", images["0"]), ("9", images["0"])):
        bundle.write(tmp_path / f"{name}.zip", {**parts, IMAGES: save({**load(parts[IMAGES]), name: changed})}, None)
        assert f"{IMAGES}: not uint8 images, one for each query" in check(tmp_path / f"{name}.zip"), (
            "two sets for a mark"
        )
    with pytest.raises(InputError, match="there already, and evidence is not replaced"):
        audit_suspect(suspect, finished, COMPUTE, bundle=tmp_path / "open.zip")


def test_what_only_the_evidence_needs_is_wrong_before_anything_is_asked(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "examine", lambda *_, **__: pytest.fail("the suspect was asked"))
    suspect = str(finished / "models/malicious/model.safetensors")
    with pytest.raises(InputError, match="--seal-to: not an age public key"):
        audit_suspect(suspect, finished, COMPUTE, bundle=tmp_path / "x.zip", seal_to=["age1nonsense"])
    with pytest.raises(InputError, match="--seal-to: is for the evidence; name its file with --bundle"):
        audit_suspect(suspect, finished, COMPUTE, seal_to=[new_identity()[1]])
    with pytest.raises(InputError, match="--sign: is for the evidence"):
        audit_suspect(suspect, finished, COMPUTE, sign=tmp_path / "key.pem")


def test_a_file_of_the_checkers_own_that_cannot_be_read_is_no_fault_of_the_evidence() -> None:
    with pytest.raises(InputError, match="--commitment: not JSON"):
        Expected(commitment=b"\x89PNG")
    with pytest.raises(InputError, match="--authority: no certificate"):
        Expected(authority=b"x")


def test_what_the_checker_knows_is_compared(signed: Path, finished: Path, tmp_path: Path) -> None:
    published = (finished / "public/commitment/commitment.json").read_bytes()
    key = bundle.signer(bundle.unpack(signed)[0])
    assert check(signed, Expected(commitment=published, signer=key)) == []
    other = canonical({**json.loads(published), "attempt": 2})
    assert check(signed, Expected(commitment=other)) == [f"{COMMITMENT}: not the one that was published"]
    assert check(signed, Expected(signer="0" * 64)) == [f"signer: {key}, expected {'0' * 64}"]
    assert check(signed, Expected(token=b"x")) == ["commitment.tsr: missing"]
    assert check(signed, Expected(suspect="0" * 64)) == [f"{AUDIT}: another suspect than this file"]
    file = digest(finished / "models/malicious/model.safetensors")
    recorded = rewritten(signed, tmp_path / "r.zip", AUDIT, lambda v: v["suspect"].update(kind="recorded"))
    assert f"{AUDIT}: is not about a file" in check(recorded, Expected(suspect=file))
    assert check(signed, Expected(suspect=file)) == []
    said = particulars(bundle.unpack(signed)[0])
    assert said["answers"] == "probabilities"
    assert set(said) == {
        "suspect",
        "asked",
        "commitment",
        "release",
        "time stamp",
        "settings",
        "answers",
        "protects",
        "effect",
        "alpha",
        "signer",
    }


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


def test_images_of_another_shape_than_the_committed_ones(copy: Path) -> None:
    """The defect: the same bytes could be sent as images of another width under any mark, once the word was known."""
    (queries,) = (copy / "private/commitment").glob("*.safetensors")
    tensors, metadata = load_tensors(queries)
    count, channels, height, width = tensors["2"].shape
    changed = tensors["2"].reshape(count, channels, height * 2, width // 2)
    save_tensors(queries, {**tensors, "2": changed}, metadata)
    with pytest.raises(InputError, match="not the committed images"):
        audit_suspect(str(copy / "models/malicious/model.safetensors"), copy, COMPUTE)


def test_keys(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes(new_key())
    load_key(tmp_path / "k.pem")
    (tmp_path / "x.pem").write_text("nonsense")
    with pytest.raises(InputError, match="keygen"):
        load_key(tmp_path / "x.pem")


def test_last_digits_may_differ_between_processors(signed: Path, tmp_path: Path) -> None:
    """An exponential that AVX-512 computes differs from one without it in the last bit."""
    parts = bundle.unpack(signed)[0]
    finding = json.loads(parts[FINDING])
    for factor, valid in [(1 + 2**-52, True), (1 + 1e-6, False)]:
        changed = {**finding, "p_value": finding["p_value"] * factor, "delta_p": finding["delta_p"] * factor}
        (tmp_path / "b.zip").write_bytes(bundle.pack({**parts, FINDING: canonical(changed)}))
        wrong = [line for line in check(tmp_path / "b.zip") if line.startswith(FINDING)]
        assert (wrong == []) == valid


def test_parts_that_no_audit_has_the_size_of_are_not_parsed(signed: Path, tmp_path: Path) -> None:
    parts = bundle.unpack(signed)[0]
    bomb = b"[" + b"[]," * (6 << 20) + b"[]]"
    (tmp_path / "b.zip").write_bytes(bundle.pack({**parts, AUDIT: bomb}))
    assert check(tmp_path / "b.zip")[-1] == f"{AUDIT}: larger than in any audit"
    (tmp_path / "a.zip").write_bytes(bundle.pack({**parts, bundle.ATTESTATION: bomb}))
    assert f"{bundle.ATTESTATION}: larger than in any audit" in check(tmp_path / "a.zip")


def test_an_audit_that_no_answer_could_decide_asks_nothing(finished: Path) -> None:
    suspect = str(finished / "models/malicious/model.safetensors")
    with pytest.raises(InputError, match="No answer could decide it; no number of marks would help"):
        audit_suspect(suspect, finished, COMPUTE, occasion=1000)


def never(images: np.ndarray) -> np.ndarray:
    raise AssertionError(f"asked about {len(images)} images")


def test_an_api_pays_for_what_it_can_leave_out_before_it_is_asked(finished: Path) -> None:
    root = Root(finished)
    case = prepare(root.watermark, root.opening, root.commitment)
    least = floor(len(case.sent) - 1, len(case.class_names))
    tight = replace(case, config=replace(case.config, alpha=1.2 * least))
    context = Context(case.class_names, Compute.set_up(COMPUTE))
    found, _ = examine(tight, open_oracle(str(finished / "models/malicious/model.safetensors"), context, {}))
    assert "No answer could decide" not in found.reason
    with pytest.raises(InputError, match=f"p cannot be below {4 / 3 * least:.3g}.* No answer could decide it"):
        examine(tight, open_oracle(f"{__name__}:never", context, {}))
