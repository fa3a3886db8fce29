"""The content of an export whose records come in any order: how many there are, and one hash for every order of them.

A portal that exports from a search index promises no order, so the same data comes as other bytes each time. The file is
archived as it was received, and its content is hashed like a bag of records: the records' hashes are added up. Sorting them
first was rejected: it needs the disk a second time, and what is archived would no longer be what the publisher sent. (Adding
and not XOR-ing: two equal records must not cancel each other. Against somebody who forges records for a collision a sum is
weaker than a hash of sorted ones; a publisher need not forge what is his own.)

Memory is bounded by one record, one row group of a Parquet file, or one chunk.

A file that ends before it should is `Cut`: portals end an export in the middle without breaking the connection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK_CHARS = 1 << 20
BATCH_ROWS = 4096
MOST_RECORD_BYTES = 64 << 20  # a feature with a whole shoreline has tens of MB; more is a file that was damaged
BLANK = " \t\r\n"
MODULUS = 1 << 256


class Cut(Exception):
    """The file is not whole, or not what it is called; says where."""


def content_of(path: Path, form: str) -> tuple[int, str]:
    """How many records a file has, and the hash of its content.

    Args:
        form: `geojson`, `csv` or `parquet`.

    Raises:
        Cut: it ends too early, or cannot be read as what it is called.
    """
    head, records = READERS[form](path)
    count, total = 0, 0
    for record in records:
        count += 1
        total = (total + int.from_bytes(hashlib.sha256(record).digest(), "big")) % MODULUS
    digest = hashlib.sha256(head)
    digest.update(f"\0{total:064x}".encode())
    return count, digest.hexdigest()


def _geojson(path: Path) -> tuple[bytes, Iterator[bytes]]:
    return b"FeatureCollection", _features(path)


def _features(path: Path) -> Iterator[bytes]:
    """Each feature in one spelling. What stands beside the features (a name, a CRS) is read and not part of the content."""
    with path.open(encoding="utf-8-sig", errors="strict", newline="") as stream:
        text = _Text(stream.read)
        text.expect("{")
        found = False
        while text.next_is('"'):
            key = text.value()
            text.expect(":")
            if key != "features":
                text.value()
            else:
                found = True
                text.expect("[")
                while not text.next_is("]"):
                    feature = text.value()
                    if not isinstance(feature, dict) or feature.get("type") != "Feature":
                        raise Cut("it lists something that is no feature")
                    yield json.dumps(feature, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
                    if not text.next_is("]"):
                        text.expect(",")
                text.expect("]")
            if not text.next_is("}"):
                text.expect(",")
        text.expect("}")
        if not text.at_end():
            raise Cut("something follows after its end")
        if not found:
            raise Cut("it has no features")


class _Text:
    """JSON text that is read one value at a time, in bounded memory."""

    def __init__(self, read: Callable[[int], str]) -> None:
        self._read, self._decode = read, json.JSONDecoder().raw_decode
        self._text, self._at, self._ended = "", 0, False

    def value(self) -> Any:
        """The value that begins here."""
        self._skip_blank()
        while True:
            try:
                found, end = self._decode(self._text, self._at)
            except ValueError as error:
                if not self._more():
                    raise Cut(f"it breaks off or is damaged ({error})") from error
                continue
            if end == len(self._text) and self._more():  # a number at the end of what was read may go on
                continue
            self._at = end
            return found

    def next_is(self, mark: str) -> bool:
        self._skip_blank()
        return self._text.startswith(mark, self._at)

    def expect(self, mark: str) -> None:
        if not self.next_is(mark):
            raise Cut(f"it breaks off or is damaged: {mark!r} is missing")
        self._at += 1

    def at_end(self) -> bool:
        self._skip_blank()
        return self._at == len(self._text)

    def _skip_blank(self) -> None:
        while True:
            while self._at < len(self._text) and self._text[self._at] in BLANK:
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return

    def _more(self) -> bool:
        """Read on; as much again as there is, so that a long value is not tried for every chunk of it."""
        if self._ended:
            return False
        self._text, self._at = self._text[self._at :], 0
        if len(self._text) > MOST_RECORD_BYTES:
            raise Cut(f"a record has more than {MOST_RECORD_BYTES:,} characters")
        try:
            chunk = self._read(max(CHUNK_CHARS, len(self._text)))
        except UnicodeDecodeError as error:
            raise Cut(f"it is no UTF-8 text ({error.reason})") from error
        self._ended = not chunk
        self._text += chunk
        return bool(chunk)


def _csv(path: Path) -> tuple[bytes, Iterator[bytes]]:
    records = _csv_records(path)
    head = next(records, None)
    if head is None:
        raise Cut("it has no header")
    return head, records


def _csv_records(path: Path) -> Iterator[bytes]:
    """Each record without its line end. A quote that is open at a line's end goes on in the next one (RFC 4180)."""
    with path.open("rb") as stream:
        record, quotes = b"", 0
        while line := stream.readline(MOST_RECORD_BYTES):
            record += line
            quotes += line.count(b'"')
            if quotes % 2:
                if len(record) > MOST_RECORD_BYTES:
                    raise Cut(f"a record has more than {MOST_RECORD_BYTES:,} bytes")
                continue
            if not line.endswith(b"\n"):
                raise Cut("its last record does not end")
            yield record.rstrip(b"\r\n")
            record, quotes = b"", 0
        if record:
            raise Cut("its last record does not end")


def _parquet(path: Path) -> tuple[bytes, Iterator[bytes]]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise Cut(f"it cannot be read as Parquet ({_first_line(error)})") from error
    return str(file.schema_arrow.remove_metadata()).encode(), _rows(file)


def _rows(file: Any) -> Iterator[bytes]:
    with file:
        try:
            for batch in file.iter_batches(BATCH_ROWS):
                for row in batch.to_pylist():
                    yield repr(list(row.items())).encode()
        except (pa.ArrowException, OSError) as error:
            raise Cut(f"it cannot be read as Parquet ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


READERS: Mapping[str, Callable[[Path], tuple[bytes, Iterable[bytes]]]] = MappingProxyType(
    {"geojson": _geojson, "csv": _csv, "parquet": _parquet}
)
