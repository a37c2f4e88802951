"""The HTTP client against the example server over real sockets, with faults in between."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import Response

from examples.suspect_server import make_app
from sscl.compute import Compute
from sscl.errors import ConfigError, InputError, SSCLError
from sscl.oracles import Context, Oracle, open_oracle
from sscl.oracles import http as module
from sscl.oracles.base import SuspectError
from sscl.oracles.http import BudgetError
from sscl.oracles.http_cache import ResponseCache
from tests.serving import serving

NAMES = ("0", "1", "2")
IMAGES = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8, 1)
Serve = Callable[..., tuple[str, Any]]


def predict(images: np.ndarray) -> np.ndarray:
    first = images[:, 0, 0, 0] / 400
    return np.stack([first, 0.9 - first, np.full(len(images), 0.1)], axis=1)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda fault=None: stack.enter_context(serving(make_app(predict, fault)))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_backoff", lambda state: 0.01)


def client(url: str, compute: Compute, state: Path | None = None, **settings: Any) -> Oracle:
    settings = {"probabilities": "$.probabilities", **settings}
    return open_oracle(url, Context(NAMES, compute, state), settings)


def test_probabilities(serve: Serve, compute: Compute) -> None:
    url, _ = serve()
    answers = client(url, compute).query(IMAGES)
    np.testing.assert_allclose(answers.probabilities, predict(IMAGES))
    assert answers.access == "probabilities"


def test_top_k_and_labels(serve: Serve, compute: Compute) -> None:
    url, _ = serve()
    top = client(url, compute, probabilities=None, labels="$.labels[*]", scores="$.scores[*]").query(IMAGES)
    np.testing.assert_allclose(top.probabilities, predict(IMAGES))
    assert top.access == "top_k"
    labels = client(url, compute, probabilities=None, labels="$.labels[*]").query(IMAGES)
    assert labels.access == "labels"
    assert labels.predictions.tolist() == predict(IMAGES).argmax(axis=1).tolist()


def test_labels_as_strings(serve: Serve, compute: Compute) -> None:
    url, _ = serve(lambda n, body: {"prediction": {"label": "1"}})
    answers = client(url, compute, probabilities=None, labels="$.prediction.label").query(IMAGES)
    assert answers.predictions.tolist() == [1] * 4
    url, _ = serve(lambda n, body: {"label": "cat"})
    with pytest.raises(SuspectError, match="'cat' in the answer is no class"):
        client(url, compute, probabilities=None, labels="$.label").query(IMAGES)


def test_json_requests_and_jpeg(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    transport = httpx.MockTransport(lambda r: (seen.append(r.content), httpx.Response(200, json={"p": [1, 0, 0]}))[1])
    oracle = client(
        "http://host/", compute, request="json", body='{"in": "{image}"}', image_format="jpeg", probabilities="$.p"
    )
    monkeypatch.setattr(module.httpx, "Client", functools.partial(httpx.Client, transport=transport))
    oracle.query(IMAGES[:1])
    assert seen[0].startswith(b'{"in": "/9j/')  # a JPEG in base64


@pytest.mark.parametrize(
    "reply",
    [
        Response(status_code=500),
        Response(status_code=429, headers={"Retry-After": "0"}),
        Response('{"probabilities": [0.1, 0.', media_type="application/json"),
        Response(status_code=200, headers={"Content-Length": "500"}, content=b"{"),
    ],
    ids=["500", "429", "not JSON", "truncated"],
)
def test_passing_faults_are_retried(
    reply: Response, serve: Serve, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    url, app = serve(lambda n, body: reply if n % 2 else None)
    answers = client(url, compute).query(IMAGES)
    np.testing.assert_allclose(answers.probabilities, predict(IMAGES))
    assert app.state.count == 8


def test_slow_answers_time_out_and_are_retried(serve: Serve, compute: Compute) -> None:
    def slow_at_first(n: int, body: dict[str, Any]) -> None:
        time.sleep(0.5 if n == 1 else 0)

    url, _ = serve(slow_at_first)
    answers = client(url, compute, timeout=0.2).query(IMAGES[:1])
    np.testing.assert_allclose(answers.probabilities, predict(IMAGES[:1]))


def test_a_dead_suspect_is_one_line_and_nothing_is_paid_twice(serve: Serve, compute: Compute, tmp_path: Path) -> None:
    broken = [False]
    url, app = serve(lambda n, body: Response(status_code=503) if broken[0] else None)
    client(url, compute, tmp_path).query(IMAGES[:3])
    broken[0] = True
    with pytest.raises(SSCLError, match="HTTP 503 after 2 attempts; run the same command again"):
        client(url, compute, tmp_path, retries=1).query(IMAGES)
    broken[0] = False
    before = app.state.count
    answers = client(url, compute, tmp_path).query(IMAGES)
    assert app.state.count == before + 1
    np.testing.assert_allclose(answers.probabilities, predict(IMAGES))


def test_a_cut_off_cache_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    ResponseCache(path).put("a", 200, "{}")
    with path.open("ab") as file:
        file.write(b'{"image": "b", "sta')
    again = ResponseCache(path)
    assert len(again) == 1
    again.put("c", 200, "{}")
    assert len(ResponseCache(path)) == 2


def test_budget_and_pace(serve: Serve, compute: Compute) -> None:
    url, app = serve()
    with pytest.raises(BudgetError, match="budget of 2 queries"):
        client(url, compute, budget=2).query(IMAGES)
    assert app.state.count == 2
    started = time.monotonic()
    client(url, compute, per_second=20).query(IMAGES)
    assert time.monotonic() - started >= 0.14


@pytest.mark.parametrize(
    ("row", "meets"),
    [
        ([0.33, 0.33, 0.33], "answers"),
        ([0.5, 0.5, 0.5], "sum to one"),
        ([0.5, 0.5], "2 probabilities in the answer, the dataset has 3"),
        ([None, 0.5, 0.5], "abstains"),
        ([-0.5, 1.0, 0.5], "abstains"),
    ],
    ids=["rounded", "no distribution", "wrong class count", "NaN", "negative"],
)
def test_what_is_no_answer(row: list[float], meets: str, serve: Serve, compute: Compute) -> None:
    url, _ = serve(lambda n, body: {"probabilities": row})
    oracle = client(url, compute)
    if meets == "answers":
        assert oracle.query(IMAGES).valid.all()
    elif meets == "abstains":
        assert not oracle.query(IMAGES).valid.any()
    else:
        with pytest.raises(SuspectError, match=meets):
            oracle.query(IMAGES)


def test_refused_images_are_abstentions(serve: Serve, compute: Compute) -> None:
    url, _ = serve(lambda n, body: Response(status_code=422) if n == 2 else None)
    assert client(url, compute).query(IMAGES).valid.tolist() == [True, False, True, True]


def test_credentials(serve: Serve, compute: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SUSPECT_TOKEN is not set"):
        client("http://host/", compute, auth_env="SUSPECT_TOKEN")
    monkeypatch.setenv("SUSPECT_TOKEN", "Bearer very-secret")
    url, app = serve()
    oracle = client(url, compute, tmp_path, auth_env="SUSPECT_TOKEN")
    oracle.query(IMAGES)
    assert app.state.authorization == "Bearer very-secret"
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"very-secret" not in written
    with_password = client(url.replace("http://", "http://user:pass@") + "?key=word", compute)
    assert with_password.address == url
    assert with_password.identity() == {"kind": "http", "url": url}
    url, _ = serve(lambda n, body: Response(status_code=401))
    with pytest.raises(InputError, match="HTTP 401"):
        client(url, compute).query(IMAGES)


def test_settings_must_say_where_the_answer_is(compute: Compute) -> None:
    with pytest.raises(ConfigError, match="either `probabilities` or `labels`"):
        client("http://host/", compute, labels="$.x")
    with pytest.raises(ConfigError, match="not a JSONPath"):
        client("http://host/", compute, probabilities="$[[")
