"""How the answer of somebody else's server is read: not further than it may be long, and told apart by what helps.

Nobody's answer is read without end: a document has a limit, and of an error or a redirect only the start is read. Failures
never carry a credential: they name the URL without its query and without a user's name and password.

Not here: sending, waiting and trying again (web), and what a document says (sources, mirrors).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

import httpx

from d4c_platform.model.errors import PermanentFailure, TransientFailure

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
LIMIT_BYTES = 16 << 20  # of a document: the largest metadata we know has a few MB
ERROR_BYTES = 64 << 10  # of an error's or a redirect's body: what a person can use stands at its start
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


class BadAddress(PermanentFailure):
    """The URL is not one that can be asked: malformed, or not http(s)."""


class TooLong(PermanentFailure):
    """The answer is longer than a document of its kind may be."""


def without_query(url: str) -> str:
    """The URL as it may stand in a message or a log: queries, and what stands before an `@`, carry secrets."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is no number: then it may be the start of a password with a slash
    except ValueError:
        return "(an unreadable address)"
    path = parts.path if parts.netloc else parts.path.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path, query="", fragment=""))


class _Start(httpx.SyncByteStream):
    """The first bytes of a body, as if it ended there."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            yield chunk[: ERROR_BYTES - size]
            size += len(chunk)
            if size >= ERROR_BYTES:
                return

    def close(self) -> None:
        self._stream.close()


def shorten_redirect(response: httpx.Response) -> None:
    """Keep the client from reading the whole body of a redirect before it follows it."""
    if response.has_redirect_location and isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _Start(response.stream)


def read(response: httpx.Response, limit_bytes: int, url: str, where: str) -> httpx.Response:
    """The same answer with its body read: in steps, so that one without an end costs no more than the limit."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > limit_bytes:
            raise TooLong(
                f"the answer is longer than the {limit_bytes:,} bytes a document like this may have",
                where=where,
                file=without_query(url),
                remedy="Look at what is served there: it may be another file, or a page that never ends",
            )
    read = httpx.Response(
        response.status_code,
        content=bytes(body),
        request=response.request,
        extensions=response.extensions,
        history=response.history,
    )
    read.headers = response.headers  # as received: given before, an encoding would be taken off a second time
    return read


def no_answer(error: httpx.HTTPError, url: str, where: str) -> HttpTrouble:
    return HttpTrouble(
        f"no complete answer ({type(error).__name__})",
        status=None,
        where=where,
        file=without_query(url),
        remedy="It is tried again on the next run",
    )


def failure(response: httpx.Response, url: str, where: str) -> HttpRefusal | HttpTrouble:
    status, text = response.status_code, _start_of(response)
    body = " ".join(text[:SNIPPET_CHARS].split())
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
    return HttpRefusal(what, status=status, body=text[:2000], where=where, file=without_query(url))


def _start_of(response: httpx.Response) -> str:
    """The first text of an error. The status says it already, so a body that breaks off changes nothing."""
    start = bytearray()
    with suppress(httpx.HTTPError):
        for chunk in response.iter_bytes():
            start += chunk
            if len(start) >= ERROR_BYTES:
                break
    return bytes(start[:ERROR_BYTES]).decode(response.encoding or "utf-8", errors="replace")


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds to wait, from `Retry-After` (RFC 9110 §10.2.3: seconds or a date) or until a quota that is used up is reset."""
    value = response.headers.get("Retry-After")
    try:
        if value is not None:
            if value.strip().isdigit():
                return float(value)
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        if response.status_code == 429 and (resets := _resets(response.headers)):
            return max(0.0, max(resets) - time.time())
    except (TypeError, ValueError):
        return None
    return None


def _resets(headers: httpx.Headers) -> list[float]:
    """When the quotas that are used up are reset, in epoch seconds: they come as such, or as a time (Opendatasoft).

    Several may be told at once: of all calls, and of those for one dataset.
    """
    quotas = [name.removesuffix("-reset") for name in headers if name.startswith("x-ratelimit") and name.endswith("-reset")]
    used_up = [quota for quota in quotas if headers.get(f"{quota}-remaining", "0").strip() == "0"]
    return [_epoch(headers[f"{quota}-reset"].strip()) for quota in used_up or quotas]


def _epoch(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
