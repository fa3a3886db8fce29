"""A quarter in the life of an installation, on the sandbox's clock: what the publisher does, and what we make of it.

The publisher's side is drawn from a seed: releases on business days, days without any, corrections on the same day, revisions
that are not announced, zips that are packed anew, announced releases that bring nothing new, days on which the server is down,
and one request in twenty that fails. Our side is the real one, several times a day: the list, the sweep, the archive with its
comparison of contents, the recheck. Only building and publishing are left out: what is archived counts as published.
"""

from __future__ import annotations

import random
import zipfile
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import httpx

from d4c_platform import datasets, naming
from d4c_platform.model.errors import D4CError
from d4c_platform.model.records import Copies, Item, Release, Withdrawal
from d4c_platform.sandbox.clock import EASTERN, Clock
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.statcan import REAL_HOST, statcan_app
from d4c_platform.sandbox.tables import MadeUpTable, Tables
from d4c_platform.settings import Settings
from d4c_platform.sources.source import SourceSettings
from d4c_platform.stages.build import archive_release
from d4c_platform.stages.listings import Datasets
from d4c_platform.stages.notice import notice
from d4c_platform.stages.outstanding import Stretch, outstanding
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.recheck import recheck
from d4c_platform.stages.refresh import refresh_families
from d4c_platform.web import Web

HOLIDAYS = {  # federal, on which nothing is released
    date(2025, 9, 1),
    date(2025, 9, 30),
    date(2025, 10, 13),
    date(2025, 11, 11),
    date(2025, 12, 25),
    date(2025, 12, 26),
    date(2026, 1, 1),
}
START = date(2025, 9, 2)  # the quarter has the change from summer to winter time in it
RECHECK_DAYS = 3
QUIET_DAYS = 8  # at the end nothing happens any more: what is still to be found is found
SWEEPS = (time(6, 45), time(8, 32), time(9, 20), time(10, 40), time(13, 5), time(19, 30))
LISTS = (time(8, 45), time(12, 45))
RECHECK = time(10, 15)
FAILING = 0.05
LOOKS = 5  # sweeps that all fail to notice and archive a release: one in fifty thousand
TURNS = RECHECK_DAYS + 4  # days of which one is its turn, with as many to try again
OUTAGE_DAYS = 3


def at(day: date, when: time) -> datetime:
    return datetime.combine(day, when, EASTERN)


@dataclass
class Truth:
    """One state of one table: what was served from an instant on, under which release time."""

    since: datetime
    released_at: datetime
    content: str
    announced: bool


@dataclass
class Seen:
    """One version that was published."""

    version_id: str
    released_at: datetime
    content: str
    at: datetime


@dataclass
class Publisher:
    """What the publisher does in the quarter, drawn from a seed."""

    seed: int
    weeks: int
    tables: Tables
    count: int
    truths: dict[str, list[Truth]] = field(default_factory=lambda: defaultdict(list))
    happened: Counter[str] = field(default_factory=Counter)
    outages: list[date] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.days = [START + timedelta(days=n) for n in range(self.weeks * 7)]
        busy = self.days[:-QUIET_DAYS]
        starts = self.random.sample(range(5, len(busy) - OUTAGE_DAYS), 1 if self.weeks < 6 else 2)
        self.outages = [busy[start + n] for start in starts for n in range(OUTAGE_DAYS)]
        self._value = 0
        for n in range(self.count):
            table = self.tables.add(f"{14100001 + 7 * n}", geography="35" if n % 9 == 4 else "11124", archived=n % 10 == 9)
            self._release(table, at(START - timedelta(days=self.random.randint(3, 900)), time(8, 30)), self._new())
        for day in busy:
            self._live(day)

    def _live(self, day: date) -> None:
        business = day.weekday() < 5 and day not in HOLIDAYS
        for n, product_id in enumerate(self.truths):
            table, chance = self.tables[product_id], self.random.random()
            rhythm = 1.0 if n == 0 else 0.3 if n < 4 else 0.06 if not table.archived else 0.0  # the first is released daily
            if business and chance < rhythm:
                same = self.random.random() < 0.12
                content = self.truths[product_id][-1].content if same else self._new()
                self._release(table, at(day, time(8, 30)), content)
                self.happened["releases that bring nothing new" if same else "releases"] += 1
                if self.random.random() < 0.05:
                    self._release(table, at(day, time(14, 0)), self._new())
                    self.happened["corrections on the same day"] += 1
            elif chance > 0.975:
                when = at(day, time(self.random.randint(9, 22), self.random.randint(0, 59)))
                table.revise(when, self._new())
                last = self.truths[product_id][-1]
                self.truths[product_id].append(Truth(when, last.released_at, f"{self._value}", announced=False))
                self.happened["revisions"] += 1
            elif chance > 0.88:
                table.restamp(at(day, time(self.random.randint(1, 23), self.random.randint(0, 59))))
                self.happened["re-stamped zips"] += 1

    def _new(self) -> str:
        self._value += 1
        return f"{self._value}"

    def _release(self, table: MadeUpTable, when: datetime, content: str) -> None:
        table.release(when, content)
        self.truths[table.product_id].append(Truth(when, when, content, announced=True))


