"""One file over a line that breaks: every byte is hashed as it comes, and what came once is not asked for again.

A body that breaks off is continued with `Range`, on the condition (`If-Range`) that the file is still the one it began with.
The server has to prove that: a part must begin where ours ends and belong to a file of the same length and validators; with
anything else we start over. A strong ETag is such a condition, or a Last-Modified that was old when it was said (RFC 9110
§8.8.2.2); a weak ETag never is, and an encoded body has no bytes to count.

Not the number of attempts is bounded but the number of those that bring nothing: 100 GB over a bad line take as many as they
take. Starting over is bounded, because that brings nothing new; so is crawling. A body is continued within one process only:
the working folder of a killed run is swept, and what it had stored of the release stays (archive).

Not here: what the file has to be (receipt), waiting and repeating a request that got no answer (web).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import httpx

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Fetching, Hop
from d4c_platform.sources.headers import encoding, http_date, number
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.source import OtherState, SourceUrl
from d4c_platform.web import LONGEST_WAIT_S, HttpRefusal, HttpTrouble, Web, without_query

WHERE = "receipt"
KEPT = "The previous latest stays"
NEXT_RUN = "It is tried again on the next run"

MOST_STARTS = 3  # from the first byte: a server that cannot continue, another state of the file, a part that does not fit
MOST_IDLE = 6  # attempts in a row that bring nothing: with the pauses between them some 20 seconds, a server's restart
PROGRESS_BYTES = 64 << 10  # less is nothing: a server that hands out byte by byte would keep us for ever
CRAWL_S, CRAWL_BYTES = 300.0, 64 << 10  # slower than this is a line that has died without saying so
LARGEST_BYTES = 1 << 40  # no publisher's file comes near; a body without an end stops here, or where the disk is full
CLOCKS_AGREE = timedelta(seconds=60)  # a date this much older than the answer cannot have been set twice since
DECODED = frozenset({"gzip", "deflate"})  # what a server that compresses unasked may use; nothing that unfolds without bound
AS_IT_IS = frozenset({"", "x-gzip", "x-compress"})  # the last two name the file's own kind (old Apache, `.tgz`)
NOTED_REQUEST_HEADERS = ("user-agent", "accept-encoding", "range", "if-range")
ASKED_TOO_FAR = 416


class Stopped(TransientFailure):
    """Another file of the release failed, so this one is not fetched to its end."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A body that is whole, and the answer it began with."""

    bytes: int
    sha256: str
    status: int
    headers: httpx.Headers
    redirects: tuple[str, ...]
    fetching: Fetching


