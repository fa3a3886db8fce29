"""Polite HTTP for every room that talks to a remote service.

One place decides how we behave on other people's servers: our own User-Agent, a rate limit a host, `Retry-After` honoured,
bounded retries with jitter for what can pass, and typed failures that say which is which (answers).

`origins` sends the requests for one origin to another, so that a sandbox on this machine stands in for the real services
while declarations, records and clients keep the real URLs.

Not here: what the answers mean (sources, mirrors), or S3 (storage.s3 has a client of its own).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import stamina

from d4c_platform import USER_AGENT
from d4c_platform.answers import (
    LIMIT_BYTES,
    TRANSIENT_STATUS,
    BadAddress,
    HttpRefusal,
    HttpTrouble,
    TooLong,
    failure,
    no_answer,
    read,
    shorten_redirect,
    without_query,
)
from d4c_platform.model.errors import TransientFailure

__all__ = ["LONGEST_WAIT_S", "TRANSIENT_STATUS", "BadAddress", "HttpRefusal", "HttpTrouble", "TooLong", "Web", "without_query"]

LAST_PORT = 65_535
LONGEST_PAUSE_S = 30.0
LONGEST_WAIT_S = 120.0  # a host that asks for more is left for the next run instead of holding this one


class Web:
    """An HTTP client shared by the clients of one run, and by the threads that fetch for it.

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
            event_hooks={"response": [shorten_redirect]},
        )

    def close(self) -> None:
        self._client.close()

    def route(self, url: str) -> str:
        """The URL that is really asked: the declared one, or its stand-in's.

        Raises:
            ValueError: it cannot be read as a URL.
        """
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
        limit_bytes: int = LIMIT_BYTES,
        ok: Callable[[int], bool] = lambda status: 200 <= status < 300,
        **options: Any,
    ) -> httpx.Response:
        """Send a request and return its answer, read whole: for documents, not for data.

        Args:
            where: the service, for messages.
            retry: whether to repeat on transient trouble; by default only for methods that are safe to repeat. A 429 says
                that nothing was done, so it is repeated in any case.
            limit_bytes: how long the answer may be, decoded.
            ok: which statuses are an answer rather than a failure.
            options: passed to httpx (`headers`, `json`, `content`, `params`…). A body that is a factory (a callable) is
                called again for every attempt, so that a retried upload starts at its first byte.

        Raises:
            HttpRefusal: a status that trying again does not change.
            HttpTrouble: transient, and still failing after the last attempt.
            BadAddress: the URL cannot be asked.
            TooLong: the answer has more than `limit_bytes`.
        """
        retry = method in {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} if retry is None else retry
        content = options.pop("content", None)
        once = not (content is None or callable(content) or isinstance(content, (bytes, str)))  # a body that is used up
        address = self._address(url, where)
        for attempt in self._attempts_of(retry, even_429=not once):
            with attempt:
                self._wait_for_slot(address)
                body = content() if callable(content) else content
                request = self._client.build_request(method, address, content=body, **options)
                response = self._answer(request, url, where, ok)
                try:
                    return read(response, limit_bytes, url, where)
                except httpx.HTTPError as error:
                    raise no_answer(error, url, where) from error
                finally:
                    response.close()
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def stream(self, url: str, *, where: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """GET a body of any size; iterate it with `iter_raw`. Opening is retried, a body that breaks off is not (`pause`).

        Raises:
            HttpRefusal, HttpTrouble, BadAddress: as `request`; also while the body is read.
        """
        response = self._open(url, where, dict(headers or {}))
        try:
            yield response
        except httpx.HTTPError as error:
            raise no_answer(error, url, where) from error
        finally:
            response.close()

    def _open(self, url: str, where: str, headers: dict[str, str]) -> httpx.Response:
        address = self._address(url, where)
        for attempt in self._attempts_of(retry=True):
            with attempt:
                self._wait_for_slot(address)
                request = self._client.build_request("GET", address, headers=headers)
                return self._answer(request, url, where, lambda status: 200 <= status < 300 or status == 304)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _address(self, url: str, where: str) -> httpx.URL:
        """Where the request goes, refused before it is sent when there is no such place.

        Raises:
            BadAddress: with nothing of what it may hold of credentials, not even in its cause.
        """
        try:
            address = httpx.URL(self.route(url))
        except (httpx.InvalidURL, ValueError, TypeError):
            problem = "is not a URL that can be read"
        else:
            if address.scheme in {"http", "https"} and address.host and (address.port or 0) <= LAST_PORT:
                return address
            problem = "is not the address of an http(s) server"
        raise BadAddress(f"{without_query(url)!r} {problem}", where=where, remedy="Correct the address where it is declared")

    def _answer(self, request: httpx.Request, url: str, where: str, ok: Callable[[int], bool]) -> httpx.Response:
        """The start of an answer that is none of the failures; its body is still to be read, and to be closed."""
        try:
            response = self._client.send(request, stream=True)
        except httpx.UnsupportedProtocol as error:
            raise BadAddress("redirects to what is not an http(s) address", where=where, file=without_query(url)) from error
        except httpx.HTTPError as error:
            raise no_answer(error, url, where) from error
        if ok(response.status_code):
            return response
        try:
            problem = failure(response, url, where)
            if isinstance(problem, HttpTrouble):
                self._let_rest(request.url, problem.retry_after_s)
            raise problem
        finally:
            response.close()

    def _attempts_of(self, retry: bool, *, even_429: bool = True) -> Any:
        def wait_or_give_up(error: Exception) -> bool | float:
            # 429 is the one trouble that says the action was not performed, so even a POST may wait and repeat.
            turned_away = even_429 and isinstance(error, HttpTrouble) and error.status == 429
            if not isinstance(error, TransientFailure) or not (retry or turned_away):
                return False
            if error.retry_after_s is None:
                return True
            return error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else False

        return stamina.retry_context(
            on=wait_or_give_up,
            attempts=self._attempts,
            timeout=None,
            wait_initial=self._first_wait_s,
            wait_jitter=self._first_wait_s,
            wait_max=LONGEST_PAUSE_S,
        )

    def pause(self, times: int) -> None:
        """Wait before what broke off is continued: the longer the more often nothing came, and never in step with others."""
        time.sleep(min(LONGEST_PAUSE_S, self._first_wait_s * 2.0**times) * random.uniform(0.5, 1.0))

    def _let_rest(self, address: httpx.URL, seconds: float | None) -> None:
        """Ask nothing more of a host before the time it named: other threads would be told the same."""
        if seconds is None or seconds > LONGEST_WAIT_S:
            return
        with self._lock:
            host = address.netloc.decode()
            self._next_slot[host] = max(self._next_slot.get(host, 0.0), time.monotonic() + seconds)

    def _wait_for_slot(self, address: httpx.URL) -> None:
        host = address.netloc.decode()
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._next_slot.get(host, now))
            self._next_slot[host] = slot + self._gap_s
        if slot > now:
            time.sleep(slot - now)
