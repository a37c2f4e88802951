"""The HTTP client against the example server over real sockets, with faults in between."""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import numpy as np
import pytest
from fastapi import Response
from fastapi.responses import StreamingResponse

from examples.suspect_server import make_app
from sscl.answers.replies import Reader, Reading
from sscl.compute import Compute
from sscl.data.codec import decode
from sscl.errors import BudgetError, ConfigError, InputError, SSCLError, SuspectError
from sscl.suspects import Context, Oracle, http_faults, open_oracle
from sscl.suspects import http as module
from sscl.suspects.http_cache import ResponseCache
from sscl.suspects.http_requests import PRESETS
from tests.serving import serving

NAMES = ("0", "1", "2")
IMAGES = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8, 1)
HF = {"probabilities": None, "labels": "$[*].label", "scores": "$[*].score"}
ANIMALS = {"cat": "0", "dog": "1", "fox": "2"}
DATA = "$.outputs[0].data"
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
    monkeypatch.setattr(http_faults, "_backoff", lambda state: 0.01)


def client(url: str, compute: Compute, state: Path | None = None, **settings: Any) -> Oracle:
    settings = {"probabilities": "$.probabilities", **settings}
    return open_oracle(url, Context(NAMES, compute, state), settings)


def test_probabilities(serve: Serve, compute: Compute) -> None:
    url, _ = serve()
    answers = client(url, compute).query(IMAGES)
    np.testing.assert_allclose(answers.values, predict(IMAGES))
    assert answers.access == "probabilities"


