"""Against a server on loopback that sends too much, too slowly, or packed."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from sscl.errors import SSCLError
from sscl.remote import fetch, shown
from tests.serving import listening


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://host:8000/v1/models/m:predict?key=secret#x", "https://host:8000/v1/models/m:predict"),
        ("https://user:secret@host/p", "https://host/p"),
        ("https://host/v1/m:predict?who=a@b", "https://host/v1/m:predict"),
        ("http://[::1]:80/p?who=a@b", "http://[::1]:80/p"),
        ("http://user:sec?ret@host/p", "http://***"),
        ("http://user:sec/ret@host/p", "http://host/p"),
        ("http://user:sec#ret@host/p", "http://***"),
        ("user:secret@host/p", "***@host/p"),
        ("//user:secret@host/p", "***@host/p"),
        ("a/model.onnx", "a/model.onnx"),
    ],
)
def test_no_credential_of_an_address_is_shown(address: str, said: str) -> None:
    assert shown(address) == said


def test_an_error_shows_no_password(url: str) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="HTTP 500") as error:
        fetch("GET", url.replace("http://", "http://user:secret@") + "/error", largest=2000)
    assert "secret" not in str(error.value)


@pytest.fixture
def url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if self.path == "/error" else 200)
            if self.path == "/packed":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            if self.path == "/slow":
                for _ in range(20):
                    time.sleep(0.05)
                    try:
                        self.wfile.write(b"x")
                    except OSError:  # nobody listens any more
                        return
            self.wfile.write(
                {"/packed": gzip.compress(bytes(1 << 20)), "/large": bytes(2001)}.get(self.path, b"answer")
            )

    with listening(Handler) as where:
        yield where


def test_a_reply_is_taken_as_it_was_sent(url: str) -> None:
    assert fetch("GET", url, largest=2000) == b"answer"
    assert gzip.decompress(fetch("GET", f"{url}/packed", largest=2000)) == bytes(1 << 20)


def test_a_reply_is_bounded(url: str) -> None:
    with pytest.raises(SSCLError, match=r"/large: its reply has more than 2,000 bytes"):
        fetch("GET", f"{url}/large", largest=2000)
    with pytest.raises(httpx.ReadTimeout, match="did not end in time"):
        fetch("GET", f"{url}/slow", largest=2000, seconds=0.3)
    with pytest.raises(httpx.HTTPStatusError):
        fetch("GET", f"{url}/error", largest=2000)
