"""A whole audit of an API over real sockets: its evidence, its resumption, and what it does about a bad API."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.suspect_server import Fault, make_app
from sscl.audit import bundle
from sscl.audit.canonical import canonical
from sscl.audit.check import _heard, check
from sscl.audit.parts import AUDIT, QUERIES, RAW, unpack_record
from sscl.audit.session import audit_suspect
from sscl.audit.summary import verdict
from sscl.compute import Compute
from sscl.data.store import Card
from sscl.errors import SSCLError, SuspectError
from sscl.suspects import Context, open_oracle
from sscl.suspects import http_faults as module
from tests.audit.test_evidence import COMPUTE
from tests.serving import serving


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_backoff", lambda state: 0.01)


def settings(folder: Path, **changes: Any) -> Path:
    path = folder / "api.yaml"
    path.write_text(yaml.safe_dump({"probabilities": "$.probabilities", **changes}))
    return path


def api(root: Path, compute: Compute, fault: Fault | None = None) -> Any:
    """The malicious model of a finished pipeline behind HTTP."""
    model = open_oracle(
        str(root / "models/malicious/model.safetensors"), Context(Card.read(root / "clean").class_names, compute)
    )
    return make_app(lambda images: model.query(images).values, fault)


def test_an_audit_by_http_finds_what_one_of_the_file_finds(copy: Path, compute: Compute, tmp_path: Path) -> None:
    """And its bundle holds the API's own words, every one of which counts."""
    local, _ = audit_suspect(str(copy / "models/malicious/model.safetensors"), copy, COMPUTE)
    with serving(api(copy, compute)) as (url, app):
        found, _ = audit_suspect(url, copy, COMPUTE, oracle=settings(tmp_path), bundle=tmp_path / "b.zip")
        assert app.state.count <= found.queries + 1  # one more to learn what the API tells
        again, _ = audit_suspect(url, copy, COMPUTE, oracle=settings(tmp_path), bundle=tmp_path / "c.zip")
        count = app.state.count
    assert found.queries == local.queries
    assert found.p_value == pytest.approx(4 / 3 * local.p_value)  # an API could have left images out
    assert (again.p_value, count) == (found.p_value, app.state.count)
    assert check(tmp_path / "b.zip") == []
    parts = bundle.unpack(tmp_path / "b.zip")[0]
    assert verdict(parts).startswith(f"{found.decision} (confirmatory), p = ")
    lines = [json.loads(line) for line in parts[RAW].splitlines()]
    assert len(lines) == found.queries
    record = unpack_record(parts[QUERIES], json.loads(parts[AUDIT]))
    nearly = [replace(q, answer=[value * (1 + 9e-10) for value in q.answer or []]) for q in record.queries]
    heard, wrong = _heard(parts[RAW], replace(record, queries=nearly), json.loads(parts[AUDIT]))
    assert (heard, wrong) == (record, []), "figures follow from the API's own words to the last digit"
    lines[3]["body"] = lines[5]["body"]
    forged = {n: c for n, c in parts.items() if n != bundle.ATTESTATION}
    bundle.write(tmp_path / "f.zip", {**forged, RAW: b"".join(canonical(line) + b"\n" for line in lines)}, None)
    assert any("answer 4 does not read as" in line for line in check(tmp_path / "f.zip"))
    reordered = json.loads(forged[AUDIT]) | {"reader": {"probabilities": "$.p[2,0,1]", "labels": None, "scores": None}}
    bundle.write(tmp_path / "r.zip", {**forged, AUDIT: canonical(reordered)}, None)
    assert any("not a plain JSONPath" in line for line in check(tmp_path / "r.zip"))
    del forged[RAW]
    bundle.write(tmp_path / "m.zip", forged, None)
    assert f"{RAW}: missing, and the suspect is an API" in check(tmp_path / "m.zip")


def test_a_broken_off_audit_goes_on_and_answers_before_a_commitment_do_not_count(
    copy: Path, compute: Compute, tmp_path: Path
) -> None:
    def dies(number: int, body: dict[str, Any]) -> Any:
        if number > 15:
            raise RuntimeError
        return None

    oracle = settings(tmp_path, retries=1)
    with serving(api(copy, compute)) as (url, app):
        audit_suspect(url, copy, COMPUTE, oracle=oracle, confirmatory=False)
        before = app.state.count
        audit_suspect(url, copy, COMPUTE, oracle=oracle)
        assert app.state.count == 2 * before
    shutil.rmtree(copy / ".sscl/responses")
    with serving(api(copy, compute, dies)) as (url, app), pytest.raises(SSCLError, match="run the same command again"):
        audit_suspect(url, copy, COMPUTE, oracle=oracle)


@pytest.mark.parametrize("change", [{"probabilities": [0.2, 0.2, 0.2]}, {"probabilities": [1.0, 0.0]}])
def test_answers_that_are_none_are_an_error_and_no_verdict(
    change: dict[str, Any], copy: Path, compute: Compute, tmp_path: Path
) -> None:
    app = api(copy, compute, lambda number, body: {**body, **change})
    with (
        serving(app) as (url, _),
        pytest.raises(SuspectError, match=r"usual interface|3 classes; correct"),
    ):
        audit_suspect(url, copy, COMPUTE, oracle=settings(tmp_path), bundle=tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_a_spent_budget_is_inconclusive_and_counts_over_runs(copy: Path, compute: Compute, tmp_path: Path) -> None:
    with serving(api(copy, compute)) as (url, app):
        for _ in range(2):
            found, _ = audit_suspect(url, copy, COMPUTE, oracle=settings(tmp_path, budget=25))
            assert (found.decision, found.p_value) == ("inconclusive", 1.0)
            assert app.state.count == 25
    assert found.missing == 0