def test_top_k_and_labels(serve: Serve, compute: Compute) -> None:
    url, _ = serve()
    top = client(url, compute, probabilities=None, labels="$.labels[*]", scores="$.scores[*]").query(IMAGES)
    np.testing.assert_allclose(top.values, predict(IMAGES))
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
        Response(status_code=408),
        Response(status_code=429, headers={"Retry-After": "0"}),
        Response('{"probabilities": [0.1, 0.', media_type="application/json"),
        Response(status_code=200, headers={"Content-Length": "500"}, content=b"{"),
    ],
    ids=["500", "408", "429", "not JSON", "truncated"],
)
def test_passing_faults_are_retried(
    reply: Response, serve: Serve, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    url, app = serve(lambda n, body: reply if n % 2 else None)
    answers = client(url, compute).query(IMAGES)
    np.testing.assert_allclose(answers.values, predict(IMAGES))
    assert app.state.count == 8


def test_slow_answers_time_out_and_are_retried(serve: Serve, compute: Compute) -> None:
    def slow_at_first(n: int, body: dict[str, Any]) -> None:
        time.sleep(0.5 if n == 1 else 0)

    url, _ = serve(slow_at_first)
    answers = client(url, compute, timeout=0.2).query(IMAGES[:1])
    np.testing.assert_allclose(answers.values, predict(IMAGES[:1]))


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
    np.testing.assert_allclose(answers.values, predict(IMAGES))


def test_a_cut_off_cache_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    ResponseCache(path).put("a", 200, "{}")
    with path.open("ab") as file:
        file.write(b'{"image": "b", "sta')
    again = ResponseCache(path)
    assert again.get("a") is not None
    assert again.get("b") is None
    again.put("c", 200, "{}")
    assert ResponseCache(path).get("c") is not None
    assert ResponseCache(path).requests == 3, "whatever became of the second, it was sent"


def test_budget_and_pace(serve: Serve, compute: Compute) -> None:
    url, app = serve()
    with pytest.raises(BudgetError, match="budget of 2 queries"):
        client(url, compute, budget=2).query(IMAGES)
    assert app.state.count == 2
    started = time.monotonic()
    client(url, compute, per_second=20).query(IMAGES)
    assert time.monotonic() - started >= 0.14


class Slow:
    """An API in this process: counts the requests that it works on at a time; ``fault`` gives an image's status."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fault: Callable[[np.ndarray], int] = lambda image: 200) -> None:
        self.count = self.now = self.most = 0
        self.fault, self._lock = fault, threading.Lock()
        transport = httpx.MockTransport(self._answer)
        monkeypatch.setattr(module.httpx, "Client", functools.partial(httpx.Client, transport=transport))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.count, self.now = self.count + 1, self.now + 1
            self.most = max(self.most, self.now)
        time.sleep(0.05)
        image = decode(request.content)
        status = self.fault(image)
        with self._lock:
            self.now -= 1
        probabilities = predict(image[None, :, :, None])[0].tolist()
        return httpx.Response(status, json={"probabilities": probabilities}, headers={"Retry-After": "0.1"})


def number_of(image: np.ndarray) -> int:
    """Which of ``IMAGES`` it is."""
    return int(image[0, 0]) // 64


def test_a_few_requests_at_a_time_after_the_first(
    compute: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = np.concatenate([IMAGES + np.uint8(number) for number in range(5)])  # 20, all different
    api = Slow(monkeypatch)
    oracle = client("http://host/", compute, tmp_path, request="raw", parallel=5)
    answers = oracle.query(np.concatenate((images, images[:3])))
    np.testing.assert_allclose(answers.values, predict(np.concatenate((images, images[:3]))))
    assert api.count == 20  # what was asked before is not asked again
    assert 2 <= api.most <= 5
    kept = [json.loads(line)["image"] for line in next(tmp_path.glob("*.jsonl")).read_text().splitlines()]
    assert sorted(kept) == sorted({row["image"] for row in oracle.transcript})
    assert [row["image"] for row in oracle.transcript[20:]] == [row["image"] for row in oracle.transcript[:3]]


def test_two_equal_images_at_a_time_are_one_query(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Slow(monkeypatch)
    images = np.stack([IMAGES[0], *[IMAGES[1]] * 4])
    np.testing.assert_allclose(client("http://host/", compute, request="raw").query(images).values, predict(images))
    assert api.count == 2


def test_a_failure_ends_the_others_and_keeps_their_answers(
    compute: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = threading.Event()

    def fault(image: np.ndarray) -> int:
        if number_of(image) == 3:
            slow.wait(20)  # it would take longer than anybody waits
        return {2: 404}.get(number_of(image), 200)

    api = Slow(monkeypatch, fault)
    started = time.monotonic()
    with pytest.raises(InputError, match="HTTP 404; is the URL right"):
        client("http://host/", compute, tmp_path, request="raw", parallel=3).query(IMAGES)
    assert time.monotonic() - started < 10
    slow.set()
    assert api.count == 4
    api.fault = lambda image: 200
    client("http://host/", compute, tmp_path, request="raw").query(IMAGES)
    assert api.count == 6  # two of four were answered


def test_what_fails_at_a_time_is_tried_again_alone(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what fails for good says so, whatever passing fault an image before it has."""
    failed = set()

    def once(image: np.ndarray) -> int:
        first = number_of(image) not in failed
        failed.add(number_of(image))
        return 500 if first and number_of(image) in (1, 2) else 200

    api = Slow(monkeypatch, once)
    np.testing.assert_allclose(client("http://host/", compute, request="raw").query(IMAGES).values, predict(IMAGES))
    assert api.count == 6
    Slow(monkeypatch, lambda image: {1: 503, 2: 401}.get(number_of(image), 200))
    with pytest.raises(InputError, match="HTTP 401"):
        client("http://host/", compute, request="raw").query(IMAGES)


def test_a_full_disk_says_so(compute: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))

    def fault(image: np.ndarray) -> int:
        if number_of(image) == 2:
            monkeypatch.setattr("os.fsync", full)
        return 200

    Slow(monkeypatch, fault)
    with pytest.raises(SSCLError, match=r"\.jsonl: the disk is full; free some space"):
        client("http://host/", compute, tmp_path, request="raw", parallel=3).query(IMAGES)


