"""An HTTP endpoint: one image a request, a few at a time, retried, paced, in a budget, every answer kept on disk."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import numpy as np
import tenacity

from sscl.answers.replies import LARGEST_REPLY, REFUSALS, Reader
from sscl.errors import BudgetError, ConfigError, InputError, SSCLError, SuspectError, printable
from sscl.remote import bounded, shown
from sscl.suspects.base import ORACLES, Context, Oracle
from sscl.suspects.http_cache import ResponseCache
from sscl.suspects.http_faults import TransientError, passes, retry_after, waiting
from sscl.suspects.http_secrets import SECRET, SHORTEST, credential, echoes, hidden, masked, split
from sscl.suspects.http_settings import HttpOptions, settings
from sscl.suspects.http_window import in_time, together
from sscl.types import Responses

Attempt = Callable[[httpx.Client, dict[str, Any]], tuple[int, str, np.ndarray | None]]
CROWDED = (429, 503)  # asked too much: from then on, one request at a time
SLOW = (408, 425, 429)  # too late, too early, too often: worth another try
FIRST_DECLINED = 3  # images without a mark that are declined before anything is answered: the request is wrong


@ORACLES.register("http")
class HttpEndpoint(Oracle):
    """``http(s)://``. Retries 408, 425, 429, 5xx, timeouts, broken connections and truncated bodies, backing off.

    Raises:
        ConfigError: the settings do not say where the answer is.
        InputError: the credential's environment variable is not set.
    """

    Options = HttpOptions
    options: HttpOptions
    example = "https://host/predict"

    def __init__(self, address: str, context: Context, options: HttpOptions) -> None:
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL:  # whose text may have a part of a password
            raise InputError(f"{shown(address)}: not a URL; expected one such as {self.example}") from None
        if context.class_names is None:
            raise ConfigError("oracle.columns: missing; say how many numbers an answer has, or list the API's classes")
        if url.userinfo:
            raise InputError(
                f"{shown(address)}: the address has a password in it; put the whole header into an environment "
                "variable and name that in oracle.auth_env"
            )
        super().__init__(shown(address), context, options)
        self._url = address  # may hold a key after the question mark; `address` is what messages and evidence show
        self._reader = Reader(self.class_names, options.reading)
        self.reading = asdict(options.reading)
        self._headers = {"Accept-Encoding": "identity"} | credential(options.auth_env, options.auth_header)
        value = self._headers.get(options.auth_header, "")
        parameters = url.params.multi_items()
        pieces = [(name, said) for part in parameters for name, said in split(*part)]
        keys = [said for name, said in pieces if SECRET.search(name) and len(said) >= SHORTEST]
        secrets = hidden(value).union(*(echoes(key) for key in keys))
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._query = [(name, "***" if SECRET.search(name) else masked(said)) for name, said in parameters]
        asked = json.dumps([str(url), asdict(options.asking)])
        name = f"responses-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.jsonl"
        self._cache = ResponseCache(context.state / name if context.state else None)
        self._slot = 0.0  # when the next request may be sent
        self._lock, self._stop, self._crowded = threading.Lock(), threading.Event(), False
        self._declined: int | None = 0  # replies that declined an image before the first answer
        self.paid = self._cache.requests  # the budget is the audit's, however often it is taken up again

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.lower().startswith(("http://", "https://"))

    @classmethod
    def settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of ``asking`` and ``reading`` moved to their places, a preset filled in."""
        return settings(given)

    @property
    def interface(self) -> dict[str, str]:
        query = {"query": "&".join(f"{name}={said}" for name, said in self._query)} if self._query else {}
        return {name: str(value) for name, value in asdict(self.options.asking).items()} | query

    def identity(self) -> dict[str, str]:
        return {"kind": "http", "url": self.address}

    def answer(self, images: np.ndarray) -> Responses:
        rows = np.zeros((len(images), len(self.class_names)))
        answered = np.zeros(len(images), dtype=bool)
        for number, row in enumerate(self._rows(images)):
            if row is not None:
                rows[number], answered[number] = row, True
        return Responses(rows, self._reader.access, answered)

    def _rows(self, images: np.ndarray) -> Iterator[np.ndarray | None]:
        """Answers in order. What fails among several requests at a time is tried again by itself."""
        self._stop.clear()
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # by them, a server could tell who asks
        client = httpx.Client(timeout=self.options.timeout, headers=self._headers, cookies=no_cookies)
        done = 0
        with client, ThreadPoolExecutor(self.options.parallel) as pool:
            try:
                while done < len(images):
                    some = images[done : done + self._window(len(images) - done)]
                    files = [self.options.asking.file(image) for image in some]
                    early = self._together(client, pool, dict(zip(files, some, strict=True))) if len(some) > 1 else {}
                    final = next(
                        (e for e in early.values() if isinstance(e, Exception) and not isinstance(e, TransientError)),
                        None,
                    )
                    for image, content in zip(some, files, strict=True):
                        found = early.get(content)
                        if final and not isinstance(found, tuple):
                            raise final
                        kept, row = found if isinstance(found, tuple) else self._one(client, image, content, self._ask)
                        self._count(kept, row)
                        self.transcript.append(kept)
                        yield row
                    done += len(some)
            finally:
                self._stop.set()  # what is under way ends

    def _window(self, left: int) -> int:
        """How many of the images that are left are asked about at a time.

        One until there is an answer, so that a wrong request is not sent many times; one for a server that says it is
        asked too much; and one if the budget may not be enough, because the first images are the ones that count.
        """
        tight = self.options.budget is not None and self.options.budget - self.paid < left
        return 1 if self._declined is not None or self._crowded or tight else self.options.parallel

    def _together(
        self, client: httpx.Client, pool: ThreadPoolExecutor, images: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, tuple[dict[str, Any], np.ndarray | None] | Exception]:
        """By file, the reply and the answer in it, or why there is none; each is tried once."""
        works = [partial(self._one, client, image, content, self._attempt) for content, image in images.items()]
        return dict(zip(images, together(pool, works, TransientError, self._stop), strict=True))

    def _one(
        self, client: httpx.Client, image: np.ndarray, content: bytes, ask: Attempt
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """The reply, kept from now on, and the answer in it."""
        key = hashlib.sha256(content).hexdigest()
        kept = self._cache.get(key)
        row = None
        if kept is not None and kept["status"] not in REFUSALS:
            try:
                row = self._reader.read(kept["body"])
            except ValueError:  # of a run with other settings
                kept = None
        if kept is None:
            status, body, row = ask(client, self.options.asking.of(image, content))
            early = row is None and self._declined is not None  # perhaps because of a wrong credential or request
            if early:
                self._cache.lost()
            kept = self._cache.row(key, status, body) if early else self._cache.put(key, status, body)
        return kept, row

    def _count(self, kept: dict[str, Any], row: np.ndarray | None) -> None:
        """Give up if the first images are declined."""
        if row is None and self._declined is not None:
            self._declined += 1
            if self._declined == FIRST_DECLINED:
                raise SuspectError(
                    f"{self.address}: declines the first {FIRST_DECLINED} images, which have no mark (HTTP "
                    f"{kept['status']}: {printable(kept['body'], 100)}); correct request, field or body"
                )
        elif row is not None:
            self._declined = None

    def _ask(self, client: httpx.Client, request: dict[str, Any]) -> tuple[int, str, np.ndarray | None]:
        """Status and body of a reply, and the answer in it; ``None`` if the server declined the image.

        Raises:
            SSCLError: it keeps failing; the audit goes on from here when it is run again.
            BudgetError: no query is left.
            SuspectError: it replies with what is no answer.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(1 + self.options.retries),
            wait=waiting,
            retry=tenacity.retry_if_exception_type(TransientError),
            reraise=True,
        )
        try:
            return retrying(self._attempt, client, request)
        except TransientError as error:
            kept = "answers so far are kept"
            if self._declined is not None:
                kept = "if it answers nothing then, request, field or the address is wrong"
            tried = f"{error} after {1 + self.options.retries} attempts"
            raise SSCLError(f"{self.address}: {tried}; run the same command again to go on, {kept}") from None

    def _attempt(self, client: httpx.Client, request: dict[str, Any]) -> tuple[int, str, np.ndarray | None]:
        with self._lock:
            if self._stop.is_set():
                raise TransientError("ended")
            if self.options.budget is not None and self.paid >= self.options.budget:
                raise BudgetError(f"{self.address}: the budget of {self.options.budget} queries is spent")
            self.paid += 1
            begin = max(self._slot, time.monotonic())
            self._slot = begin + (1 / self.options.per_second if self.options.per_second else 0.0)
        if self._stop.wait(max(0.0, begin - time.monotonic())):
            with self._lock:
                self.paid -= 1
            raise TransientError("ended")
        try:
            return self._reply(client, request)
        except Exception:
            self._cache.lost()
            raise

    def _reply(self, client: httpx.Client, request: dict[str, Any]) -> tuple[int, str, np.ndarray | None]:
        end = time.monotonic() + self.options.timeout
        try:
            response, body = in_time(self.options.timeout, lambda: self._exchange(client, request, end), self._stop)
        except httpx.TransportError as error:
            raise TransientError(f"{type(error).__name__} ({printable(self._masked(str(error)), 100)})") from None
        status = response.status_code
        if status in SLOW or status >= 500:
            self._crowded |= status in CROWDED
            raise TransientError(f"HTTP {status}", retry_after(response))
        if status in (401, 403):
            raise InputError(
                f"{self.address}: HTTP {status}; set auth_env in the oracle's file to the variable with the credential"
            )
        if status in REFUSALS:
            return status, body, None
        if response.is_redirect:
            target = self._target(response.headers.get("Location", ""))
            raise InputError(
                f"{self.address}: HTTP {status}, it has moved to {target}; use that address if you trust it"
            )
        if not response.is_success:
            raise InputError(f"{self.address}: HTTP {status}; is the URL right?")
        if status == 202:
            raise TransientError(f"HTTP 202, no answer yet ({printable(body, 80)})")
        try:
            return status, body, self._reader.read(body)
        except ValueError as error:
            if passes(body):
                raise TransientError(f"an error instead of an answer ({printable(body, 100)})") from None
            raise SuspectError(f"{self.address}: {error}") from None

    def _exchange(self, client: httpx.Client, request: dict[str, Any], end: float) -> tuple[httpx.Response, str]:
        with client.stream("POST", self._url, **request) as response:
            return response, self._body(response, end)

    def _body(self, response: httpx.Response, end: float) -> str:
        """The reply, bounded in size and time; compressed ones are refused, they can be far larger than they look."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SuspectError(f"{self.address}: the reply is compressed although it must not be")
        content = bounded(response.iter_bytes(), LARGEST_REPLY, end)
        if content is None:
            raise SuspectError(f"{self.address}: a reply of more than {LARGEST_REPLY >> 10} KiB; is the URL right?")
        return self._masked(content.decode("utf-8-sig", errors="replace"))

    def _target(self, location: str) -> str:
        """Where a redirect leads, as a message may show it."""
        try:
            return self._masked(shown(str(httpx.URL(self._url).join(location))))
        except httpx.InvalidURL:
            return "what is no address"

    def _masked(self, text: str) -> str:
        """Without credentials: some servers repeat what they were sent."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
