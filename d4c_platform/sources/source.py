"""What every kind of source answers: is there a release we have not seen, and which files is it made of?

A source looks and names; it never stores. Noticing is cheap (one list, one HEAD) and proves nothing: it starts a look. What
a release really is, the archived bytes say (archive). A kind of source is one module with one class of this protocol and
one line in `registry`.

Not here: version ids (detection), fetching and checking bytes (archive, receipt).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol, Self
from zoneinfo import ZoneInfo

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.listing import Listing
from d4c_platform.model.records import Candidate
from d4c_platform.web import Web

FILES_AT_ONCE = 3
"""Of one release: what one visitor may ask of a public server, and how many files lie on the local disk at the same time."""

WDS = "https://www150.statcan.gc.ca/t1/wds/rest/"

EASTERN = ZoneInfo("America/Toronto")
"""Where the publishers we watch release: Statistics Canada by rule, the others because their files say no zone at all."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def utc_key(moment: datetime) -> str:
    """A moment as the part of a release key: fixed width, so that keys sort by time, and safe in an object key."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def key_time(key: str) -> datetime:
    """The moment that a key begins with."""
    return datetime.strptime(key[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def eastern_date(moment: datetime) -> date:
    return moment.astimezone(EASTERN).date()


class Superseded(PermanentFailure):
    """The publisher no longer serves this release: it was replaced before it was archived.

    Its bytes are gone for us. Archiving what is there now under the old release's name would be a lie; the newer
    release is noticed on its own.
    """


class OtherState(Superseded):
    """What is served is not the state that was noticed, and nothing says which of the two is newer.

    The publisher may have replaced the file, or two servers behind one name disagree. The ledger decides (archive): the
    release is superseded only when a newer one has been noticed.
    """


class Expect(StrEnum):
    """What a file has to be when it arrives."""

    ZIP = "zip"
    JSON = "json"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Noticed:
    """A release that a publisher's signal points at.

    Attributes:
        key: names the release; a function of the publisher's answer alone, so that everyone who notices agrees.
        released_at: UTC.
        vintage_time: the release's date where the publisher is.
        hint: what the signal said.
    """

    key: str
    released_at: datetime
    vintage_time: date
    hint: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A small document of the publisher's API that the source has already read, in canonical form."""

    body: bytes
    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """One file of a release.

    Attributes:
        name: its file name in the archive, one of its own in the release.
        url: the declared URL, never a stand-in's.
        expect: what has to arrive.
        optional: a 404 means that the publisher does not offer it, and the release is whole without it.
        in_content: whether it counts when two releases are compared; a document that tells the release time does not.
        sha256: what its bytes must be, when the release was noticed by them.
        answer: the document itself, when it is no file to be fetched.
        harvest: writes the file to the stream it is given, when it takes many requests to read (a layer, page by page), in a
            canonical form: the same content gives the same bytes. Returns the status and headers of its last answer; its
            `body` is empty. Raises `OtherState` when the content changed meanwhile: it is then called again, from the start.
        accept: asked with the headers of each answer before its body is read; raises `OtherState` when they belong to
            another state of the file. It costs no request of its own, and it speaks of these very bytes.
        absent: why there is nothing to fetch, when the publisher has already said so of an optional file.
        content: hashes what a received file says, when the same content comes as other bytes each time (an export whose rows
            have no order). It reads the file once in bounded memory, and raises when the file is not whole.
    """

    name: str
    url: str
    expect: Expect = Expect.ANY
    optional: bool = False
    in_content: bool = True
    sha256: str | None = None
    answer: Answer | None = None
    harvest: Callable[[BinaryIO], Answer] | None = None
    accept: Callable[[Mapping[str, str]], None] | None = None
    absent: str = ""
    content: Callable[[Path], str] | None = None


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What may differ between installations; the defaults are the real services.

    Attributes:
        wds: base URL of Statistics Canada's Web Data Service.
        catch_up_days: most days of the changed-cube list to walk before asking each table itself.
        statcan_lock: whether nothing is fetched while Statistics Canada rebuilds its files (00:00 to 08:30 Eastern). None:
            only at the real service, because a stand-in has a clock of its own.
        remember: whether what cannot have changed is kept from sweep to sweep in this process. None: only at the real
            service, because a stand-in's past can change.
        clock: the time in UTC.
        listing: Statistics Canada's list of all tables as it was read last, when this installation reads it.
    """

    wds: str = WDS
    catch_up_days: int = 31
    statcan_lock: bool | None = None
    remember: bool | None = None
    clock: Callable[[], datetime] = field(default=utc_now)
    listing: Listing | None = None


class Offer(Protocol):
    """What is asked of a publisher about one release while it is archived."""

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        """The files the release is made of, as the publisher serves them now.

        Raises:
            Superseded, TransientFailure: as `confirm`.
        """
        ...

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Ask whether the publisher still serves this very release; asked again after each file, before it is stored.

        Raises:
            Superseded: a newer one has taken its place.
            TransientFailure: it is not out yet, or just being published.
        """
        ...


class Source(Offer, Protocol):
    """One kind of source. One instance serves all datasets of its kind during a sweep, so it may share what it read.

    A kind may say with `at_once: ClassVar[int]` how many files of a release its servers bear at once, instead of
    `FILES_AT_ONCE`. It is itself never asked by two threads at a time, and neither are the harvests of its files; only the
    `accept` of its files may be.
    """

    kind: ClassVar[str]

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        """A client for one sweep or one archive."""
        ...

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """Releases that are out and not among the seen ones, oldest first.

        Only what can still be fetched: a publisher that keeps one state serves one release. A release under the key of a
        seen one says that the publisher put that one back; detection decides whether it counts.

        Args:
            since: when to look from; None for a dataset that was never seen.
            seen: everything noticed before.
            now: UTC.
        """
        ...