class Quarter:
    """An installation that follows the publisher's tables. `run` lives through the quarter."""

    def __init__(self, folder: Path, *, seed: int, weeks: int, tables: int) -> None:
        self.folder, self.clock = folder, Clock(folder / "clock.json")
        self.publisher = Publisher(seed, weeks, Tables(self.clock.now, folder / "zips"), tables)
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self.trouble: Counter[str] = Counter()
        self.sweeps = 0
        self._declare()

    def _declare(self) -> None:
        """The packaged family without mirrors, and one of its tables with a declaration of its own."""
        declared = self.folder / "datasets"
        declared.mkdir(parents=True)
        [family] = datasets.families_in(datasets.PACKAGED)
        text = family.read_text(encoding="utf-8").replace("recheck_days: 7", f"recheck_days: {RECHECK_DAYS}")
        (declared / family.name).write_text(text.replace("mirrors: [source-coop, zenodo]", "mirrors: []"), encoding="utf-8")
        own = (datasets.PACKAGED / "statistical" / "33100036.yaml").read_text(encoding="utf-8").replace("33100036", "14100001")
        own = own.replace("mirrors: [source-coop, zenodo]", "mirrors: []").replace(
            "languages: [en, fr]", f"languages: [en, fr]\n  recheck_days: {RECHECK_DAYS}"
        )
        (declared / "14100001.yaml").write_text(own, encoding="utf-8")
        self.declared = declared

    def run(self) -> None:
        """Live through every day; a server that is down is one that nobody listens for."""
        app = with_faults(statcan_app(self.publisher.tables, self.clock), seed=self.publisher.seed)
        with ExitStack() as server:
            served = server.enter_context(serve(app))
            fault = {"kind": "status", "status": 503, "times": -1, "chance": FAILING, "path": "/t1"}
            httpx.post(f"{served.url}/_sandbox/faults", json=fault).raise_for_status()
            httpx.post(f"{served.url}/_sandbox/faults", json=fault | {"path": "/n1"}).raise_for_status()
            with self._platform(served.url) as self.platform:
                self._explicit = datasets.load(self.declared)
                for day in self.publisher.days:
                    if day in self.publisher.outages:
                        server.close()
                    elif day - timedelta(days=1) in self.publisher.outages:
                        server.enter_context(serve(app, served.port))
                    self._live(day)

    def _platform(self, url: str) -> Platform:
        settings = Settings(
            datasets=self.declared,
            families=("statcan-tables",),
            origins={REAL_HOST: url},
            requests_per_s=100_000,
            portal_dir=self.folder / "portal",
            portal_url="http://127.0.0.1:1/",
            work_dir=self.folder / "work",
        )
        platform = Platform(settings, SourceSettings(statcan_lock=True, clock=self._now))
        # Short waits: what fails twice is tried again by the next sweep.
        platform.web = Web(origins=settings.origins, per_host_per_s=100_000, attempts=2, first_wait_s=0.001, timeout_s=20)
        return platform

    def _now(self) -> datetime:
        return self.clock.now().astimezone(UTC)

    def _live(self, day: date) -> None:
        moments = [*((t, self._sweep) for t in SWEEPS), *((t, self._refresh) for t in LISTS), (RECHECK, self._recheck)]
        for when, act in sorted(moments, key=lambda m: m[0]):
            self.clock.set(at(day, when))
            act()

    def _refresh(self) -> None:
        try:
            refresh_families(self.platform, self._now())
        except D4CError as error:
            self.trouble[type(error).__name__] += 1
            return
        # What a new tick would read anew.
        self.platform.__dict__.pop("sources", None)
        [family] = self.platform.families.values()
        expansion = datasets.Expansion(family, self.platform.listing(family), self._explicit.values())
        self.platform.__dict__["datasets"] = Datasets(self._explicit, [expansion])

    def _recheck(self) -> None:
        try:
            found = recheck(self.platform, self._now())
        except D4CError as error:
            self.trouble[type(error).__name__] += 1
            return
        self.trouble["failed rechecks"] += len(found.failures)

    def _sweep(self) -> None:
        self.sweeps += 1
        found = notice(self.platform, self._now(), budget_s=60)
        self.trouble["failed looks"] += len(found.failures)
        for missing in outstanding(self.platform).missing:
            assert missing.stretch is Stretch.BUILD
            self._archive(missing.version_id)

    def _archive(self, version_id: str) -> None:
        """What the build does with a release, as far as its content decides; what is archived counts as published."""
        try:
            release = archive_release(self.platform, version_id)
        except D4CError as error:
            self.trouble[f"archive: {type(error).__name__}"] += 1
            return
        if isinstance(release, Withdrawal):
            return
        self.platform.records.write(Copies(version_id=version_id, place="portal", copies=()))
        self.platform.records.write(Item(version_id=version_id, item={}))
        product_id = release.hint["product_id"]
        self.seen[product_id].append(Seen(version_id, release.released_at, self._content(release), self._now()))

    def _content(self, release: Release) -> str:
        """The published value in the archived English zip."""
        [english] = [f for f in release.files if f.name.endswith("-eng.zip")]
        with zipfile.ZipFile(BytesIO(self.platform.portal.store.read(english.key))) as packed:
            last = packed.read(f"{release.hint['product_id']}.csv").decode("utf-8-sig").splitlines()[-1]
        return last.rpartition(",")[2].strip('"')


