"""An HTTP endpoint: one image a request, retried, paced, within a budget, and every answer kept on disk."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import httpx
import numpy as np
import tenacity

from sscl.config import require
from sscl.data.codec import encode_jpeg, encode_png
from sscl.errors import InputError, SSCLError
from sscl.oracles.base import ORACLES, Context, Oracle, SuspectError
from sscl.oracles.http_answers import Reader
from sscl.oracles.http_cache import ResponseCache
from sscl.types import Responses

REFUSALS = (400, 413, 415, 422)  # the API declines this image: an abstention, not worth another try
LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class Options:
    """How the API is spoken to. ``body`` is JSON in which ``{image}`` stands for the image in base64."""

    request: Literal["multipart", "json"] = "multipart"
    field: str = "file"
    body: str = '{"image": "{image}"}'
    image_format: Literal["png", "jpeg"] = "png"
    jpeg_quality: int = 95
    probabilities: str | None = None
    labels: str | None = None
    scores: str | None = None
    auth_header: str = "Authorization"
    auth_env: str | None = None
    per_second: float | None = None
    budget: int | None = None
    timeout: float = 30.0
    retries: int = 5

    def __post_init__(self) -> None:
        require("{image}" in self.body, "body", self.body, "JSON with {image} in it")
        require(1 <= self.jpeg_quality <= 100, "jpeg_quality", self.jpeg_quality, "1 to 100")
        require(self.per_second is None or self.per_second > 0, "per_second", self.per_second, "a positive rate")
        require(self.budget is None or self.budget >= 1, "budget", self.budget, "1 or more queries")
        require(self.timeout > 0, "timeout", self.timeout, "seconds")
        require(self.retries >= 0, "retries", self.retries, "0 or more")


class BudgetError(SSCLError):
    """The query budget is spent; what was answered is kept."""


class _TransientError(Exception):
    """Worth another try, after ``wait`` seconds if the server said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@ORACLES.register("http")
class HttpEndpoint(Oracle):
    """``http(s)://``. Retries 429, 5xx, timeouts, broken connections and truncated bodies with exponential back-off.

    Raises:
        ConfigError: the settings do not say where the answer is.
        InputError: the credential's environment variable is not set.
    """

    Options = Options
    example = "https://host/predict"

    def __init__(self, address: str, context: Context, options: Any) -> None:
        self._url = address  # may hold credentials; `address` is what messages and evidence show
        super().__init__(str(httpx.URL(address).copy_with(userinfo=b"", query=None)), context, options)
        self._reader = Reader(context.class_names, options.probabilities, options.labels, options.scores)
        self.reading = {name: getattr(options, name) for name in ("probabilities", "labels", "scores")}
        headers = {}
        if options.auth_env:
            if not os.environ.get(options.auth_env):
                raise InputError(f"oracle.auth_env: ${options.auth_env} is not set; put the API's credential there")
            headers[options.auth_header] = os.environ[options.auth_env]
        self._headers = headers
        asked = json.dumps(
            [
                str(httpx.URL(address).copy_with(userinfo=b"")),
                {k: v for k, v in asdict(options).items() if k in _DEFINE_ANSWER},
            ]
        )
        name = f"responses-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.jsonl"
        self._cache = ResponseCache(context.state / name if context.state else None)
        self._last = 0.0
        self.paid = len(self._cache)  # the budget is the audit's, however often it is taken up again

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.startswith(("http://", "https://"))

    def identity(self) -> dict[str, str]:
        return {"kind": "http", "url": self.address}

    def answer(self, images: np.ndarray) -> Responses:
        rows = np.zeros((len(images), len(self.context.class_names)))
        answered = np.zeros(len(images), dtype=bool)
        with httpx.Client(timeout=self.options.timeout, headers=self._headers) as client:
            for number, image in enumerate(images):
                row = self._one(client, image)
                if row is not None:
                    rows[number], answered[number] = row, True
        return Responses(rows, self._reader.access, answered)

    def _one(self, client: httpx.Client, image: np.ndarray) -> np.ndarray | None:
        pixels = image[:, :, 0] if image.shape[2] == 1 else image
        jpeg = self.options.image_format == "jpeg"
        content = encode_jpeg(pixels, self.options.jpeg_quality) if jpeg else encode_png(pixels)
        key = hashlib.sha256(content).hexdigest()
        kept = self._cache.get(key)
        if kept is None:
            status, body = self._ask(client, content)
            kept = self._cache.put(key, status, body)
        self.transcript.append(kept)
        if kept["status"] in REFUSALS:
            return None
        try:
            return self._reader.read(kept["body"])
        except ValueError as error:
            raise SuspectError(f"{self.address}: {error}; correct the oracle's settings") from None

    def _ask(self, client: httpx.Client, content: bytes) -> tuple[int, str]:
        """Status and body of a request that the server took or declined.

        Raises:
            SSCLError: it keeps failing; the audit goes on from here when it is run again.
            BudgetError: no query is left.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(1 + self.options.retries),
            wait=_wait,
            retry=tenacity.retry_if_exception_type(_TransientError),
            reraise=True,
        )
        try:
            return retrying(self._attempt, client, content)
        except _TransientError as error:
            raise SSCLError(
                f"{self.address}: {error} after {1 + self.options.retries} attempts; run the same command again to go "
                "on, answers so far are kept"
            ) from None

    def _attempt(self, client: httpx.Client, content: bytes) -> tuple[int, str]:
        if self.options.budget is not None and self.paid >= self.options.budget:
            raise BudgetError(f"{self.address}: the budget of {self.options.budget} queries is spent")
        if self.options.per_second:
            time.sleep(max(0.0, self._last + 1 / self.options.per_second - time.monotonic()))
        self._last = time.monotonic()
        self.paid += 1
        try:
            response = client.post(self._url, **self._request(content))
            body = response.text
        except httpx.TransportError as error:
            raise _TransientError(f"{type(error).__name__} ({error})") from None
        status = response.status_code
        if status == 429 or status >= 500:
            raise _TransientError(f"HTTP {status}", _retry_after(response))
        if status in (401, 403):
            raise InputError(f"{self.address}: HTTP {status}; set oracle.auth_env to the variable with the credential")
        if status not in REFUSALS and not response.is_success:
            raise InputError(f"{self.address}: HTTP {status}; is the URL right?")
        if response.is_success:
            try:
                json.loads(body)
            except json.JSONDecodeError:
                raise _TransientError("the answer is not JSON") from None
        return status, body

    def _request(self, content: bytes) -> dict[str, Any]:
        kind = self.options.image_format
        if self.options.request == "multipart":
            return {"files": {self.options.field: (f"image.{kind}", content, f"image/{kind}")}}
        body = self.options.body.replace("{image}", base64.b64encode(content).decode())
        return {"content": body.encode(), "headers": {"Content-Type": "application/json"}}


# Settings that decide what is asked; pacing and credentials do not change the answers.
_DEFINE_ANSWER = ("request", "field", "body", "image_format", "jpeg_quality")
_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _TransientError) and error.wait is not None:
        return min(error.wait, LONGEST_WAIT)
    return _backoff(state)


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
