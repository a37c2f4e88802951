"""Public randomness: real drand rounds are accepted, forged and other ones are not."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sscl.audit import beacon
from sscl.errors import InputError, SSCLError

# drand's quicknet, rounds 1000 and 657413, as published.
SIGNATURE = "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
RANDOMNESS = "fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd"
LATER = "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b"
NIST = {"pulse": {"timeStamp": "2024-01-01T00:00:00.000Z", "outputValue": "AB" * 64, "signatureValue": "CD" * 8}}


def test_published_rounds_verify() -> None:
    pulse = beacon.read({"round": 1000, "signature": SIGNATURE}, "drand")
    assert pulse.randomness.hex() == RANDOMNESS == hashlib.sha256(bytes.fromhex(SIGNATURE)).hexdigest()
    assert pulse.time == datetime(2023, 8, 23, 15, 59, 24, tzinfo=UTC)
    later = beacon.read({"round": 657413, "signature": LATER}, "drand")
    assert later.randomness.hex() == "fc1873a13f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587"
    assert beacon.read(pulse.as_json(), "drand") == pulse


@pytest.mark.parametrize(
    "forged",
    [
        {"round": 1001, "signature": SIGNATURE},
        {"round": 1000, "signature": LATER},
        {"round": 1000, "signature": SIGNATURE[:-2] + "40"},
        {"round": 1000, "signature": "zz"},
        {"round": 1000},
        {"round": -1, "signature": SIGNATURE},
        {"round": 2**70, "signature": SIGNATURE},
        {"round": "x", "signature": SIGNATURE},
        {"round": "1000", "signature": SIGNATURE},
        {"round": 1000.0, "signature": SIGNATURE},
        {"round": True, "signature": SIGNATURE},
        {"round": 1000, "signature": SIGNATURE.upper()},
        {"round": 1000, "signature": f"{SIGNATURE[:2]} {SIGNATURE[2:]}"},  # the verifier dies of it, past `except`
        [],
        "text",
        None,
    ],
)
def test_forged_rounds_are_refused(forged: Any) -> None:
    with pytest.raises(InputError, match=r"beacon\.pulse: not a pulse of drand"):
        beacon.read(forged, "drand")


@pytest.mark.parametrize("source", ["none", "foo", None, "drand\n"])
def test_pulses_of_unknown_beacons_are_refused(source: Any) -> None:
    """A bundle names its own source; none but these two has a meaning."""
    made_up = {"source": source, "number": 1, "randomness": "00" * 64, "signature": ""}
    with pytest.raises(InputError, match=r"^beacon\.source: .* is unknown, expected drand or nist$"):
        beacon.read(made_up, source)


def test_a_claimed_randomness_does_not_count() -> None:
    """Only the signature does: the value is derived from it."""
    pulse = beacon.read({"round": 1000, "signature": SIGNATURE, "randomness": "00" * 32}, "drand")
    assert pulse.randomness.hex() == RANDOMNESS


def test_pulses_of_nist_are_read() -> None:
    pulse = beacon.read(NIST, "nist")
    assert (pulse.number, pulse.randomness) == (1704067200, bytes.fromhex("ab" * 64))
    assert beacon.read(pulse.as_json(), "nist") == pulse
    with pytest.raises(InputError, match="not of 512 bits"):
        beacon.read({"pulse": NIST["pulse"] | {"outputValue": "AB"}}, "nist")


@pytest.mark.parametrize("source", ["drand", "nist"])
def test_a_commitment_names_the_first_pulse_after_its_delay(source: str) -> None:
    created = datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    number = beacon.promised(source, created, 600)
    assert number is not None
    moment, wanted = beacon.time_of(source, number), created + timedelta(seconds=600)
    period = timedelta(seconds=beacon.PERIOD if source == "drand" else beacon.NIST_PERIOD)
    assert wanted <= moment < wanted + period
    assert beacon.promised("none", created, 600) is None


def test_files_and_values(tmp_path: Path) -> None:
    path = tmp_path / "pulse.json"
    path.write_text(json.dumps({"round": 1000, "signature": SIGNATURE}))
    assert beacon.obtain("drand", 1000, str(path)) == beacon.obtain("drand", 1000, SIGNATURE)
    with pytest.raises(InputError, match="it is pulse 1000, and the commitment names 1001"):
        beacon.obtain("drand", 1001, str(path))
    with pytest.raises(InputError, match=r"none\.json: No such file or directory; name a file"):
        beacon.obtain("drand", 1000, str(tmp_path / "none.json"))
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="is not JSON"):
        beacon.obtain("drand", 1000, str(path))
    path.write_bytes(bytes(beacon.LARGEST + 1))
    with pytest.raises(InputError, match="larger than a pulse"):
        beacon.obtain("drand", 1000, str(path))


def test_pulses_are_fetched_where_there_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(_: str, url: str, **__: object) -> bytes:
        asked.append(url)
        return json.dumps({"round": 1000, "signature": SIGNATURE}).encode()

    monkeypatch.setattr(beacon, "fetch", get)
    assert beacon.obtain("drand", 1000, None).randomness.hex() == RANDOMNESS
    assert asked == [f"https://api.drand.sh/{beacon.QUICKNET}/public/1000"]
    future = beacon.first_after("drand", datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(SSCLError, match="is not published yet; until then, `sscl stamp URL`"):
        beacon.obtain("drand", future, None)

    def error(*_: object, **__: object) -> bytes:
        raise httpx.HTTPError("500 Internal Server Error")

    wrong = [lambda *_, **__: b"<html>", lambda *_, **__: b"[" * 100_000, error]
    for answer in wrong:
        monkeypatch.setattr(beacon, "fetch", answer)
        with pytest.raises(SSCLError, match=r"cannot be fetched .* name the file in beacon\.pulse"):
            beacon.obtain("nist", 1704067200, None)


def test_the_word_is_drawn_from_both_secret_and_pulse() -> None:
    pulse = beacon.read({"round": 1000, "signature": SIGNATURE}, "drand")
    expected = hmac.new(b"s" * 32, bytes.fromhex(RANDOMNESS), "sha256").digest()
    assert beacon.mixed(b"s" * 32, pulse) == expected
    assert len({expected, beacon.mixed(b"t" * 32, pulse), beacon.mixed(b"s" * 32, None)}) == 3
