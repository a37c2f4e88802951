"""Commitments: what they bind, what they refuse, what a verdict rests on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sscl import seeds
from sscl.artifacts import load_tensors, read_json, write_json
from sscl.audit import beacon
from sscl.audit.check import check
from sscl.audit.commitment import check_floor, seal
from sscl.audit.examine import prepare
from sscl.audit.guarantees import guarantees, out_of_order
from sscl.audit.opening import copy_for, differences, draw_word
from sscl.audit.session import audit_suspect
from sscl.config import BeaconConfig, Config
from sscl.errors import ConfigError, InputError, SSCLError
from sscl.layout import COMMITMENT, OPENING, Root
from sscl.runner import run_stage
from sscl.stages.table import STAGES
from sscl.watermarks.io import GENERATOR
from tests.audit.test_beacon import LATER, RANDOMNESS, SIGNATURE

PULSE = beacon.Pulse("drand", 1000, bytes.fromhex(RANDOMNESS), SIGNATURE)
KEY = seeds.secret(0, None)
NONE = BeaconConfig("none", 600, None)


def test_commitments_hide_and_bind(finished: Path, config: Config) -> None:
    opening = read_json(finished / "private/commitment" / OPENING)
    commitment = read_json(finished / "public/commitment" / COMMITMENT)
    told = {"format", "sha256", "dataset", "version", "attempt", "signer", "created", "beacon", "pulse"}
    assert set(commitment) == told
    assert (commitment["version"], commitment["attempt"]) == ("1.0", 1)
    assert commitment["dataset"] == read_json(finished / "clean/dataset.json")["name"]
    assert differences(commitment, opening) == []
    for name in set(opening) - {"format"}:
        assert differences(commitment, {**opening, name: None}) != [], name
    assert seal(opening, "x", config.audit, NONE)["sha256"] == commitment["sha256"]
    assert len(bytes.fromhex(opening["secret"])) == len(bytes.fromhex(opening["salt"])) == 32


def test_a_commitment_to_too_few_marks_is_refused(config: Config, copy: Path) -> None:
    check_floor(7, 10, replace(config.audit, alpha=0.001))
    with pytest.raises(ConfigError, match=r"3 marks and 10 classes .* audit\.alpha 0\.001; use .* 5 marks or more"):
        check_floor(3, 10, replace(config.audit, alpha=0.001))
    with pytest.raises(ConfigError, match=r"use a larger audit\.alpha, 15 marks or more if the"):
        check_floor(5, 2, replace(config.audit, alpha=0.002))
    with pytest.raises(ConfigError, match=r"7 marks and 3 classes give no p below 0\.00159"):
        run_stage(STAGES["commit"], replace(config, audit=replace(config.audit, alpha=0.01)), copy, overwrite=True)


def test_a_commitment_to_an_effect_of_nothing_is_refused(config: Config, copy: Path) -> None:
    nothing = replace(config, audit=replace(config.audit, least_effect=0.0))
    with pytest.raises(ConfigError, match=r"audit\.least_effect: 0 is not possible .* expected 0\.01 or more"):
        run_stage(STAGES["commit"], nothing, copy, overwrite=True)


def test_words_follow_from_secret_and_pulse_alone(finished: Path) -> None:
    opening = read_json(finished / "private/commitment" / OPENING)
    word = load_tensors(finished / "private/watermark/release" / GENERATOR)[0]["word"].tolist()
    assert draw_word(opening, None).tolist() == word
    others = [draw_word(opening, PULSE), draw_word(copy_for(opening, "ada", KEY), None)]
    others.append(draw_word({**opening, "secret": "00" * 32}, None))
    assert len({tuple(word), *(tuple(other.tolist()) for other in others)}) == 4


def test_every_missing_guarantee_is_named(finished: Path) -> None:
    commitment = read_json(finished / "public/commitment" / COMMITMENT)
    opening, now = read_json(finished / "private/commitment" / OPENING), datetime.now(UTC)
    assert len([line for line in guarantees(commitment, opening, None, None) if line.startswith("MISSING")]) == 2
    assert not [line for line in guarantees(commitment, opening, PULSE, now) if line.startswith("MISSING")]
    assert "proves nothing" in guarantees(None, None, None, None)[0]
    nist = beacon.Pulse("nist", 1704067200, bytes(64), "")
    assert any("its signature was not verified" in line for line in guarantees(commitment, opening, nist, now))


def test_only_a_time_stamp_shows_that_the_commitment_is_older_than_the_pulse(finished: Path) -> None:
    """The defect: with a pulse of years ago and no time stamp, the evidence said that the owner could not choose."""
    commitment, opening = (read_json(path) for path in (Root(finished).commitment, Root(finished).opening))
    for stamped, said in [(None, "whoever commits afterwards can try"), (datetime.now(UTC), "could not choose the")]:
        (sentence,) = [s for s in guarantees(commitment, opening, PULSE, stamped) if "could not choose" in s]
        assert said in sentence


def test_what_is_dated_wrongly(finished: Path) -> None:
    commitment = read_json(finished / "public/commitment" / COMMITMENT)
    before, started = PULSE.time - timedelta(hours=1), PULSE.time + timedelta(days=1)
    bound = commitment | {"created": before.isoformat(), "beacon": "drand", "pulse": 1000}
    assert out_of_order(bound, PULSE, before, started) == []
    late = bound | {"created": (PULSE.time + timedelta(seconds=1)).isoformat()}
    assert "made after the pulse" in out_of_order(late, PULSE, None, started)[0]
    just_before = PULSE.time - timedelta(seconds=59)
    assert "time stamp: not 60 s before the pulse" in out_of_order(bound, PULSE, just_before, started)[0]
    assert "after the first query" in out_of_order(bound, PULSE, before, PULSE.time - timedelta(seconds=1))[0]
    assert "names pulse 999" in out_of_order(bound | {"pulse": 999}, PULSE, None, started)[0]
    assert "is not the one" in out_of_order(bound, None, None, started)[0]
    assert "is not the one" in out_of_order(commitment, PULSE, None, datetime.now(UTC))[0]
    assert "after the first query" in out_of_order(bound, PULSE, None, before - timedelta(days=1))[0]


def test_a_release_with_a_beacon_from_commitment_to_bundle(copy: Path, config: Config, tmp_path: Path) -> None:
    """Round 1000 of drand is of 2023, so this commitment says that it is older."""
    published = copy / "public/commitment" / COMMITMENT
    old = {"created": "2023-08-23T15:00:00+00:00", "beacon": "drand", "pulse": 1000}
    write_json(published, read_json(published) | old)
    given = replace(config, beacon=BeaconConfig("drand", 600, SIGNATURE))
    run_stage(STAGES["embed@release"], given, copy, overwrite=True)
    opening = read_json(copy / "private/commitment" / OPENING)
    word = load_tensors(copy / "private/watermark/release" / GENERATOR)[0]["word"].tolist()
    assert word == draw_word(opening, PULSE).tolist()
    suspect = str(copy / "models/malicious/model.safetensors")
    finding, audit = audit_suspect(suspect, copy, config.compute, bundle=tmp_path / "b.zip")
    assert check(tmp_path / "b.zip") == []
    assert any("drand round 1000" in line for line in audit["guarantees"])
    assert finding.queries == 80
    write_json(published, read_json(published) | {"pulse": 657413})
    with pytest.raises(InputError, match="names pulse 657413, and the word was drawn with 1000"):
        audit_suspect(suspect, copy, config.compute)
    other = replace(config, beacon=BeaconConfig("drand", 600, LATER))
    run_stage(STAGES["embed@release"], other, copy, overwrite=True)


def test_a_pulse_that_is_not_published_yet_stops_the_release_before_the_word(copy: Path, config: Config) -> None:
    waiting = replace(config, beacon=BeaconConfig("drand", 600, None))
    run_stage(STAGES["commit"], waiting, copy, overwrite=True)
    with pytest.raises(SSCLError, match="is not published yet"):
        run_stage(STAGES["embed@release"], waiting, copy, overwrite=True)


def test_a_method_without_an_exact_test_cannot_be_audited(tmp_path: Path) -> None:
    """Its opening, as the stage ``commit`` writes it, names no groups."""
    write_json(tmp_path / OPENING, {"salt": "00" * 32, "secret": "00" * 32})
    with pytest.raises(ConfigError, match=r"opening\.json: its release was made by a method without an exact test"):
        prepare(tmp_path, tmp_path / OPENING, None)
