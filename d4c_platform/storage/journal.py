"""What a long job has finished, kept in the store while it runs, so that a killed one goes on where it was.

A job of a hundred thousand steps would need as many objects, if each step had one, and as many requests to find out what is
done. So finished steps are lines of segments of a few hundred. A step counts as finished when the future of its line has
come: the line is then in the store. The current segment is written anew with every line (it is small), and lines that arrive
while it is being written go into the next writing together, so that many steps take few requests.

Each run writes segments of its own name: two runs at once cannot undo each other's lines. A step may stand in two of them;
the reader takes the later one.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.storage.store import NO_CACHE, ObjectStore

SEGMENT_LINES = 250  # 100 000 files: 400 objects to read when a job goes on
SEGMENT_BYTES = 256 * 1024  # what is written again with every line; a line is a kilobyte, of a large file more
MEDIA_TYPE = "application/x-ndjson"


class Journal:
    """The finished steps of one job, below a prefix of its own. A context manager: leaving waits for what is being written."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        self._run = f"{started}-{uuid.uuid4().hex[:8]}"
        self._segment: list[bytes] = []
        self._number = 0
        self._waiting: list[tuple[bytes, Future[None]]] = []
        self._queue = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.shutdown(wait=True)

    def steps(self) -> Iterator[dict[str, Any]]:
        """Every line that was ever written, the oldest run first. Read it before the first `add`."""
        for info in list(self._store.list(self._prefix)):
            for line in self._store.read(info.key).splitlines():
                try:
                    step = json.loads(line)
                except ValueError as error:
                    raise PermanentFailure(
                        "a line of the journal cannot be read",
                        where="journal",
                        file=info.key,
                        remedy="Remove this object; what it tells is done again",
                    ) from error
                yield step

    def add(self, step: Mapping[str, Any]) -> Future[None]:
        """Keep a finished step; it is in the store when the future comes, and is not if that brings an exception."""
        line = json.dumps(step, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        kept: Future[None] = Future()
        with self._queue:
            self._waiting.append((line, kept))
        self._writer.submit(self._write_what_waits)
        return kept

    def _write_what_waits(self) -> None:
        with self._queue:
            waiting, self._waiting = self._waiting, []
        if not waiting:  # an earlier turn took them along
            return
        if len(self._segment) >= SEGMENT_LINES or sum(map(len, self._segment)) >= SEGMENT_BYTES:
            self._segment, self._number = [], self._number + 1
        # Lines that a failed writing left here may be written later all the same: what they tell is true.
        self._segment += [line for line, _ in waiting]
        try:
            body = b"\n".join(self._segment) + b"\n"
            self._store.put(self._key(), body, media_type=MEDIA_TYPE, cache_control=NO_CACHE)
        except BaseException as error:  # noqa: BLE001 - handed to everyone whose line it was
            for _, kept in waiting:
                kept.set_exception(error)
            return
        for _, kept in waiting:
            kept.set_result(None)

    def _key(self) -> str:
        return f"{self._prefix}{self._run}-{self._number:06}.jsonl"