def download(web: Web, file: SourceUrl, path: Path, stop: Callable[[], bool] | None = None) -> Downloaded:
    """Fetch the bytes of a file to `path`.

    Args:
        stop: asked between two chunks whether to give up.

    Raises:
        PermanentFailure: the way to it leads where it must not, or the body is none that can be kept.
        OtherState: on every attempt another state of the file came than the one that was noticed.
        TransientFailure: the server or the line failed too often, or the disk is full.
        HttpRefusal: the server said no.
    """
    with on_disk(path), path.open("wb") as out:
        done = _Download(web, file, out, stop or (lambda: False)).run()
        out.flush()
        return done


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Tell a trouble of the local disk as what it is."""
    try:
        yield
    except OSError as error:
        raise TransientFailure(
            f"it could not be written to the local disk ({error.strerror})",
            where=WHERE,
            file=str(path),
            kept=KEPT,
            remedy="Make room there, or point D4C_WORK_DIR to a larger disk, and materialize this version again",
        ) from error


class _NotTheRest(Exception):
    """What was answered does not continue what is here."""


class _Download:
    """The bytes so far and what they belong to."""

    def __init__(self, web: Web, file: SourceUrl, out: BinaryIO, stop: Callable[[], bool]) -> None:
        self._web, self._file, self._out, self._stop = web, file, out, stop
        self._started_at = datetime.now(UTC)
        self._requests = self._starts = self._misfits = self._other_states = self._idle = self._best = 0
        self._digest, self._size, self._resumed = hashlib.sha256(), 0, 0
        self._first: httpx.Response | None = None
        self._last_asked: Mapping[str, str] = {}
        self._total: int | None = None

    def run(self) -> Downloaded:
        while True:
            try:
                if self._attempt():
                    return self._done()
            except OtherState:
                self._other_states += 1  # the next answer may come from another server behind the same name
                if self._other_states == MOST_STARTS:
                    raise
                self._forget()
            except HttpTrouble as trouble:
                self._bear(trouble)
            except (_NotTheRest, HttpRefusal) as other:
                if isinstance(other, HttpRefusal) and not (other.status == ASKED_TOO_FAR and self._size):
                    raise
                self._misfits += 1
                if self._misfits == MOST_STARTS:
                    raise self._trouble("the server answers with other parts than were asked for") from other
                self._forget()
                self._web.pause(self._misfits)
            else:  # a part of what is missing; the next one is asked for
                self._bear(self._trouble(f"{self._size:,} of {self._total or 0:,} bytes arrived, in parts that are too small"))

    def _bear(self, trouble: HttpTrouble) -> None:
        """Wait before the next attempt, or raise the trouble when there is no sense in one."""
        came_on = self._size >= self._best + PROGRESS_BYTES
        if came_on:
            self._best = self._size
        self._idle = 0 if came_on else self._idle + 1
        in_vain = self._idle >= (MOST_IDLE if self._size else MOST_STARTS)
        # An answered status was retried by `Web` already, so of a file that has not begun it is the last word.
        refused = trouble.status is not None and (not self._size or (trouble.retry_after_s or 0) > LONGEST_WAIT_S)
        from_the_start = self._validator is None
        if in_vain or refused or (from_the_start and self._starts >= MOST_STARTS):
            raise trouble
        if from_the_start:
            self._forget()
        self._web.pause(self._idle)

    def _attempt(self) -> bool:
        """Ask for what is missing and take what comes; whether the file is whole."""
        asked: dict[str, str] = {}
        if self._size and self._validator is not None:
            asked = {"Range": f"bytes={self._size}-", "If-Range": self._validator}
        self._requests += 1
        with self._web.stream(self._file.url, where=WHERE, headers=asked) as response:
            refuse_astray(self._web, self._file.url, response, where=WHERE, kept=KEPT)
            until = self._continue(response) if response.status_code == httpx.codes.PARTIAL_CONTENT else self._begin(response)
            self._last_asked = response.request.headers
            self._take(response, until)
        return self._total is None or self._size == self._total

    def _begin(self, response: httpx.Response) -> int | None:
        """The file from its first byte; where it ends, when the server says so."""
        packed = encoding(response.headers)
        if packed not in DECODED | AS_IT_IS:
            raise PermanentFailure(
                f"the server sends it in the encoding {packed!r}, although it was asked for the bytes as they are",
                where=WHERE,
                file=without_query(self._file.url),
                kept=KEPT,
                remedy="Tell the publisher, or declare an address that serves the file itself",
            )
        if self._file.accept is not None:
            self._file.accept(response.headers)
        self._forget()
        self._starts += 1
        if self._starts > MOST_STARTS:
            raise self._trouble(f"it had to be started over {MOST_STARTS} times")
        self._first = response
        self._total = None if packed in DECODED else number(response.headers.get("Content-Length"))
        return self._total

    def _continue(self, response: httpx.Response) -> int:
        """The part that was asked for; where it ends.

        Raises:
            _NotTheRest: it is another part, or a part of another file.
        """
        part = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", response.headers.get("Content-Range", "").strip())
        if self._first is None or not self._size or part is None or encoding(response.headers) not in AS_IT_IS:
            raise _NotTheRest
        start, last, total = (int(number) for number in part.groups())
        fits = start == self._size <= last < total == (self._total or total)
        if not fits or not _same_file(self._first.headers, response.headers):
            raise _NotTheRest
        if self._file.accept is not None:
            whole = httpx.Headers({k: v for k, v in response.headers.items() if k.lower() != "content-range"})
            whole["Content-Length"] = str(total)
            self._file.accept(whole)
        self._total = total
        return last + 1

    def _take(self, response: httpx.Response, until: int | None) -> None:
        continued = response.status_code == httpx.codes.PARTIAL_CONTENT
        window, came = time.monotonic(), 0
        for chunk in _body(response):
            if self._stop():
                raise Stopped("another file of the release failed", where=WHERE, file=without_query(self._file.url), kept=KEPT)
            if self._size + len(chunk) > (LARGEST_BYTES if until is None else until):
                raise self._too_much(until)
            self._digest.update(chunk)
            self._size += self._out.write(chunk)
            self._resumed += len(chunk) if continued else 0
            came += len(chunk)
            if time.monotonic() - window > CRAWL_S:
                if came < CRAWL_BYTES:
                    raise self._trouble(f"only {came:,} bytes came in {CRAWL_S:,.0f} seconds")
                window, came = time.monotonic(), 0

    def _too_much(self, until: int | None) -> Exception:
        if until is not None:
            return _NotTheRest()
        return PermanentFailure(
            f"it has more than {LARGEST_BYTES:,} bytes, or no end",
            where=WHERE,
            file=without_query(self._file.url),
            kept=KEPT,
            remedy="Look at what is served there; declare the files of the release one by one",
        )

    @property
    def _validator(self) -> str | None:
        """What `If-Range` may say of the file that began; None when nothing is safe to say."""
        if self._first is None or encoding(self._first.headers) not in AS_IT_IS:
            return None
        headers = self._first.headers
        tag = headers.get("ETag", "").strip()
        if tag.startswith('"'):
            return str(tag)
        modified, said = http_date(headers.get("Last-Modified")), http_date(headers.get("Date"))
        old = modified is not None and said is not None and said - modified >= CLOCKS_AGREE
        return str(headers["Last-Modified"]) if old else None

    def _forget(self) -> None:
        """Start over, with an empty file."""
        self._out.seek(0)
        self._out.truncate()
        self._digest, self._size, self._resumed, self._best = hashlib.sha256(), 0, 0, 0
        self._total, self._first = None, None

    def _done(self) -> Downloaded:
        first = self._first
        if first is None:
            raise AssertionError("unreachable: a whole file has begun")
        steps = [without_query(step.headers.get("Location", str(step.url))) for step in first.history]
        fetching = Fetching(
            request_headers={name: self._last_asked[name] for name in NOTED_REQUEST_HEADERS if name in self._last_asked},
            hops=tuple(Hop(status=step.status_code, location=at) for step, at in zip(first.history, steps, strict=True)),
            started_at=self._started_at,
            requests=self._requests,
            resumed_bytes=self._resumed,
        )
        return Downloaded(self._size, self._digest.hexdigest(), first.status_code, first.headers, tuple(steps), fetching)

    def _trouble(self, what: str) -> HttpTrouble:
        return HttpTrouble(what, status=None, where=WHERE, file=without_query(self._file.url), kept=KEPT, remedy=NEXT_RUN)


def _same_file(begun: Mapping[str, str], part: Mapping[str, str]) -> bool:
    """Whether nothing that both answers say speaks against one file."""
    names = ["ETag", "Last-Modified"] if not begun.get("ETag", "").startswith('"') else ["ETag"]
    return all(begun[name] == part[name] for name in names if name in begun and name in part)


def _body(response: httpx.Response) -> Iterator[bytes]:
    # In the pieces that the line brings: nothing is lost with a break. What is compressed unasked is undone, so that the
    # archive holds the file itself.
    return response.iter_bytes() if encoding(response.headers) in DECODED else response.iter_raw()
