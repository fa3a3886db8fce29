"""Made-up Statistics Canada tables with a life of their own: releases, and what happens to their files between them.

Three things happen to a real table's zip: a release brings new content at an announced time; a *revision* corrects the content
and announces nothing; a *re-stamp* packs the same content again, as the nightly rebuild does, so that every byte-wise hash and
every validator changes. All are put in beforehand with their times, and the sandbox's clock decides which are past.

The zips are made when they are first asked for. Without a folder there are none, which is enough to look at 8,000 tables.
"""

from __future__ import annotations

import io
import os
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from d4c_platform.sandbox.clock import EASTERN

LANGUAGES = {"eng": ",", "fra": ";"}
GEOGRAPHIES = {"11124": ("Canada", "Canada", 0), "35": ("Ontario", "Ontario", 2)}
CANADA = "11124"


@dataclass(frozen=True, slots=True)
class State:
    """What a table's zips hold from an instant on.

    Attributes:
        content: the published value; equal content is the same data.
        stamp: the members' times: another stamp makes other bytes of the same content.
    """

    since: datetime
    content: str
    stamp: datetime


@dataclass(slots=True)
class MadeUpRelease:
    """One release. Its zips are those of its newest state that is past."""

    product_id: str
    released_at: datetime
    table: MadeUpTable
    states: list[State] = field(default_factory=list)

    @property
    def zips(self) -> Mapping[str, Path]:
        return self.table.files(self)

    def state(self, now: datetime) -> State:
        past = bisect_right([s.since for s in self.states], now)
        return self.states[max(0, past - 1)]

    def metadata(self) -> dict[str, Any]:
        return self.table.metadata(self)


@dataclass(slots=True)
class MadeUpTable:
    """One table and everything that ever happens to it."""

    product_id: str
    shelf: Tables
    geography: str = CANADA
    frequency: int = 6
    subjects: tuple[str, ...] = ("14",)
    archived: bool = False
    releases: list[MadeUpRelease] = field(default_factory=list)

    def release(self, at: datetime, content: str) -> None:
        """A release at an announced time. Its files are packed at 00:34 of its day."""
        packed = at.astimezone(EASTERN).replace(hour=0, minute=34, second=0, microsecond=0)
        release = MadeUpRelease(self.product_id, at.astimezone(EASTERN), self, [State(at, content, packed)])
        self.releases.append(release)
        self.releases.sort(key=lambda r: r.released_at)
        self.shelf.changed()

    def revise(self, at: datetime, content: str) -> None:
        """Other content under the same release time, from an instant on."""
        states = self._states(at)
        states.append(State(at, content, at))
        states.sort(key=lambda s: s.since)

    def restamp(self, at: datetime) -> None:
        """The same content, packed again."""
        states = self._states(at)
        before = [s for s in states if s.since <= at]
        states.append(State(at, before[-1].content, at))
        states.sort(key=lambda s: s.since)

    def content(self, now: datetime) -> str | None:
        """What its zips hold at an instant; None before its first release."""
        out = [r for r in self.releases if r.released_at <= now]
        return out[-1].state(now).content if out else None

    def _states(self, at: datetime) -> list[State]:
        return [r for r in self.releases if r.released_at <= at][-1].states

    def metadata(self, release: MadeUpRelease) -> dict[str, Any]:
        english, french, level = GEOGRAPHIES[self.geography]
        root = {
            "memberId": 1,
            "parentMemberId": None,
            "memberNameEn": english,
            "memberNameFr": french,
            "classificationCode": self.geography,
            "geoLevel": level,
            "vintage": 2021,
        }
        return {
            "responseStatusCode": 0,
            "productId": self.product_id,
            "cansimId": None,
            "cubeTitleEn": f"Persons employed in made-up industry number {self.product_id}, by region",
            "cubeTitleFr": f"Personnes employées dans l'industrie inventée numéro {self.product_id}, selon la région",
            "cubeStartDate": "2001-01-01",
            "cubeEndDate": f"{release.released_at:%Y-%m}-01",
            "frequencyCode": self.frequency,
            "releaseTime": f"{release.released_at:%Y-%m-%dT%H:%M}",
            "archiveStatusCode": "1" if self.archived else "2",
            "subjectCode": list(self.subjects),
            "surveyCode": ["0000"],
            "dimension": [{"dimensionPositionId": 1, "dimensionNameEn": "Geography", "member": [root]}],
        }

    def files(self, release: MadeUpRelease) -> Mapping[str, Path]:
        if self.shelf.folder is None:
            return {}
        state = release.state(self.shelf.now())
        name = f"{self.product_id}-{release.released_at:%Y%m%dT%H%M}-{release.states.index(state)}"
        return {language: self._packed(self.shelf.folder / f"{name}-{language}.zip", language, state) for language in LANGUAGES}

    def _packed(self, file: Path, language: str, state: State) -> Path:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_name(f".{file.name}")
            fresh.write_bytes(_zip(self.product_id, LANGUAGES[language], state))
            stamp = state.stamp.timestamp()
            os.utime(fresh, (stamp, stamp))  # what the server says as Last-Modified
            fresh.replace(file)
        return file


class Tables:
    """A publisher's shelf of made-up tables.

    Args:
        now: the sandbox's clock.
        folder: where zips are made; None for tables without files.
    """

    def __init__(self, now: Callable[[], datetime], folder: Path | None = None) -> None:
        self.now, self.folder = now, folder
        self._tables: dict[str, MadeUpTable] = {}
        self._in_order: list[MadeUpRelease] | None = None

    def add(self, product_id: str, **about: Any) -> MadeUpTable:
        self._tables[product_id] = MadeUpTable(product_id, self, **about)
        return self._tables[product_id]

    def __getitem__(self, product_id: str) -> MadeUpTable:
        return self._tables[product_id]

    def __call__(self) -> Sequence[MadeUpRelease]:
        """Every release of every table, oldest first: what the service is made of."""
        if self._in_order is None:
            found = [release for table in self._tables.values() for release in table.releases]
            self._in_order = sorted(found, key=lambda r: (r.released_at, r.product_id))
        return self._in_order

    def changed(self) -> None:
        self._in_order = None


def _zip(product_id: str, delimiter: str, state: State) -> bytes:
    rows = [["REF_DATE", "GEO", "VECTOR", "COORDINATE", "VALUE"], ["2024-01", "Canada", "v1", "1.1", state.content]]
    table = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows) + "\n"
    members = {f"{product_id}.csv": f"\ufeff{table}", f"{product_id}_MetaData.csv": '"Cube Title"\n"Made up"\n'}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, text in members.items():
            entry = zipfile.ZipInfo(name, state.stamp.astimezone(EASTERN).timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, text.encode())
    return out.getvalue()
