"""An API's replies that are none, never end, or mean something else."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from benchmarks.hostile_inputs.base import Input, Place, asked

RIGHT = [0.2, 0.3, 0.5]
PLAIN = {"probabilities": "$.probabilities", "retries": 0, "timeout": 2.0}


@contextmanager
def serving(status: int, body: bytes, headers: dict[str, str], slow: float) -> Iterator[str]:
    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            for start in range(0, len(body), 10) if slow else (0,):
                self.wfile.write(body[start : start + 10] if slow else body)
                time.sleep(slow)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who hangs up is what is tried
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/predict"
    finally:
        server.shutdown()
        server.server_close()


def replying(
    body: Any, status: int = 200, slow: float = 0.0, headers: dict[str, str] | None = None, **settings: Any
) -> Callable[[Place], str]:
    """Ask an API that always gives this reply."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def attempt(place: Place) -> str:
        with serving(status, content, headers or {}, slow) as url:
            return asked(place, url, {**PLAIN, **settings})

    return attempt


def of(value: Any, **settings: Any) -> Callable[[Place], str]:
    return replying({"probabilities": value}, **settings)


ALL = "^4 of 4 answered"
INPUTS = [
    Input("JSON within JSON", "API", ALL, replying(json.dumps({"probabilities": RIGHT}))),
    Input("nested list", "API", ALL, of([RIGHT])),
    Input("object by class name", "API", ALL, of({"b": 0.3, "a": 0.2, "c": 0.5})),
    Input("LABEL_0", "API", ALL, replying([{"label": f"LABEL_{i}", "score": p} for i, p in enumerate(RIGHT)], probabilities=None, labels="$[*].label", scores="$[*].score")),
    Input("percent", "API", "set scale: percent", of([20, 30, 50])),
    Input("percent, as set", "API", ALL, of([20, 30, 50], scale="percent")),
    Input("logits", "API", "set scale: logits", of([-1.0, 2.0, 3.0])),
    Input("logits, as set", "API", ALL, of([-1.0, 2.0, 3.0], scale="logits")),
    Input("NaN", "API", "must be finite", replying(b'{"probabilities": [NaN, 0.5, 0.5]}')),
    Input("infinity", "API", "must be finite", replying(b'{"probabilities": [Infinity, 0, 0]}')),
    Input("number of 400 digits", "API", "too large", of([10**400, 0, 0])),
    Input("integer of 5,000 digits", "API", "^refused: ", replying(b'{"probabilities": [' + b"9" * 5000 + b", 0, 0]}")),
    Input("numbers as text", "API", "are no numbers", of(["0.2", "0.3", "0.5"])),
    Input("truth values", "API", "are no numbers", of([True, False, False])),
    Input("nulls", "API", "are no numbers", of([None, None, None])),
    Input("nothing there", "API", "nothing at", replying({"result": RIGHT})),
    Input("too few classes", "API", "the dataset has 3 classes", of([0.5, 0.5])),
    Input("a million classes", "API", "more than 512 KiB", of([0.0] * 1_000_000)),
    Input("unknown label", "API", "set names", replying({"label": "cat"}, probabilities=None, labels="$.label")),
    Input("label twice", "API", "answered twice", replying({"l": ["a", "a"], "s": [0.5, 0.5]}, probabilities=None, labels="$.l", scores="$.s")),
    Input("terminal codes in a label", "API", r"^refused: [^\x1b]*$", replying({"label": "\x1b[2J"}, probabilities=None, labels="$.label")),
    Input("sum of 1.5", "API", "sum to one", of([0.5, 0.5, 0.5])),
    Input("202", "API", "HTTP 202, no answer yet", replying({"id": "job"}, 202)),
    Input("error with 200", "API", "an error instead of an answer", replying({"error": "rate limit exceeded"})),
    Input("redirect with a password", "API", r"moved to http://other/x; use", replying(b"", 307, headers={"Location": "http://a:b@other/x?k=1"})),
    Input("401", "API", "auth_env", replying({}, 401)),
    Input("404", "API", "is the URL right", replying({}, 404)),
    Input("every image declined", "API", "declines the first 3 images", replying({"detail": "no image"}, 422)),
    Input("reply of 20 MB", "API", "more than 512 KiB", replying(b" " * 20_000_000)),
    Input("compressed reply", "API", "compressed", replying(gzip.compress(b" " * 10**8), headers={"Content-Encoding": "gzip"})),
    Input("100,000 brackets", "API", "^refused: ", replying(b"[" * 100_000)),
    Input("reply that trickles", "API", "did not end in time", replying(b" " * 1000, slow=0.1), slow=True),
    Input("web page", "API", "^refused: ", replying(b"<html>welcome</html>")),
    Input("bytes that are no text", "API", "^refused: ", replying(b"\xff\xfe\x00")),
    Input("JSONPath that searches everywhere", "oracle file", "not a plain JSONPath", of(RIGHT, probabilities="$..*..*..*")),
    Input("JSONPath that orders numbers", "oracle file", "not a plain JSONPath", of(RIGHT, probabilities="$.probabilities[2,0,1]")),
]  # fmt: skip
