"""Statistics Canada's tables: the source kind `statcan-table`.

The service says which tables a day released (one list for all tables, read once a sweep) and serves only the newest state of
each. Zips are rebuilt overnight, hours before the release they belong to is out: what is fetched between 00:00 and 08:30 may
be tomorrow's data under yesterday's name, so nothing is.

A sweep comes every few minutes, and days that are over do not change: what they released is remembered from sweep to sweep,
and a table that released nothing for a month is asked for its state once an hour (memory).

Where the list of all tables is read once a day (cube_list), no table is asked at all: the list says how things stood when it
was read, and the changed cubes of the days since say the rest. Two lists then answer for eight thousand tables.

Not here: the service's protocol (wds), what is in a zip (transforms), whether its content changed (archive).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar, Literal, Self

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.listing import Listing
from d4c_platform.model.records import Candidate
from d4c_platform.model.sources import StatCanTableSource
from d4c_platform.sources.documents import canonical_json
from d4c_platform.sources.memory import SHARED, Memory
from d4c_platform.sources.source import (
    EASTERN,
    Answer,
    Expect,
    Noticed,
    SourceSettings,
    SourceUrl,
    Superseded,
    eastern_date,
    key_time,
    utc_key,
)
from d4c_platform.sources.wds import (
    INVALID_DATE,
    WHERE,
    ChangedCube,
    ChangedCubeList,
    Failed,
    NotYet,
    StatCan,
    eastern_to_utc,
)
from d4c_platform.web import HttpRefusal, Web

__all__ = ["ChangedCube", "ChangedCubes", "StatCan", "StatCanTables"]

RELEASE_TIME = time(8, 30)
SETTLE = timedelta(minutes=5)  # after 08:30 the service is busiest and its caches lag
ZIP_LANGUAGE = {"en": "eng", "fr": "fra"}


class ChangedCubes:
    """Whole days of the changed-cube list, each asked for once, however many tables want to know.

    Args:
        memory: where days that are over are kept for the next sweep, when they may be.
    """

    def __init__(self, statcan: StatCan, memory: Memory | None = None) -> None:
        self._statcan, self._memory = statcan, memory
        self._days: dict[date, dict[str, list[datetime]]] = {}

    def released(self, product_id: str, first: date, today: date) -> list[datetime]:
        """When the table was released from the first day to today."""
        return [moment for day in _days(first, today) for moment in self._on(day, today).get(product_id, ())]

    def since(self, first: date, today: date) -> Mapping[str, Sequence[datetime]]:
        """What was released from the first day to today, by product id."""
        found: dict[str, list[datetime]] = {}
        for day in _days(first, today):
            for product_id, moments in self._on(day, today).items():
                found.setdefault(product_id, []).extend(moments)
        return found

    def _on(self, day: date, today: date) -> dict[str, list[datetime]]:
        if day not in self._days:
            over = self._memory if day < today else None
            known = over.day(self._statcan.base, day) if over is not None else None
            if known is None:
                listed = self._listed(day, today)
                known = {}
                for cube in listed.cubes:
                    known.setdefault(cube.product_id, []).append(cube.released_at)
                if over is not None and listed.complete:
                    over.keep_day(self._statcan.base, day, known)
            self._days[day] = known
        return self._days[day]

    def _listed(self, day: date, today: date) -> ChangedCubeList:
        try:
            return self._statcan.changed_cube_list(day)
        except (NotYet, Failed, HttpRefusal) as error:
            not_yet = (
                isinstance(error, NotYet)
                or (isinstance(error, Failed) and error.code == INVALID_DATE)
                or (isinstance(error, HttpRefusal) and error.status == 404)
            )
            if day == today and not_yet:  # before 08:30 the service may not know the day yet; a past day has to be there
                return ChangedCubeList([], complete=False)
            raise


class StatCanTables:
    """The source kind `statcan-table`."""

    kind: ClassVar[str] = "statcan-table"

    def __init__(self, web: Web, settings: SourceSettings | None = None) -> None:
        settings = settings or SourceSettings()
        self._statcan = StatCan(web, settings.wds)
        self._catch_up_days, self._clock = settings.catch_up_days, settings.clock
        real = web.route(settings.wds) == settings.wds
        self._lock = _keeps_lock(web, settings)
        self._memory = SHARED if (real if settings.remember is None else settings.remember) else None
        self._changed = ChangedCubes(self._statcan, self._memory)
        self._listing = settings.listing

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls(web, settings)

    def newest(self, now: datetime) -> Mapping[str, str]:
        """The newest release of every listed table that is out, as the start of its key; by product id.

        Raises:
            D4CError: one of the days since the list was read could not be asked for.
        """
        today, out = eastern_date(now), utc_key(now)
        if self._listing is None:
            return {}
        if not self._reaches(self._listing, today):
            raise PermanentFailure(
                f"the list of all tables is of {eastern_date(self._listing.listed_at)}: too many days ago to ask for each",
                where=WHERE,
                kept="What was noticed stays",
                remedy="Run the job `refresh_families`, and see why its schedule did not",
            )
        # A release that the list announces is told by its own day, once it is out.
        newest = {p: t.released for p, t in self._listing.tables.items() if t.released <= out}
        for product_id, moments in self._changed.since(self._day_listed(self._listing), today).items():
            told = max((utc_key(m) for m in moments if m <= now), default="")
            if told > newest.get(product_id, "") and product_id in self._listing.tables:
                newest[product_id] = told
        return newest

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """The newest release that is out and was not seen; those it replaced unseen are named in its hint."""
        product_id = _declared(dataset).product_id
        signal, released = self._released(product_id, eastern_date(since) if isinstance(since, datetime) else since, now)
        newest_seen = max((c.released_at for c in seen), default=datetime.min.replace(tzinfo=UTC))
        fresh = sorted({moment for moment in released if moment is not None and newest_seen < moment <= now})
        if not fresh:
            return []
        *superseded, newest = fresh
        hint = {"signal": signal, "product_id": product_id, "release_time": newest.astimezone(EASTERN).isoformat()}
        if superseded:
            hint["superseded"] = ",".join(utc_key(moment) for moment in superseded)
        return [Noticed(utc_key(newest), newest, eastern_date(newest), hint)]

    def _released(self, product_id: str, first: date | None, now: datetime) -> tuple[str, list[datetime | None]]:
        """The publisher's signal, and the releases it tells of."""
        today = eastern_date(now)
        listing = self._listing
        if listing is not None and product_id in listing.tables and self._reaches(listing, today):
            days = self._changed.released(product_id, self._day_listed(listing), today)
            signal = "getAllCubesListLite" if first is None else "getChangedCubeList"
            return signal, [key_time(listing.tables[product_id].released), *days]
        if first is None or (today - first).days > self._catch_up_days:
            return "getCubeMetadata", [self._current(product_id, now)]
        return "getChangedCubeList", [*self._changed.released(product_id, first, today)]

    def _reaches(self, listing: Listing, today: date) -> bool:
        """Whether the days between the list and today can still be asked for one by one."""
        return (today - eastern_date(listing.listed_at)).days < self._catch_up_days

    def _day_listed(self, listing: Listing) -> date:
        """The day from which the list of all tables may not know everything.

        One day early, because the list may lag; and after a gap, the day of the list before, so that what was replaced unseen
        is named.
        """
        day = eastern_date(listing.listed_at) - timedelta(days=1)
        before = eastern_date(listing.before) if listing.before is not None else day
        return max(min(day, before), eastern_date(listing.listed_at) - timedelta(days=self._catch_up_days))

    def _current(self, product_id: str, now: datetime) -> datetime | None:
        """The table's release time; at most an hour old when it may be remembered."""
        base = self._statcan.base
        known = self._memory.state(base, product_id, now) if self._memory is not None else None
        if known is not None:
            return known
        current = _release_time(self._statcan.metadata(product_id))
        # A release that is announced and not out yet is asked for again.
        if self._memory is not None and current is not None and current <= now:
            self._memory.keep_state(base, product_id, now, current)
        return current

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        """The zip of each declared language, and the metadata object."""
        self._refuse_while_locked()
        declared = _declared(dataset)
        metadata, response = self._statcan.metadata_answer(declared.product_id)
        self._same_release(metadata, candidate)
        answer = Answer(canonical_json(metadata), response.status_code, response.headers)
        document = SourceUrl(
            f"{declared.product_id}.json",
            self._statcan.url("getCubeMetadata"),
            Expect.JSON,
            in_content=False,  # it tells the release time, which is new with every release
            answer=answer,
        )
        return [*(self._zip(declared, lang) for lang in declared.languages), document]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        self._refuse_while_locked()
        self._same_release(self._statcan.metadata(_declared(dataset).product_id), candidate)

    def _zip(self, declared: StatCanTableSource, lang: Literal["en", "fr"]) -> SourceUrl:
        name = f"{declared.product_id}-{ZIP_LANGUAGE[lang]}.zip"
        optional = lang == "fr" and "en" in declared.languages
        try:
            return SourceUrl(name, self._statcan.full_table_url(declared.product_id, lang), Expect.ZIP, optional)
        except PermanentFailure as refusal:
            if not optional or (isinstance(refusal, HttpRefusal) and refusal.status != 404):
                raise
            asked = self._statcan.url(f"getFullTableDownloadCSV/{declared.product_id}/{lang}")
            return SourceUrl(name, asked, Expect.ZIP, optional, absent=refusal.what)

    def _same_release(self, metadata: dict[str, Any], candidate: Candidate) -> None:
        current, wanted = _release_time(metadata), _eastern(candidate.released_at)
        if current is None or current < candidate.released_at:
            raise TransientFailure(
                f"the release of {wanted} is announced, but the table is still that of {_eastern(current)}",
                where=WHERE,
                remedy="It is tried again on the next run",
            )
        if current > candidate.released_at:
            raise Superseded(
                f"the release of {wanted} was replaced by that of {_eastern(current)} before it was archived",
                where=WHERE,
                remedy="Withdraw this version; the newer release is noticed on its own",
            )

    def _refuse_while_locked(self) -> None:
        if self._lock:
            _refuse_at_night(self._clock())


