"""Statistics Canada's Web Data Service: the few methods we need, with its answers made plain.

The service answers failures with HTTP 200, wraps most answers in an envelope, and gives Eastern times without saying so.

Not here: what to do with a release (statcan).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeVar

import httpx

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.sources.documents import json_of
from d4c_platform.sources.source import EASTERN, WDS
from d4c_platform.web import HttpRefusal, TooLong, Web

WHERE = "statcan"
OK = 0
INVALID_DATE = 1
PUBLISHING = 6
PASSING_CODES = frozenset({3, PUBLISHING})  # request failed; cube is currently being published: both can pass

BATCH = 50  # tables whose metadata is asked for at once: some have thousands of members
LIST_BYTES = 64 << 20  # of the list of all tables: 8 MB for 8,000

REPORT = "If it stays so the service has changed: compare its answer with its user guide and adapt `sources.wds`"

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChangedCube:
    """One table that a day released."""

    product_id: str
    released_at: datetime


@dataclass(frozen=True, slots=True)
class ChangedCubeList:
    """What a day released.

    Attributes:
        complete: whether every entry could be read; the others are left out and have to be asked for again.
    """

    cubes: list[ChangedCube]
    complete: bool


class NotYet(TransientFailure):
    """Asked before the day's release is out."""


class Failed(PermanentFailure):
    """The service answered `FAILED` with a code that trying again does not change."""

    def __init__(self, what: str, *, code: int | None, **facts: str | None) -> None:
        super().__init__(what, **facts)
        self.code = code


class StatCan:
    """The few methods of the Web Data Service that we need."""

    def __init__(self, web: Web, wds: str = WDS) -> None:
        self._web, self._wds = web, wds.rstrip("/")

    @property
    def base(self) -> str:
        """The URL that is really asked: the service's, or its stand-in's."""
        return self._web.route(self._wds)

    def changed_cubes(self, day: date) -> list[ChangedCube]:
        """The tables released on a day, as far as they could be read."""
        return self.changed_cube_list(day).cubes

    def changed_cube_list(self, day: date) -> ChangedCubeList:
        """The tables released on a day; none on weekends and holidays.

        An entry that the service itself reports as failed or still being published is left out and logged: its day is
        looked at again, because a day stays open until something of it was seen.
        """
        path = f"getChangedCubeList/{day}"
        cubes: list[ChangedCube] = []
        complete = True
        for item in _object(self._document(path), list, file=path):
            listed = item if isinstance(item, dict) else {}
            product_id, released = listed.get("productId"), listed.get("releaseTime")
            if product_id and released and listed.get("responseStatusCode", OK) == OK:
                cubes.append(ChangedCube(str(product_id), eastern_to_utc(released)))
            else:
                complete = False
                log.info("statcan: %s: left out for now: %s", day, item)
        return ChangedCubeList(cubes, complete)

    def metadata(self, product_id: str) -> dict[str, Any]:
        """The table's metadata object.

        Raises:
            TransientFailure: the table is just being published, or the service could not answer.
            PermanentFailure: there is no such table.
        """
        return self.metadata_answer(product_id)[0]

    def metadata_answer(self, product_id: str) -> tuple[dict[str, Any], httpx.Response]:
        """The metadata object with the answer it came in, for its provenance."""
        response = self._ask("POST", "getCubeMetadata", retry=True, json=[{"productId": int(product_id)}])
        items = json_of(response, self.url("getCubeMetadata"), WHERE)
        item = items[0] if isinstance(items, list) and items else items
        return _object(item, dict, file=product_id), response

    def metadata_of(self, product_ids: Sequence[str]) -> dict[str, dict[str, Any] | D4CError]:
        """Many tables' metadata objects in few requests; a table that cannot be read has its failure instead.

        Raises:
            TransientFailure: the service could not answer at all.
        """
        found: dict[str, dict[str, Any] | D4CError] = {}
        ahead = [list(product_ids[i : i + BATCH]) for i in range(0, len(product_ids), BATCH)]
        while ahead:
            batch = ahead.pop(0)
            try:
                found |= self._batch(batch)
            except TooLong as error:
                # A table can have thousands of members, and an answer has a limit: ask for fewer at once.
                half = len(batch) // 2
                ahead[:0] = [batch[:half], batch[half:]] if half else []
                found |= {} if half else {batch[0]: error}
        return found

    def _batch(self, product_ids: list[str]) -> dict[str, dict[str, Any] | D4CError]:
        asked = [{"productId": int(p)} for p in product_ids]
        items = json_of(self._ask("POST", "getCubeMetadata", retry=True, json=asked), self.url("getCubeMetadata"), WHERE)
        if not isinstance(items, list) or len(items) != len(product_ids):
            raise TransientFailure(f"{len(product_ids)} tables were asked for, and the answer is another list", where=WHERE)
        found: dict[str, dict[str, Any] | D4CError] = {}
        for product_id, item in zip(product_ids, items, strict=True):
            try:
                found[product_id] = _object(item, dict, file=product_id)
            except D4CError as error:
                found[product_id] = error
                continue
            if str(found[product_id].get("productId", product_id)) != product_id:  # type: ignore[union-attr]
                raise TransientFailure("the answers come in another order than the questions", where=WHERE, remedy=REPORT)
        return found

    def all_cubes(self) -> list[dict[str, Any]]:
        """Every table the service has, as its short list says it. Its times are UTC, unlike those of all other answers."""
        path = "getAllCubesListLite"
        answer = json_of(self._ask("GET", path, limit_bytes=LIST_BYTES), self.url(path), WHERE)
        if not isinstance(answer, list) or not all(isinstance(cube, dict) for cube in answer):
            raise PermanentFailure("the answer is not a bare list of tables", where=WHERE, file=path, remedy=REPORT)
        return answer

    def words(self) -> dict[str, tuple[str, str]]:
        """What codes mean: `frequency.<code>` and `subject.<code>` to the English and the French words."""
        sets = _object(self._document("getCodeSets"), dict, file="getCodeSets")
        found: dict[str, tuple[str, str]] = {}
        for kind, code, stem in (("frequency", "frequencyCode", "frequencyDesc"), ("subject", "subjectCode", "subject")):
            for entry in sets.get(kind) or ():
                english, french = entry.get(f"{stem}En"), entry.get(f"{stem}Fr")
                if entry.get(code) is not None and english and french:
                    found[f"{kind}.{entry[code]}"] = (str(english).strip(), str(french).strip())
        return found

    def full_table_url(self, product_id: str, lang: Literal["en", "fr"]) -> str:
        """Where the full-table CSV zip lies."""
        path = f"getFullTableDownloadCSV/{product_id}/{lang}"
        return _object(self._document(path), str, file=path)

    def url(self, method: str) -> str:
        return f"{self._wds}/{method}"

    def _document(self, path: str) -> Any:
        return json_of(self._ask("GET", path), self.url(path), WHERE)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._web.request(method, self.url(path), where=WHERE, **options)
        except HttpRefusal as refusal:
            if refusal.status == 409:
                remedy = "It is asked again after 08:30 Eastern"
                raise NotYet("the day's release is not out yet (409)", where=WHERE, file=path, remedy=remedy) from refusal
            raise


