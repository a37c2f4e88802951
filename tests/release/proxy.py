"""A proxy between client and S3 server that breaks what it is told to: real sockets, real requests."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"
FAULTS = ("reset", "503", "latency", "corrupt", "truncated_download", "truncated_upload")


class Proxy:
    """Forwards to ``upstream`` and applies ``fault`` to a share of the requests; ``url`` is where it listens."""

    def __init__(self, upstream: str, fault: str | None, share: float = 0.3, seed: int = 0) -> None:
        self.upstream, self.fault, self.share = urlsplit(upstream).netloc, fault, share
        self.random, self.lock, self.injected = random.Random(seed), threading.Lock(), 0
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def strikes(self) -> bool:
        """Whether this request is to be broken."""
        with self.lock:
            if self.fault == "expired" and self.injected:  # a token that has expired stays expired
                return True
            return self.fault is not None and self.random.random() < self.share

    def count(self) -> None:
        """A fault was really applied."""
        with self.lock:
            self.injected += 1


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.owner.fault if self.owner.strikes() else None
        if fault in ("reset", "503", "latency", "expired"):
            self.owner.count()
        if fault == "reset":
            self._reset()
            return
        if fault == "503":
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        if fault == "expired":
            self._answer(400, [("Content-Type", "application/xml")], EXPIRED)
            return
        if fault == "latency":
            time.sleep(1.0)
        if fault == "truncated_upload" and self.command == "PUT" and len(body) > 1:
            self.owner.count()
            self._send_part(body)
            self._reset()
            return
        connection = http.client.HTTPConnection(self.owner.upstream, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        content = answer.read()
        headers = [(n, v) for n, v in answer.getheaders() if n.lower() not in ("transfer-encoding", "connection")]
        is_object = self.command == "GET" and "?" not in self.path and answer.status == 200 and len(content) > 1
        if fault in ("corrupt", "truncated_download") and is_object:
            self.owner.count()
        if fault == "corrupt" and is_object:
            content = (
                content[: len(content) // 2]
                + bytes([content[len(content) // 2] ^ 1])
                + content[len(content) // 2 + 1 :]
            )
        self._answer(answer.status, headers, content, cut=fault == "truncated_download" and is_object)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._reset()

    def _send_part(self, body: bytes) -> None:
        """Half of an upload reaches the server, then the line is dead."""
        host, _, port = self.owner.upstream.partition(":")
        with socket.create_connection((host, int(port or 80))) as line:
            head = f"{self.command} {self.path} HTTP/1.1\r\n" + "".join(
                f"{n}: {v}\r\n" for n, v in self.headers.items()
            )
            line.sendall(head.encode() + b"\r\n" + body[: len(body) // 2])

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def finish(self) -> None:
        with suppress(ConnectionError, ValueError, OSError):
            super().finish()


@contextmanager
def proxying(upstream: str, fault: str | None, share: float = 0.3, seed: int = 0) -> Iterator[Proxy]:
    """A proxy that runs until the context ends."""
    proxy = Proxy(upstream, fault, share, seed)
    thread = threading.Thread(target=proxy.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
