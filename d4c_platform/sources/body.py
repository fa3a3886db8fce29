"""A remote file read as one stream, although the line breaks: it goes on at the byte it reached.

With `Range` and `If-Range`, so that the rest comes from the same state of the file: a server that has another one answers with
the whole file and not with a part, and then what was read so far is worth nothing (`Changed`; the caller begins anew). A
server that does not know ranges is read again up to where we were. Without a strong ETag or a date there is nothing to
compare with, so the file is begun anew as well.

A length that was announced is a promise: a file that ends before it, again and again, is not the file.

Not here: opening with retries, waiting, rate limits (web), and where the bytes go (stages.ingest).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Self

import httpx

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.sources.headers import number
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.receipt import looks_like_html
from d4c_platform.web import HttpRefusal, HttpTrouble, Web, without_query

WHERE = "file-list"
STALLS = 4  # times in a row that a connection may end without one byte more
STALL_WAIT_S = 0.2  # doubled with each stall; a host that says how long to wait is obeyed by `Web`
KEPT = "What was fetched before stays"
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
PAGES = (".html", ".htm", ".xhtml")


class Changed(TransientFailure):
    """The file became another one while it was read."""


class Body:
    """The bytes of one file. A context manager; iterate `chunks` once.

    Attributes:
        headers: of the first answer.
        length: as announced; None when the server does not say, or sends the file encoded.
        resumed: how many times the line broke and the reading went on.
    """

    def __init__(self, web: Web, url: str, path: str) -> None:
        self._web, self._url, self._path = web, url, path
        self._stack = ExitStack()
        self.resumed = 0

    def __enter__(self) -> Self:
        self._response = self._open({})
        self.status, self.headers = self._response.status_code, dict(self._response.headers)
        self.encoded = self.headers.get("content-encoding", "identity").lower() not in {"", "identity"}
        self.length = None if self.encoded else number(self.headers.get("content-length"))
        return self

    def __exit__(self, *about: object) -> None:
        self._stack.close()

    def chunks(self) -> Iterator[bytes]:
        """The file's bytes, each once.

        Raises:
            Changed: begin anew.
            TransientFailure: the line broke too often, or the server does not send as much as it says.
            PermanentFailure: a page for people came instead of the file.
        """
        at = stalls = 0
        while True:
            before, trouble = at, None
            try:
                for chunk in self._received(at):
                    if at == 0:
                        self._refuse_page(chunk)
                    at += len(chunk)
                    yield chunk
            except (httpx.HTTPError, HttpTrouble) as error:
                trouble = error
            if self.length is not None and at == self.length:
                return
            if trouble is None and self.length is None:
                return
            stalls = 0 if at > before else stalls + 1
            if self.length is not None and at > self.length:
                raise self._wrong_length(f"more than the {self.length:,} announced bytes came")
            if stalls > STALLS:
                raise self._wrong_length(f"it ends after {at:,} of {self.length or 0:,} bytes, again and again") from trouble
            time.sleep(STALL_WAIT_S * 2**stalls if stalls else 0)
            self._resume(at)

    def _received(self, at: int) -> Iterator[bytes]:
        response, skip = self._response, at - self._start
        # We ask for no encoding; a server that compresses all the same is undone, so that the file itself is kept. Chunks are
        # taken as they come: gathered to a size, the last ones before a break would be lost, and fetched again.
        for chunk in response.iter_bytes() if self.encoded else response.iter_raw():
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            yield chunk[skip:]
            skip = 0

    def _open(self, headers: Mapping[str, str]) -> httpx.Response:
        self._stack.close()
        response = self._stack.enter_context(self._web.stream(self._url, where=WHERE, headers=headers))
        refuse_astray(self._web, self._url, response, where=WHERE, kept=KEPT)
        self._start = 0
        return response

    def _resume(self, at: int) -> None:
        self.resumed += 1
        validator = self._validator()
        if at == 0:
            self._response = self._open({})
            self._same_file(self._response)
            return
        if validator is None or self.encoded:
            raise self._changed("the line broke, and nothing tells whether the rest would be of the same file")
        try:
            self._response = self._open({"Range": f"bytes={at}-", "If-Range": validator})
        except HttpRefusal as refusal:
            if refusal.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise self._wrong_length(f"it has no byte beyond the first {at:,}, of {self.length or 0:,}") from refusal
            raise
        self._same_file(self._response)
        if self._response.status_code == httpx.codes.PARTIAL_CONTENT:
            found = CONTENT_RANGE.fullmatch(self._response.headers.get("content-range", ""))
            if found is None or int(found[1]) != at:
                raise self._changed("the server sent another part than the one it was asked for")
            if self.length is not None and found[3] not in {"*", str(self.length)}:
                raise self._changed(f"it has {found[3]} bytes now, and had {self.length}")
            self._start = at

    def _same_file(self, response: httpx.Response) -> None:
        for name in ("etag", "last-modified"):
            before, now = self.headers.get(name), response.headers.get(name)
            if before and now and before != now and not (name == "etag" and before.startswith("W/")):
                raise self._changed(f"its {name} was {before} and is {now}")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            length = None if self.encoded else number(response.headers.get("content-length"))
            if length != self.length:
                raise self._changed(f"it has {length} bytes now, and had {self.length}")

    def _validator(self) -> str | None:
        etag = self.headers.get("etag", "")
        return etag if etag.startswith('"') else self.headers.get("last-modified")

    def _refuse_page(self, start: bytes) -> None:
        if looks_like_html(start[:512]) and not self._path.lower().endswith(PAGES):
            raise PermanentFailure(
                f"an HTML page arrived with status {self.status} instead of the file", where=WHERE, file=self._path, kept=KEPT
            )

    def _changed(self, what: str) -> Changed:
        return Changed(f"the file changed while it was read: {what}", where=WHERE, file=without_query(self._url), kept=KEPT)

    def _wrong_length(self, what: str) -> TransientFailure:
        return TransientFailure(
            what, where=WHERE, file=without_query(self._url), kept=KEPT, remedy="It is tried again on the next run"
        )