def test_a_server_that_is_asked_too_much_is_asked_one_at_a_time(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.concatenate([IMAGES + np.uint8(number) for number in range(5)])
    api = Slow(monkeypatch)
    api.fault = lambda image: 429 if api.now > 1 else 200
    oracle = client("http://host/", compute, request="raw", parallel=4)
    np.testing.assert_allclose(oracle.query(images).values, predict(images))
    assert api.count <= len(images) + 4  # the one window that was too much


def test_requests_that_wait_for_their_turn_are_not_sent_after_a_failure(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Slow(monkeypatch, lambda image: 401 if number_of(image) else 200)
    oracle = client("http://host/", compute, request="raw", per_second=1.0, parallel=3)
    with pytest.raises(InputError, match="HTTP 401"):
        oracle.query(IMAGES)
    assert api.count == 2
    assert oracle.paid == 2  # type: ignore[attr-defined]


def test_a_tight_budget_goes_to_the_first_images(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = set()

    def once(image: np.ndarray) -> int:
        first = number_of(image) not in failed
        failed.add(number_of(image))
        return 500 if first and number_of(image) == 1 else 200

    Slow(monkeypatch, once)
    oracle = client("http://host/", compute, request="raw", budget=3)
    with pytest.raises(BudgetError):
        oracle.query(IMAGES)
    assert len(oracle.transcript) == 2


@pytest.mark.parametrize(
    ("answer", "meets"),
    [
        ([0.33, 0.33, 0.33], None),
        ([[0.2, 0.3, 0.5]], None),
        ({"1": 0.3, "0": 0.2, "2": 0.5}, None),
        ({"LABEL_1": 0.3, "LABEL_0": 0.2, "LABEL_2": 0.5}, None),
        ([0.5, 0.5, 0.5], "sum to one"),
        ([0.5, 0.5], "2 probabilities in the answer, the dataset has 3"),
        ([None, 0.5, 0.5], "are no numbers"),
        (["0.2", "0.3", "0.5"], "are no numbers"),
        ([True, False, False], "are no numbers"),
        ([-0.5, 1.0, 0.5], "set scale: logits"),
        ([20.0, 30.0, 50.0], "set scale: percent"),
        ([{"label": "0", "score": 1.0}], "set labels and scores"),
        ({"0": 0.5, "1": 0.5}, "2 classes in the answer"),
        ({"a": 0.5, "b": 0.5, "c": 0}, "set names"),
        (None, "nothing at"),
        ("text", "are no numbers"),
        ([], "0 probabilities"),
        ([10**400, 0, 0], "too large"),
    ],
)
def test_what_is_an_answer_and_what_is_none(answer: object, meets: str | None, serve: Serve, compute: Compute) -> None:
    """The first reply that is no answer ends the audit, with the key to set; it is no abstention."""
    url, app = serve(lambda n, body: {"probabilities": answer})
    oracle = client(url, compute)
    if meets is None:
        assert oracle.query(IMAGES).valid.all()
        return
    with pytest.raises(SuspectError, match=meets):
        oracle.query(IMAGES)
    assert app.state.count <= 4


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        ({"logits": [0.0, 1.0, 2.0]}, {"probabilities": "$.logits", "scale": "logits"}),
        ({"p": [9.003, 24.473, 66.524]}, {"probabilities": "$.p", "scale": "percent"}),
        ([{"label": f"LABEL_{i}", "score": s} for i, s in ((2, 0.66524), (1, 0.24473), (0, 0.09003))], HF),
        ({"p": {"cat": 0.09003, "dog": 0.24473, "fox": 0.66524}}, {"probabilities": "$.p", "names": ANIMALS}),
        ({"outputs": [{"data": [0.09003, 0.24473, 0.66524]}]}, {"preset": "kserve_v2", "probabilities": DATA}),
    ],
)
def test_mappings(body: Any, settings: dict[str, Any], serve: Serve, compute: Compute) -> None:
    url, _ = serve(lambda n, _: Response(json.dumps(body), media_type="application/json"))
    given = {"request": "multipart", **settings}
    row = open_oracle(url, Context(NAMES, compute), given).query(IMAGES[:1]).values[0]
    np.testing.assert_allclose(row, [0.09003, 0.24473, 0.66524], atol=1e-4)


def test_json_in_a_string(serve: Serve, compute: Compute) -> None:
    text = json.dumps(json.dumps({"probabilities": [0.2, 0.3, 0.5]}))
    url, _ = serve(lambda n, _: Response(text, media_type="application/json"))
    np.testing.assert_allclose(client(url, compute).query(IMAGES[:1]).values, [[0.2, 0.3, 0.5]])


@pytest.mark.parametrize(
    "reply",
    [
        Response('{"id": "job-1"}', status_code=202, media_type="application/json"),
        Response('{"error": "rate limit exceeded"}', media_type="application/json"),
    ],
    ids=["202", "error with 200"],
)
def test_a_reply_that_is_no_answer_yet_is_asked_again(
    reply: Response, serve: Serve, compute: Compute, tmp_path: Path
) -> None:
    """The defect: such replies were kept for ever."""
    url, app = serve(lambda n, body: reply if n <= 3 else None)
    with pytest.raises(SSCLError, match="after 2 attempts; run the same command again"):
        client(url, compute, tmp_path, retries=1).query(IMAGES)
    answers = client(url, compute, tmp_path, retries=1).query(IMAGES)
    np.testing.assert_allclose(answers.values, predict(IMAGES))
    assert app.state.count == 3 + len(IMAGES)


def large() -> Iterator[bytes]:
    for _ in range(40):
        yield b" " * 65536


@pytest.mark.parametrize(
    ("reply", "meets"),
    [
        (lambda: StreamingResponse(large()), "more than 512 KiB"),
        (lambda: Response(gzip.compress(b" " * 10**8), headers={"Content-Encoding": "gzip"}), "compressed"),
        (lambda: Response("[" * 100_000, media_type="application/json"), "after 1 attempts"),
        (lambda: Response(status_code=307, headers={"Location": "http://a:b@other/x?k=1"}), "moved to http://other/x;"),
    ],
    ids=["large", "compressed", "deep", "redirect"],
)
def test_replies_are_bounded(reply: Callable[[], Response], meets: str, serve: Serve, compute: Compute) -> None:
    url, _ = serve(lambda n, body: reply())
    with pytest.raises(SSCLError, match=meets):
        client(url, compute, retries=0).query(IMAGES)


def test_a_reply_that_trickles_times_out(serve: Serve, compute: Compute) -> None:
    def trickle() -> Iterator[bytes]:
        for _ in range(20):
            time.sleep(0.05)
            yield b" "

    url, _ = serve(lambda n, body: StreamingResponse(trickle()))
    started = time.monotonic()
    with pytest.raises(SSCLError, match="did not end in time"):
        client(url, compute, timeout=0.3, retries=0).query(IMAGES)
    assert time.monotonic() - started < 3


def test_a_request_that_is_always_declined_ends_at_once(serve: Serve, compute: Compute) -> None:
    url, app = serve(lambda n, body: Response('{"detail": "field image is missing"}', status_code=422))
    with pytest.raises(SuspectError, match=r"declines the first 3 images.*field image is missing"):
        client(url, compute).query(IMAGES)
    assert app.state.count == 3


def test_refused_images_are_abstentions(serve: Serve, compute: Compute) -> None:
    url, _ = serve(lambda n, body: Response(status_code=422) if n == 2 else None)
    assert client(url, compute, parallel=1).query(IMAGES).valid.tolist() == [True, False, True, True]


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
    with_key = client(url + "?key=word", compute)
    assert with_key.address == url
    assert with_key.identity() == {"kind": "http", "url": url}
    with pytest.raises(InputError, match="has a password in it") as error:
        client(url.replace("http://", "HTTP://user:pass@"), compute)
    assert "pass@" not in str(error.value)
    url, _ = serve(lambda n, body: Response(status_code=401))
    with pytest.raises(InputError, match="HTTP 401"):
        client(url, compute).query(IMAGES)


def test_settings_must_say_where_the_answer_is(compute: Compute) -> None:
    with pytest.raises(ConfigError, match="either `probabilities` or `labels`"):
        client("http://host/", compute, labels="$.x")
    for path in ("$[[", "$..*", "$[?(@.a > 1)]", "$.a[0,1]", "$" + ".a" * 100):
        with pytest.raises(ConfigError, match="not a plain JSONPath"):
            client("http://host/", compute, probabilities=path)
    with pytest.raises(ConfigError, match="'kserve' is not one of kserve_v2"):
        client("http://host/", compute, preset="kserve")


def test_settings_that_would_do_nothing_are_refused(compute: Compute) -> None:
    """The defect: evidence stated them as how answers were read."""
    with pytest.raises(ConfigError, match="scores: of labels; say where these are"):
        client("http://host/", compute, scores="$.s")
    context = Context(NAMES, compute)
    for scale in ("logits", "features"):
        with pytest.raises(ConfigError, match="scale: "):
            open_oracle("http://host/", context, {"labels": "$.l", "scores": "$.s", "scale": scale})
    with pytest.raises(ConfigError, match=r"oracle\.columns: only for a release under attraction or alignment"):
        open_oracle("http://host/", context, {"probabilities": "$.p", "columns": 3})


def test_a_credential_with_a_line_break(serve: Serve, compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: the HTTP library's error shows the whole header."""
    url, app = serve()
    monkeypatch.setenv("SUSPECT_TOKEN", "Bearer very-secret\n")
    client(url, compute, auth_env="SUSPECT_TOKEN").query(IMAGES[:1])
    assert app.state.authorization == "Bearer very-secret"
    monkeypatch.setenv("SUSPECT_TOKEN", "Bearer very\nsecret")
    with pytest.raises(InputError, match="characters that no header can have") as error:
        client(url, compute, auth_env="SUSPECT_TOKEN")
    assert "very" not in str(error.value)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_are_whole(preset: str, compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = {
        "kserve_v2": {"outputs": [{"name": "y", "shape": [1, 3], "datatype": "FP32", "data": [0.2, 0.3, 0.5]}]},
        "tf_serving": {"predictions": [[0.2, 0.3, 0.5]]},
        "litserve": {"output": [0.2, 0.3, 0.5]},
        "bentoml": [[0.2, 0.3, 0.5]],
        "torchserve": {"0": 0.2, "1": 0.3, "2": 0.5},
        "hugging_face": [{"label": "2", "score": 0.5}, {"label": "1", "score": 0.3}, {"label": "0", "score": 0.2}],
    }
    seen: list[httpx.Request] = []
    transport = httpx.MockTransport(lambda r: (seen.append(r), httpx.Response(200, json=replies[preset]))[1])
    monkeypatch.setattr(module.httpx, "Client", functools.partial(httpx.Client, transport=transport))
    oracle = open_oracle("http://host/", Context(NAMES, compute), {"preset": preset})
    np.testing.assert_allclose(oracle.query(IMAGES[:1]).values, [[0.2, 0.3, 0.5]])
    if preset == "kserve_v2":
        tensor = json.loads(seen[0].content)["inputs"][0]
        assert tensor["shape"] == [1, 1, 8, 8]
        np.testing.assert_allclose(np.array(tensor["data"]), IMAGES[0].transpose(2, 0, 1) / 255, atol=1e-5)
    if preset == "tf_serving":
        assert np.array(json.loads(seen[0].content)["instances"]).shape == (1, 8, 8, 1)


@pytest.mark.parametrize("names", [{"0": "1"}, {"LABEL_0": "2"}, {"cat": "0", "dog": "0"}, {"1": "0"}])
def test_names_cannot_reorder_the_classes(names: dict[str, str], compute: Compute) -> None:
    """The defect: with the word known, an order of the classes can be found that accuses an innocent."""
    with pytest.raises(ConfigError, match="cannot stand for"):
        client("http://host/", compute, names=names)
    with pytest.raises(ConfigError, match="names: the dataset has no class 'fox'; it has 0, 1, 2"):
        client("http://host/", compute, names={"cat": "fox"})
    client("http://host/", compute, names={"0": "0", "cat": "1"})


@pytest.mark.parametrize(
    "sent",
    [[b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"], [b"HTTP/1.1 200 OK\r\n", b"A: " + b"b" * 10 + b"\r\n"]],
    ids=["endless hints", "endless headers"],
)
def test_headers_that_never_end(sent: list[bytes], compute: Compute) -> None:
    """The defect: every read had its time, and all of them together had none."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                for number in range(40):
                    connection.sendall(sent[min(number, len(sent) - 1)])
                    time.sleep(0.1)

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    started = time.monotonic()
    with pytest.raises(SSCLError, match="did not end in time"):
        client(url, compute, timeout=0.5, retries=0).query(IMAGES[:1])
    assert time.monotonic() - started < 2
    listener.close()


def test_a_credential_that_a_server_repeats_is_not_kept(
    serve: Serve, compute: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUSPECT_TOKEN", "Bearer very-secret")
    url, _ = serve(lambda n, body: {**body, "you sent": "Bearer very-secret", "token": "very-secret"})
    oracle = client(url, compute, tmp_path, auth_env="SUSPECT_TOKEN")
    assert oracle.query(IMAGES).valid.all()
    assert "very-secret" not in json.dumps(oracle.transcript)
    assert b"very-secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


BASIC = f"Basic {base64.b64encode(b'owner:very-secret').decode()}"


@pytest.mark.parametrize("header", [BASIC, "ApiKey id:very-secret"])
def test_a_part_of_a_credential_that_a_server_repeats_is_not_kept(
    header: str, serve: Serve, compute: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUSPECT_TOKEN", header)
    url, _ = serve(lambda n, body: {**body, "user": "owner:very-secret", "password": "very-secret"})
    oracle = client(url, compute, tmp_path, auth_env="SUSPECT_TOKEN")
    assert oracle.query(IMAGES).valid.all()
    assert "very-secret" not in json.dumps(oracle.transcript)
    assert b"very-secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_refusal_before_any_answer_is_asked_again(serve: Serve, compute: Compute, tmp_path: Path) -> None:
    """The defect: refusals of a wrong credential were kept, and the right one did not help."""
    wrong = [True]
    url, _ = serve(lambda n, body: Response("bad key", status_code=400) if wrong[0] else None)
    with pytest.raises(SuspectError, match="declines the first 3 images"):
        client(url, compute, tmp_path).query(IMAGES)
    wrong[0] = False
    assert client(url, compute, tmp_path).query(IMAGES).valid.all()


def test_the_budget_counts_failed_requests_of_earlier_runs(serve: Serve, compute: Compute, tmp_path: Path) -> None:
    """The defect: whoever ran a failing audit again and again paid without end."""
    url, app = serve(lambda n, body: Response(status_code=503))
    for _ in range(3):
        with pytest.raises(SSCLError):
            client(url, compute, tmp_path, budget=5, retries=1).query(IMAGES)
    assert app.state.count == 5


def test_a_key_in_the_address_that_a_server_repeats_is_not_kept(serve: Serve, compute: Compute, tmp_path: Path) -> None:
    url, _ = serve(lambda n, body: {**body, "asked": "/predict?key=very-secret&v=2", "key": "very-secret"})
    oracle = client(f"{url}?key=very-secret&v=2", compute, tmp_path)
    assert oracle.query(IMAGES).valid.all()
    assert "very-secret" not in json.dumps(oracle.transcript)
    kept = [path.read_text() for path in tmp_path.rglob("*.jsonl")]
    assert kept
    assert not [text for text in kept if "very-secret" in text]


@pytest.mark.parametrize(
    "place", ["/predict/?api_key=very-secret", "//user:very-secret@host/", "http://u:very-secret@["]
)
def test_a_redirect_shows_no_key(place: str, serve: Serve, compute: Compute) -> None:
    """Servers that add a slash at the end repeat the address."""
    url, _ = serve(lambda n, body: Response(status_code=307, headers={"Location": place}))
    with pytest.raises(InputError, match="it has moved to") as error:
        client(f"{url}?api_key=very-secret", compute).query(IMAGES)
    assert "very-secret" not in str(error.value)


def test_a_key_behind_a_semicolon_is_one(serve: Serve, compute: Compute, tmp_path: Path) -> None:
    url, _ = serve(lambda n, body: {**body, "asked": "very-secret"})
    oracle = client(f"{url}?a=1;key=very-secret;b=2&c=3;4", compute, tmp_path)
    assert oracle.query(IMAGES).valid.all()
    assert oracle.interface["query"] == "a=1;key=***;b=2&c=3;4"
    assert "very-secret" not in json.dumps(oracle.transcript)


def test_no_cookie_is_sent_back(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one, a server could know which queries are of one audit."""
    sent: list[str | None] = []

    def reply(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Cookie"))
        return httpx.Response(200, json={"p": [1, 0, 0]}, headers={"Set-Cookie": f"audit={len(sent)}; Path=/"})

    oracle = client("http://host/", compute, probabilities="$.p", parallel=1)
    monkeypatch.setattr(module.httpx, "Client", functools.partial(httpx.Client, transport=httpx.MockTransport(reply)))
    oracle.query(IMAGES)
    assert sent == [None] * 4


def test_a_byte_order_mark_is_no_part_of_a_reply(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b'\xef\xbb\xbf{"p": [1, 0, 0]}'))
    oracle = client("http://host/", compute, probabilities="$.p")
    monkeypatch.setattr(module.httpx, "Client", functools.partial(httpx.Client, transport=transport))
    assert oracle.query(IMAGES).valid.all()


def test_replies_are_the_owners_alone(serve: Serve, compute: Compute, tmp_path: Path) -> None:
    url, _ = serve()
    client(url, compute, tmp_path / "responses").query(IMAGES)
    kept = [tmp_path / "responses", *(tmp_path / "responses").iterdir()]
    assert [path.stat().st_mode & 0o077 for path in kept] == [0, 0]


@pytest.mark.parametrize(("one", "other"), [("quilt", "cat"), ("0", "LABEL_0"), (0, "0")])
def test_two_labels_of_an_api_are_never_one_class(one: Any, other: Any) -> None:
    """The defect: an owner who knew the word could merge what marks look like with the classes that it wants."""
    reader = Reader(("cat", "dog"), Reading(labels="$.l", names={"quilt": "cat"} if one == "quilt" else {}))
    assert reader.read(json.dumps({"l": [one]})).tolist() == [1, 0]
    assert reader.read(json.dumps({"l": [one]})).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"both read as one class; correct names"):
        reader.read(json.dumps({"l": [other]}))


def test_columns_need_no_map_of_names(compute: Compute) -> None:
    with pytest.raises(ConfigError, match=r"oracle\.names: maps to the dataset's classes; with columns"):
        open_oracle("http://host/", Context(None, compute), {"columns": ["a", "b"], "names": {"c": "a"}, "labels": "$"})


@pytest.mark.parametrize(
    ("key", "hint"), [("probabilites", "did you mean 'probabilities'?"), ("reading", "known keys")]
)
def test_a_key_that_no_oracle_has(key: str, hint: str, compute: Compute) -> None:
    with pytest.raises(ConfigError) as error:
        open_oracle("http://host/", Context(NAMES, compute), {key: "$"})
    assert str(error.value).startswith(f"oracle.{key}: unknown key; {hint}")


def test_a_server_that_answers_nothing_is_probably_asked_wrongly(serve: Serve, compute: Compute) -> None:
    url, _ = serve(lambda n, body: Response(status_code=500))
    with pytest.raises(SSCLError, match="if it answers nothing then, request, field or the address is wrong"):
        client(url, compute, retries=0).query(IMAGES)
