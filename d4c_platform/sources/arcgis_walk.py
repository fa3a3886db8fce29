"""Walk over all rows of a layer once, in the order of their object ids, and prove that none was lost or doubled.

Pages by offset (`resultOffset`) were rejected: a row that is added or removed before the offset shifts all others, so that one
is skipped or comes twice, and old servers have no offsets at all. Here each page asks for the rows *after* the last object id:
what is read stays read, a walk can pause and go on, and it works wherever a condition on the object id does. Where a layer does
not sort (no `supportsPagination`), or sends an empty page although it has more, rows are asked for in windows of object ids
that were counted first and hold no more rows than one answer may; a window that comes back short is asked for in parts.

The proof comes after the last page, because pages are read at different moments. Rows are counted before and after, and the
object ids are read once more, many in one answer, and compared page by page. Up to `IDS_AT_ONCE` rows that is one answer, so
one moment, at which the layer held exactly what was harvested. Of a larger layer every id was there before the count and after
it, so at the count there were these rows and no others, as long as the id of a deleted row does not come back, which ArcGIS
avoids.

Memory holds one page, one answer of ids, and a digest for each page; nothing else grows with the layer.

Not here: whether values changed meanwhile (arcgis: the edit date says so, or the content read before).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.sources.arcgis_features import WHERE, Row
from d4c_platform.sources.arcgis_layer import Busy, Layer, LayerClient
from d4c_platform.sources.receipt import KEPT
from d4c_platform.sources.source import OtherState
from d4c_platform.web import HttpTrouble, TooLong

HEADER = b'{"type":"FeatureCollection","features":['
FOOTER = b"\n]}\n"
BEFORE_ALL = -(1 << 31) - 1  # below every object id
BEYOND_ALL = 1 << 63
GREATEST_SHORT = (1 << 31) - 1  # object ids up to here are compared as the short integers that old databases have


class LayerChanged(OtherState):
    """Rows came or went while the layer was read: what was read was never the layer at any moment."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A page that was read: its greatest object id and a digest of all of them."""

    last: int
    digest: bytes
    rows: int


def refuse_empty(client: LayerClient) -> int:
    """How many rows the layer has.

    Raises:
        TransientFailure: none. That is a publisher's load under way far more often than it is data.
    """
    total = client.count()
    if total == 0:
        raise TransientFailure(
            "the layer has no rows just now; publishers empty a layer before they fill it again",
            where=WHERE,
            file=client.url,
            kept=KEPT,
            remedy="It is looked at again on the next run; if it stays so, check the layer and `where` in the declaration",
        )
    return total