def check(quarter: Quarter) -> Counter[str]:
    """Every true release exactly once, and no false one. Returns what there was, for a person."""
    counts = Counter(quarter.publisher.happened)
    for product_id, truths in quarter.publisher.truths.items():
        seen = quarter.seen[product_id]
        _no_false(product_id, truths, seen)
        _no_lost(product_id, truths, seen, quarter, counts)
        counts["published"] += len(seen)
    _ledger_is_clean(quarter, counts)
    return counts


def _no_false(product_id: str, truths: list[Truth], seen: list[Seen]) -> None:
    states = Counter((t.released_at, t.content) for t in truths)
    published = Counter((s.released_at, s.content) for s in seen)
    assert not published - states, f"{product_id}: published what never was, or twice: {published - states}"
    in_order = sorted(seen, key=lambda s: naming.order_key(s.version_id))
    assert [s.version_id for s in in_order] == [s.version_id for s in seen], f"{product_id}: published out of order"
    for before, after in pairwise(in_order):
        assert before.content != after.content, f"{product_id}: {after.version_id} changes nothing"
    for version in seen:
        vintage = f"{version.released_at.astimezone(EASTERN):%Y-%m-%d}"
        assert naming.parse(version.version_id).date == vintage, f"{product_id}: {version} has another date"


def _no_lost(product_id: str, truths: list[Truth], seen: list[Seen], quarter: Quarter, counts: Counter[str]) -> None:
    published = {(s.released_at, s.content) for s in seen}
    end = at(quarter.publisher.days[-1], time(23, 59))
    was = None
    for state, following in zip(truths, [*truths[1:], None], strict=True):
        until = following.since if following is not None else end
        changes = state.content != was
        if (state.released_at, state.content) in published:
            was = state.content
            continue
        if not changes:
            continue
        # It was replaced before anyone could have seen it, or the installation has lost a release.
        lost = _had_a_chance(state, until, quarter)
        assert not lost, f"{product_id}: {state} was served until {until}, and lost; seen: {seen}"
        counts[f"{'announced' if state.announced else 'silent'}, replaced before anyone could see it"] += 1
    assert seen, f"{product_id}: nothing was ever published"
    assert seen[-1].content == truths[-1].content, f"{product_id}: the newest content is {truths[-1]}, published is {seen[-1]}"


def _had_a_chance(state: Truth, until: datetime, quarter: Quarter) -> bool:
    """Whether so many looks worked while it was served that missing it is a fault, and not one request in twenty."""
    first = max(state.since, at(START + timedelta(days=1), time(0, 0)))  # on its first day an installation has no list yet
    days = [first.date() + timedelta(days=n) for n in range((until.date() - first.date()).days + 1)]
    working = [d for d in days if d not in quarter.publisher.outages]
    if state.announced:
        sweeps = [at(d, when) for d in working for when in SWEEPS if when > time(8, 30)]
        return sum(first < sweep < until for sweep in sweeps) >= LOOKS
    # A turn comes on every RECHECK_DAYS-th day, or on the first after an outage; a look that fails comes again the next day.
    return sum(first < at(d, RECHECK) < until for d in working) >= TURNS


def _ledger_is_clean(quarter: Quarter, counts: Counter[str]) -> None:
    """Whatever was noticed and not published was withdrawn for a reason that is true."""
    records = quarter.platform.records
    ledger = records.ledger()
    published = {s.version_id for seen in quarter.seen.values() for s in seen}
    for dataset_id in ledger.datasets():
        truths = quarter.publisher.truths[dataset_id.rpartition("_")[2]]
        announced = {t.released_at for t in truths if t.announced}
        for candidate in ledger.candidates(dataset_id):
            assert candidate.released_at.astimezone(EASTERN) in announced
            if candidate.version_id in published:
                continue
            withdrawn = records.read(Withdrawal, candidate.version_id)
            assert withdrawn is not None, f"{candidate.version_id} is left over"
            same = withdrawn.same_as is not None
            counts["withdrawn as equal" if same else "withdrawn as replaced"] += 1
            assert not (same and candidate.hint["signal"] == "files"), f"{candidate.version_id}: a re-stamp became a release"