def refuse_while_rebuilt(web: Web, settings: SourceSettings) -> None:
    """Raise TransientFailure while Statistics Canada rebuilds its files, where that is kept to (`SourceSettings`)."""
    if _keeps_lock(web, settings):
        _refuse_at_night(settings.clock())


def _keeps_lock(web: Web, settings: SourceSettings) -> bool:
    return web.route(settings.wds) == settings.wds if settings.statcan_lock is None else settings.statcan_lock


def _refuse_at_night(moment: datetime) -> None:
    now = moment.astimezone(EASTERN)
    if now.time() < RELEASE_TIME:
        opens = now.replace(hour=RELEASE_TIME.hour, minute=RELEASE_TIME.minute, second=0, microsecond=0) + SETTLE
        raise TransientFailure(
            "files are rebuilt between 00:00 and 08:30 Eastern: what is fetched now may belong to the next release",
            retry_after_s=(opens - now).total_seconds(),
            where=WHERE,
            remedy=f"It is tried again after {opens:%H:%M} Eastern",
        )


def _days(first: date, last: date) -> Iterator[date]:
    yield from (first + timedelta(days=n) for n in range((last - first).days + 1))


def _declared(dataset: Dataset) -> StatCanTableSource:
    if not isinstance(dataset.source, StatCanTableSource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not a statcan-table", dataset=dataset.id)
    return dataset.source


def _release_time(metadata: dict[str, Any]) -> datetime | None:
    text = metadata.get("releaseTime")
    return eastern_to_utc(text) if text else None


def _eastern(moment: datetime | None) -> str:
    return f"{moment.astimezone(EASTERN):%Y-%m-%d %H:%M} Eastern" if moment else "no release at all"