class Walk:
    """One walk over a layer, a page a step; it can rest between steps for as long as it likes.

    Args:
        client: may be replaced by another one of the same layer between two steps.
        write: takes the bytes of the GeoJSON document, one feature a line.
    """

    PAGE_ROWS: ClassVar[int] = 2000
    """Most rows of one request, though a layer offer more: answers stay below a few MB and a few seconds of the server."""
    IDS_AT_ONCE: ClassVar[int] = 100_000
    """Object ids of one answer when they are read again: about 1 MB."""
    MOST_STALLS: ClassVar[int] = 16
    """Answers in a row that come short; halving reaches a single row from the largest page in 11."""

    def __init__(self, client: LayerClient, layer: Layer, write: Callable[[bytes], object]) -> None:
        self.client, self._layer, self._write = client, layer, write
        self._rows = min(self.PAGE_ROWS, layer.most_rows)
        self._width = self._fit = self._rows  # of a window, in object ids and in rows
        self._total: int | None = None
        self._read, self._ended = 0, False
        self._last: int | None = None
        self._marks: list[_Mark] = []

    def step(self) -> bool:
        """Read the next page and write it; False when there was none left. After a failure it may be called again."""
        if self._ended:
            return False
        if self._total is None:
            self._total = refuse_empty(self.client)
            self._write(HEADER)
        rows = self._next()
        if not rows:
            self._write(FOOTER)
            self._ended = True
            return False
        for row in rows:
            self._write(b",\n" + row.line if self._read else b"\n" + row.line)
            self._read += 1
        if self._read > self._total:  # the count can no longer agree, and a layer that grows might never end
            raise self._changed(f"{self._total:,} rows were counted, and more came")
        self._last = rows[-1].oid
        self._marks.append(_Mark(self._last, _digest([row.oid for row in rows]), len(rows)))
        return True

    def prove(self) -> None:
        """Compare what was read with the layer as it is now.

        Raises:
            LayerChanged: they differ, or rows were added and removed while the layer was read.
        """
        now = self.client.count()
        if not self._total == self._read == now:
            raise self._changed(f"{self._total:,} rows were counted before, {self._read:,} were read and {now:,} counted after")
        if not all(self._has(group) for group in self._groups()):
            raise self._changed("other object ids are there than were read, though as many")

    def _next(self) -> Sequence[Row]:
        """The next rows in order; none only when the layer itself counts none behind the last one."""
        while self._layer.ordered:
            rows = self._page(*self._after(self._last))
            if rows:
                self._refuse_disorder(rows, self._last)
                return rows
            if rows is not None:
                break  # an empty page is no end: servers that filter late send one in the middle
        return self._window()

    def _window(self) -> Sequence[Row]:
        """The rows of the next window of object ids that has any."""
        if self._layer.ordered and not self.client.count(*self._after(self._last)):
            return []  # as nearly always after an empty page
        start = self._last if self._last is not None else self._first_window()
        stalls = 0
        while stalls < self.MOST_STALLS and start < BEYOND_ALL:
            end = start + self._width if start >= GREATEST_SHORT else min(start + self._width, GREATEST_SHORT)
            window = (*self._after(start), f"{self._layer.oid_field} <= {end}")
            expected = self.client.count(*window)
            if expected == 0:
                if not self.client.count(*self._after(end)):
                    return []
                start, self._width = end, self._width * 2
            elif expected > self._fit and self._width > 1:
                self._width = max(1, self._width * self._fit // (expected + 1))
            else:
                rows = sorted(self._page(*window) or [], key=lambda row: row.oid)
                self._refuse_disorder(rows, start, end)
                if len(rows) == expected:
                    self._fit = min(self._fit * 2, self._rows)
                    self._width = self._width * 2 if expected * 2 <= self._fit else self._width
                    return rows
                # Cut by a limit that the server does not tell, or a row came or went since the count.
                stalls, self._fit = stalls + 1, max(1, expected // 2)
        raise TransientFailure(
            f"the server holds rows back: it counts some after object id {start} and does not send them",
            where=WHERE,
            file=self.client.url,
            kept=KEPT,
            remedy="It is tried again on the next run; if it stays so, tell the publisher",
        )

    def _first_window(self) -> int:
        """Where windows begin: object ids count from 0 or 1, and only odd layers have negative ones."""
        return BEFORE_ALL if self.client.count(f"{self._layer.oid_field} < 0") else -1

    def _page(self, *conditions: str) -> list[Row] | None:
        """One answer; None when the server could not bear it and is to be asked for fewer rows."""
        try:
            return self.client.page(self._layer, *conditions, rows=self._rows)
        except (HttpTrouble, Busy, TooLong):
            if self._rows == 1:
                raise
            self._rows = max(1, self._rows // 4)
            self._fit = min(self._fit, self._rows)
            return None

    def _after(self, oid: int | None) -> tuple[str, ...]:
        return () if oid is None else (f"{self._layer.oid_field} > {oid}",)

    def _refuse_disorder(self, rows: Sequence[Row], start: int | None, end: int | None = None) -> None:
        """Refuse rows that came twice, or others than those that were asked for."""
        before = start
        for row in rows:
            if before is not None and row.oid <= before:
                twice = row.oid == before and before != start
                raise self._unreliable(
                    f"object id {row.oid} came twice: {self._layer.oid_field} does not tell the rows apart"
                    if twice
                    else f"object id {row.oid} came where only those after {before} were asked for, in order"
                )
            before = row.oid
        if end is not None and before is not None and before > end:
            raise self._unreliable(f"object id {before} came where only those up to {end} were asked for")

    def _groups(self) -> Iterator[tuple[int | None, list[_Mark], bool]]:
        """The pages that one answer of ids can check: what comes before them, the pages, and whether they are the last."""
        group: list[_Mark] = []
        start: int | None = None
        for number, mark in enumerate(self._marks, 1):
            group.append(mark)
            ids = sum(m.rows for m in group)
            if number == len(self._marks) or ids + self._marks[number].rows > self.IDS_AT_ONCE:
                yield start, group, number == len(self._marks)
                start, group = mark.last, []

    def _has(self, group: tuple[int | None, list[_Mark], bool]) -> bool:
        """Whether the layer now has exactly the object ids that were read in these pages."""
        start, marks, is_last = group
        upper = () if is_last else (f"{self._layer.oid_field} <= {marks[-1].last}",)
        ids = self.client.ids(*self._after(start), *upper)
        if len(ids) < sum(mark.rows for mark in marks) and len(marks) > 1:
            # Some servers cut ids as they cut rows: then page by page, as many as came before.
            firsts = [start, *(mark.last for mark in marks)]
            return all(
                self._has((first, [mark], is_last and mark is marks[-1])) for first, mark in zip(firsts, marks, strict=False)
            )
        begin = 0
        for mark in marks:
            end = bisect_right(ids, mark.last)
            if _digest(ids[begin:end]) != mark.digest:
                return False
            begin = end
        return begin == len(ids)

    def _changed(self, what: str) -> LayerChanged:
        return LayerChanged(
            f"the layer changed while it was read: {what}", where=WHERE, file=self.client.url, kept=KEPT, remedy=REMEDY
        )

    def _unreliable(self, what: str) -> PermanentFailure:
        return PermanentFailure(
            what,
            where=WHERE,
            file=self.client.url,
            kept=KEPT,
            remedy="Nothing could prove such a harvest complete: tell the publisher, or declare another form of the data",
        )


REMEDY = "It is read again; if it never rests, ask the publisher for a time at which it does"


def _digest(oids: Sequence[int]) -> bytes:
    return hashlib.sha256(",".join(map(str, oids)).encode()).digest()
