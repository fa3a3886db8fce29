"""A remote file over a line that breaks: what came once is not asked for again, and it is never a mixture of two states.

A body that breaks off is continued with `Range`, on the condition (`If-Range`) that the file is still the one it began with.
The server has to prove that: a part must begin where ours ends and belong to a file of the same length and validators; with
anything else we start over. A strong ETag is such a condition, or a Last-Modified that was old when it was said (RFC 9110
§8.8.2.2); a weak ETag never is, and an encoded body has no bytes to count.

Not the number of attempts is bounded but the number of those that bring nothing: 100 GB over a bad line take as many as they
take. Starting over is bounded, because that brings nothing new; so is crawling. A body is continued within one process only:
the working folder of a killed run is swept, and what it had stored of the release stays (archive).

It is a stream of chunks in which a `Beginning` says "from here on": who writes them down, to a disk (download) or into the
portal (stages.ingest_file), empties what he has. Pulled and not pushed, so that a failure of his is never taken for the line's.

Not here: what the file has to be (receipt, stages.ingest_file), waiting and repeating a request that got no answer (web).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Fetching, Hop
from d4c_platform.sources.headers import encoding, http_date, number
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.source import OtherState
from d4c_platform.web import LONGEST_WAIT_S, HttpRefusal, HttpTrouble, Web, without_query

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
WHOLE = frozenset({200, 203})  # 203: a proxy on the way says that it touched something; the rest have no file in them


@dataclass(frozen=True, slots=True)
class Beginning:
    """The file starts here, at its first byte: what came before of it is worth nothing.

    Attributes:
        length: as announced; None when the server does not say, or sends the file encoded.
    """

    status: int
    headers: httpx.Headers
    length: int | None


class _NotTheRest(Exception):
    """What was answered does not continue what is here."""


class Body:
    """The bytes of one file.

    Args:
        where, kept: for messages.
        accept: asked with the headers of each answer before its body is read; raises `OtherState` when they are of another
            state of the file than the wanted one.

    Attributes:
        beginning: the last one that came.
        size: how many bytes came since.
        resumed: how many times since then the line broke and the file went on.
    """

    beginning: Beginning

    def __init__(
        self, web: Web, url: str, *, where: str, kept: str, accept: Callable[[Mapping[str, str]], None] | None = None
    ) -> None:
        self._web, self._url, self._where, self._kept = web, url, where, kept
        self._accept = accept or (lambda headers: None)
        self._started_at = datetime.now(UTC)
        self._requests = self._starts = self._misfits = self._other_states = self._idle = self._best = 0
        self.size = self.resumed = self._resumed_bytes = 0
        self._total: int | None = None
        self._validator: str | None = None
        self._hops: tuple[Hop, ...] = ()
        self._last_asked: Mapping[str, str] = {}

    def pieces(self) -> Generator[Beginning | bytes, None, None]:
        """A `Beginning`, then the bytes from there; once, and to be closed. When it ends, the file is whole.

        Raises:
            PermanentFailure: the way to it leads where it must not, or the body is none that can be kept.
            OtherState: on every attempt another state of the file came than the wanted one.
            TransientFailure: the server or the line failed too often.
            HttpRefusal: the server said no.
        """
        while True:
            try:
                yield from self._attempt()
            except OtherState:
                self._other_states += 1  # the next answer may come from another server behind the same name
                if self._other_states == MOST_STARTS:
                    raise
                self._forget()
            except HttpTrouble as trouble:
                self._bear(trouble)
            except (_NotTheRest, HttpRefusal) as other:
                if isinstance(other, HttpRefusal) and not (other.status == ASKED_TOO_FAR and self.size):
                    raise
                self._misfits += 1
                if self._misfits == MOST_STARTS:
                    raise self._trouble("the server answers with other parts than were asked for") from other
                self._forget()
                self._web.pause(self._misfits)
            else:
                if self._total is None or self.size == self._total:
                    return
                self._bear(self._trouble("it comes in parts that are too small"))

    def fetching(self) -> Fetching:
        """How the whole file was asked for, and in how many pieces it came."""
        return Fetching(
            request_headers={name: self._last_asked[name] for name in NOTED_REQUEST_HEADERS if name in self._last_asked},
            hops=self._hops,
            started_at=self._started_at,
            requests=self._requests,
            resumed_bytes=self._resumed_bytes,
        )

    def _bear(self, trouble: HttpTrouble) -> None:
        """Wait before the next attempt, or raise the trouble when there is no sense in one."""
        came_on = self.size >= self._best + PROGRESS_BYTES
        if came_on:
            self._best = self.size
        self._idle = 0 if came_on else self._idle + 1
        in_vain = self._idle >= (MOST_IDLE if self.size else MOST_STARTS)
        # An answered status was retried by `Web` already, so of a file that has not begun it is the last word.
        refused = trouble.status is not None and (not self.size or (trouble.retry_after_s or 0) > LONGEST_WAIT_S)
        from_the_start = self._validator is None
        if in_vain or refused or (from_the_start and self._starts >= MOST_STARTS):
            if trouble.status is not None or not (self.size or self._total):
                raise trouble
            of = "" if self._total is None else f" of {self._total:,}"
            raise self._trouble(f"it ends after {self.size:,}{of} bytes, again and again ({trouble.what})") from trouble
        if from_the_start:
            self._forget()
        self._web.pause(self._idle)

    def _attempt(self) -> Iterator[Beginning | bytes]:
        """Ask for what is missing and take what comes."""
        asked: dict[str, str] = {}
        if self.size and self._validator is not None:
            asked = {"Range": f"bytes={self.size}-", "If-Range": self._validator}
        self._requests += 1
        with self._web.stream(self._url, where=self._where, headers=asked) as response:
            refuse_astray(self._web, self._url, response, where=self._where, kept=self._kept)
            if continued := response.status_code == httpx.codes.PARTIAL_CONTENT:
                until: int | None = self._continue(response.headers)
            else:
                yield self._begin(response)
                until = self._total
            self._last_asked = response.request.headers
            for chunk in self._received(response):
                if self.size + len(chunk) > (LARGEST_BYTES if until is None else until):
                    raise self._too_much(until)
                self.size += len(chunk)
                self._resumed_bytes += len(chunk) if continued else 0
                yield chunk

    def _received(self, response: httpx.Response) -> Iterator[bytes]:
        # In the pieces that the line brings: nothing is lost with a break. What is compressed unasked is undone, so that the
        # archive holds the file itself.
        waited, came, asked = 0.0, 0, time.monotonic()
        for chunk in response.iter_bytes() if encoding(response.headers) in DECODED else response.iter_raw():
            waited, came = waited + time.monotonic() - asked, came + len(chunk)
            yield chunk
            if waited > CRAWL_S:
                if came < CRAWL_BYTES:
                    raise self._trouble(f"only {came:,} bytes came in {CRAWL_S:,.0f} seconds")
                waited, came = 0.0, 0
            asked = time.monotonic()  # what is done with a chunk meanwhile is not the line's time

    def _begin(self, response: httpx.Response) -> Beginning:
        if response.status_code not in WHOLE:
            raise self._trouble(f"it was answered with {response.status_code}, which has no file in it")
        packed = encoding(response.headers)
        if packed not in DECODED | AS_IT_IS:
            what = f"the server sends it in the encoding {packed!r}, although it was asked for the bytes as they are"
            raise self._no_file(what, "Tell the publisher, or declare an address that serves the file itself")
        self._accept(response.headers)
        self._forget()
        self._starts += 1
        if self._starts > MOST_STARTS:
            raise self._trouble(f"it had to be started over {MOST_STARTS} times")
        self._validator = None if packed in DECODED else _validator(response.headers)
        self._total = None if packed in DECODED else number(response.headers.get("Content-Length"))
        steps = ((step.status_code, step.headers.get("Location", str(step.url))) for step in response.history)
        self._hops = tuple(Hop(status=status, location=without_query(to)) for status, to in steps)
        self.beginning = Beginning(response.status_code, response.headers, self._total)
        return self.beginning

    def _continue(self, headers: httpx.Headers) -> int:
        """Look at the part that was asked for; where it ends.

        Raises:
            _NotTheRest: it is another part, or a part of another file.
        """
        part = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", headers.get("Content-Range", "").strip())
        if not self.size or part is None or encoding(headers) not in AS_IT_IS:
            raise _NotTheRest
        start, last, total = (int(number) for number in part.groups())
        fits = start == self.size <= last < total == (self._total or total)
        if not fits or not _same_file(self.beginning.headers, headers):
            raise _NotTheRest
        whole = httpx.Headers({k: v for k, v in headers.items() if k.lower() != "content-range"})
        whole["Content-Length"] = str(total)
        self._accept(whole)
        self._total = total
        self.resumed += 1
        return last + 1

    def _forget(self) -> None:
        """Ask for the file from its first byte the next time."""
        self.size = self.resumed = self._resumed_bytes = self._best = 0
        self._total = self._validator = None

    def _too_much(self, until: int | None) -> Exception:
        if until is not None:
            return _NotTheRest()
        remedy = "Look at what is served there; declare the files of the release one by one"
        return self._no_file(f"it has more than {LARGEST_BYTES:,} bytes, or no end", remedy)

    def _no_file(self, what: str, remedy: str) -> PermanentFailure:
        return PermanentFailure(what, where=self._where, file=without_query(self._url), kept=self._kept, remedy=remedy)

    def _trouble(self, what: str) -> HttpTrouble:
        remedy, file = "It is tried again on the next run", without_query(self._url)
        return HttpTrouble(what, status=None, where=self._where, file=file, kept=self._kept, remedy=remedy)


def _validator(headers: httpx.Headers) -> str | None:
    """What `If-Range` may say of the file that began with these headers; None when nothing is safe to say."""
    tag = str(headers.get("ETag", "").strip())
    if tag.startswith('"'):
        return tag
    modified, said = http_date(headers.get("Last-Modified")), http_date(headers.get("Date"))
    old = modified is not None and said is not None and said - modified >= CLOCKS_AGREE
    return str(headers["Last-Modified"]) if old else None


def _same_file(begun: Mapping[str, str], part: Mapping[str, str]) -> bool:
    """Whether nothing that both answers say speaks against one file."""
    names = ["ETag", "Last-Modified"] if not begun.get("ETag", "").startswith('"') else ["ETag"]
    return all(begun[name] == part[name] for name in names if name in begun and name in part)
