"""Polite HTTP for every room that talks to a remote service.

One place decides how we behave on other people's servers: our own User-Agent, a rate limit a host, `Retry-After` honoured,
bounded retries with jitter for what can pass, and typed failures that say which is which. Credentials never reach a message:
errors carry the URL without its query.

`origins` sends the requests for one origin to another, so that a sandbox on this machine stands in for the real services
while declarations, records and clients keep the real URLs.

Not here: what the answers mean (sources, mirrors), or S3 (storage.s3 has a client of its own).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import stamina

from d4c_platform import USER_AGENT
from d4c_platform.model.errors import PermanentFailure, TransientFailure

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_S = 120.0  # a host that asks for more is left for the next run instead of holding this one
SNIPPET_CHARS = 200  # of an error body in a message: enough for a JSON error, not an HTML page


class HttpRefusal(PermanentFailure):
    """The server understood and said no: a 4xx that trying again does not change.

    Args:
        status: the HTTP status code.
        body: the start of the answer's text.
    """

    def __init__(self, what: str, *, status: int, body: str = "", **facts: str | None) -> None:
        super().__init__(what, **facts)
        self.status, self.body = status, body


class HttpTrouble(TransientFailure):
    """The server or the network failed in a way that can pass.

    Args:
        status: the HTTP status code; None when there was no answer at all. With a POST and no answer, the action may
            have happened.
    """

    def __init__(self, what: str, *, status: int | None, retry_after_s: float | None = None, **facts: str | None) -> None:
        super().__init__(what, retry_after_s=retry_after_s, **facts)
        self.status = status


class Web:
    """An HTTP client shared by the clients of one run.

    Args:
        origins: origin to origin, for instance ``{"https://zenodo.org": "http://127.0.0.1:8104"}``.
        per_host_per_s: most requests a second to one host.
        attempts: tries of one request, the first included.
        timeout_s: seconds without a byte before a request counts as lost.
    """

    def __init__(
        self,
        *,
        origins: Mapping[str, str] | None = None,
        per_host_per_s: float = 20.0,
        attempts: int = 4,
        timeout_s: float = 60.0,
        first_wait_s: float = 0.5,
    ) -> None:
        self._origins = {k.rstrip("/"): v.rstrip("/") for k, v in (origins or {}).items()}
        self._gap_s, self._attempts, self._first_wait_s = 1.0 / per_host_per_s, attempts, first_wait_s
        self._next_slot: dict[str, float] = {}
        self._lock = threading.Lock()
        # trust_env: proxies and CA bundles of the machine are the operator's choice.
        self._client = httpx.Client(
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            follow_redirects=True,
        )

    def close(self) -> None:
        self._client.close()

    def route(self, url: str) -> str:
        """The URL that is really asked: the declared one, or its stand-in's."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        return self._origins[origin] + url[len(origin) :] if origin in self._origins else url

    def request(
        self,
        method: str,
        url: str,
        *,
        where: str,
        retry: bool | None = None,
        ok: Callable[[int], bool] = lambda status: 200 <= status < 300,
        **options: Any,
    ) -> httpx.Response:
        """Send a request and return its answer, read whole: for documents, not for data.

        Args:
            where: the service, for messages.
            retry: whether to repeat on transient trouble; by default only for methods that are safe to repeat.
            ok: which statuses are an answer rather than a failure.
            options: passed to httpx (`headers`, `json`, `content`, `params`…). A body that is a factory (a callable) is
                called again for every attempt, so that a retried upload starts at its first byte.

        Raises:
            HttpRefusal: a status that trying again does not change.
            HttpTrouble: transient, and still failing after the last attempt.
        """
        retry = method in {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} if retry is None else retry
        content = options.pop("content", None)
        for attempt in self._attempts_of(retry):
            with attempt:
                self._wait_for_slot(url)
                body = content() if callable(content) else content
                try:
                    response = self._client.request(method, self.route(url), content=body, **options)
                except httpx.HTTPError as error:
                    raise _no_answer(error, url, where) from error
                if not ok(response.status_code):
                    raise _failure(response, url, where)
                return response
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def stream(self, url: str, *, where: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """GET a body of any size; iterate it with `iter_raw`. Opening is retried, a body that breaks off is not.

        Raises:
            HttpRefusal, HttpTrouble: as `request`; also while the body is read.
        """
        response = self._open(url, where, dict(headers or {}))
        try:
            yield response
        except httpx.HTTPError as error:
            raise _no_answer(error, url, where) from error
        finally:
            response.close()

    def _open(self, url: str, where: str, headers: dict[str, str]) -> httpx.Response:
        for attempt in self._attempts_of(retry=True):
            with attempt:
                self._wait_for_slot(url)
                try:
                    response = self._client.send(
                        self._client.build_request("GET", self.route(url), headers=headers), stream=True
                    )
                    if not 200 <= response.status_code < 300 and response.status_code != 304:
                        response.read()
                        raise _failure(response, url, where)
                except httpx.HTTPError as error:
                    raise _no_answer(error, url, where) from error
                return response
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempts_of(self, retry: bool) -> Any:
        def wait_or_give_up(error: Exception) -> bool | float:
            if not isinstance(error, TransientFailure):
                return False
            if error.retry_after_s is None:
                return True
            return error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else False

        return stamina.retry_context(
            on=wait_or_give_up,
            attempts=self._attempts if retry else 1,
            timeout=None,
            wait_initial=self._first_wait_s,
            wait_jitter=self._first_wait_s,
            wait_max=30.0,
        )

    def _wait_for_slot(self, url: str) -> None:
        host = urlsplit(url).netloc
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._next_slot.get(host, now))
            self._next_slot[host] = slot + self._gap_s
        if slot > now:
            time.sleep(slot - now)


def without_query(url: str) -> str:
    """The URL as it may stand in a message or a log: queries carry tokens."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def _no_answer(error: httpx.HTTPError, url: str, where: str) -> HttpTrouble:
    return HttpTrouble(
        f"no complete answer ({type(error).__name__})",
        status=None,
        where=where,
        file=without_query(url),
        remedy="It is tried again on the next run",
    )


def _failure(response: httpx.Response, url: str, where: str) -> HttpRefusal | HttpTrouble:
    status = response.status_code
    body = " ".join(response.text[:SNIPPET_CHARS].split())
    what = f"answered {status}" + (f": {body}" if body and not body.startswith("<") else "")
    if status in TRANSIENT_STATUS:
        return HttpTrouble(
            what,
            status=status,
            retry_after_s=_retry_after_s(response),
            where=where,
            file=without_query(url),
            remedy="It is tried again on the next run",
        )
    return HttpRefusal(what, status=status, body=response.text[:2000], where=where, file=without_query(url))


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds to wait, from `Retry-After` (RFC 9110 §10.2.3: seconds or a date) or `X-RateLimit-Reset` (epoch seconds)."""
    value = response.headers.get("Retry-After")
    try:
        if value is not None:
            if value.strip().isdigit():
                return float(value)
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        reset = response.headers.get("X-RateLimit-Reset")
        if reset is not None and response.status_code == 429:
            return max(0.0, float(reset) - time.time())
    except (TypeError, ValueError):
        return None
    return None