def eastern_to_utc(text: str) -> datetime:
    """A time of the service in UTC. Without a zone it is Eastern, whatever the season.

    Raises:
        PermanentFailure: it is no time.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=EASTERN)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise PermanentFailure(f"the release time {text!r} is no ISO 8601 time", where=WHERE, remedy=REPORT) from error


def _object(answer: Any, kind: type[T], *, file: str) -> T:
    """What a `{"status", "object"}` envelope carries; failures come with HTTP 200."""
    content = answer.get("object") if isinstance(answer, dict) else None
    code = content.get("responseStatusCode", OK) if isinstance(content, dict) else OK
    if not isinstance(answer, dict) or answer.get("status") != "SUCCESS" or code != OK:
        raise _failed(code, content if isinstance(content, str) else "", file)
    if not isinstance(content, kind):
        found = type(content).__name__
        raise PermanentFailure(f"the answer carries {found} instead of {kind.__name__}", where=WHERE, file=file, remedy=REPORT)
    return content


def _failed(code: object, words: str, file: str) -> D4CError:
    if isinstance(code, int) and code in PASSING_CODES:
        why = "is being published just now" if code == PUBLISHING else "could not be served"
        return TransientFailure(f"{why} (code {code})", where=WHERE, file=file, remedy="It is tried again on the next run")
    said = f": {words}" if words else ""
    return Failed(
        f"the service answered FAILED (code {code}){said}",
        code=code if isinstance(code, int) else None,
        where=WHERE,
        file=file,
        remedy="Check the product id of the declaration against Statistics Canada's table list",
    )
