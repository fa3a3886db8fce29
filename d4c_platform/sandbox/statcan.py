"""Statistics Canada's Web Data Service and its full-table downloads, over the releases of a folder.

What a client can trip over is reproduced: Eastern times without a zone in one answer and UTC in another, failures of single
items inside an HTTP 200, code 6 while a table is being published, 409 before the day's release, 415 and 406 for requests of
the wrong shape, product ids as text here and as numbers there, and download links that point at the real host.

The sandbox's clock decides what is out:

    GET  /_sandbox/clock   {"now", "eastern", "fixed", "next_release"}
    POST /_sandbox/clock   {"now": "2022-02-09T09:00"}: ISO 8601, Eastern without a zone; null for the machine's clock
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from d4c_platform.sandbox.clock import EASTERN, Clock, instant
from d4c_platform.sandbox.faults import App
from d4c_platform.sandbox.ranged import FileAnswer
from d4c_platform.sandbox.recorded import table_releases

REAL_HOST = "https://www150.statcan.gc.ca"
WDS = "/t1/wds/rest"
RELEASE_HOUR = time(8, 30)  # Eastern, every business day
LANGUAGE_SUFFIX = {"en": "eng", "fr": "fra"}

# What the list of cubes says of one in the same words as its metadata.
LISTED = (
    "cansimId",
    "cubeTitleEn",
    "cubeTitleFr",
    "cubeStartDate",
    "cubeEndDate",
    "subjectCode",
    "surveyCode",
    "frequencyCode",
)
FREQUENCIES = {
    1: ("Daily", "Quotidienne"),
    6: ("Monthly", "Mensuelle"),
    9: ("Quarterly", "Trimestrielle"),
    12: ("Annual", "Annuelle"),
}
SUBJECTS = {
    "10": ("Government", "Gouvernement"),
    "14": ("Labour", "Travail"),
    "18": ("Prices and price indexes", "Prix et indices des prix"),
    "33": ("Business performance and ownership", "Rendement des entreprises et appartenance"),
}
OK, INVALID_DATE, INVALID_PRODUCT, PUBLISHING = 0, 1, 5, 6  # responseStatusCode


class AnyRelease(Protocol):
    """One release of a table, of which the service tells and whose files it serves."""

    @property
    def product_id(self) -> str: ...

    @property
    def released_at(self) -> datetime: ...

    @property
    def zips(self) -> Mapping[str, Path]: ...

    def metadata(self) -> dict[str, Any]: ...


class StatCan:
    """The service, over a folder of releases and a clock. The folder is read again for every request.

    Args:
        releases: the folder, or made-up tables (tables).
    """

    def __init__(self, releases: Path | Callable[[], Sequence[AnyRelease]], clock: Clock) -> None:
        self._releases: Callable[[], Sequence[AnyRelease]] = (
            partial(table_releases, releases) if isinstance(releases, Path) else releases
        )
        self._clock = clock

    def out(self) -> dict[str, AnyRelease]:
        """The newest published release of every table that has one."""
        now = self._clock.now()
        return {r.product_id: r for r in self._releases() if r.released_at <= now}

    def being_published(self) -> set[str]:
        """Tables that come out later today: they are locked from midnight until their release."""
        now = self._clock.now()
        return {r.product_id for r in self._releases() if now < r.released_at and r.released_at.date() == now.date()}

    def released_on(self, day: date) -> list[AnyRelease]:
        now = self._clock.now()
        return [r for r in self._releases() if r.released_at.date() == day and r.released_at <= now]

    async def changed_cubes(self, request: Request) -> App:
        try:
            day = date.fromisoformat(request.path_params["date"])
        except ValueError:
            return _failed(INVALID_DATE)
        return _succeeded(
            [
                {"responseStatusCode": OK, "productId": int(r.product_id), "releaseTime": _eastern(r.released_at)}
                for r in self.released_on(day)
            ]
        )

    async def changed_series(self, request: Request) -> App:
        now = self._clock.now()
        if now.time() < RELEASE_HOUR:
            return JSONResponse({"message": "Today's release is not out yet."}, status_code=409)
        today = self.released_on(now.date())
        return _succeeded(await anyio.to_thread.run_sync(lambda: [s for r in today for s in _series(r)]))

    async def cube_metadata(self, request: Request) -> App:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return JSONResponse({"status": 415, "error": "Unsupported Media Type"}, status_code=415)
        try:
            asked = await request.json()
        except ValueError:
            return JSONResponse({"status": 400, "error": "Bad Request"}, status_code=400)
        if not isinstance(asked, list):
            return JSONResponse({"status": 406, "error": "Not Acceptable"}, status_code=406)
        out, locked = self.out(), self.being_published()
        return JSONResponse([_metadata_item(item, out, locked) for item in asked])

    async def full_table_csv(self, request: Request) -> App:
        product_id, language = request.path_params["product_id"], request.path_params["language"]
        if product_id in self.being_published():
            return _failed(PUBLISHING, product_id)
        if product_id not in self.out() or language not in LANGUAGE_SUFFIX:
            return _failed(INVALID_PRODUCT, product_id, status=404)
        return _succeeded(f"{REAL_HOST}/n1/tbl/csv/{product_id}-{LANGUAGE_SUFFIX[language]}.zip")

    async def all_cubes(self, request: Request) -> App:
        """A bare array, and in UTC: the one answer of the service that differs in both."""
        return JSONResponse([_listed(r) for _, r in sorted(self.out().items())])

    async def code_sets(self, request: Request) -> App:
        """The few code lists that the sandbox's tables use."""
        return _succeeded(
            {
                "frequency": [
                    {"frequencyCode": code, "frequencyDescEn": en, "frequencyDescFr": fr}
                    for code, (en, fr) in FREQUENCIES.items()
                ],
                "subject": [{"subjectCode": code, "subjectEn": en, "subjectFr": fr} for code, (en, fr) in SUBJECTS.items()],
            }
        )

    async def zip_file(self, request: Request) -> App:
        product_id, _, language = request.path_params["stem"].partition("-")
        release = self.out().get(product_id)
        missing = PlainTextResponse("Not Found", status_code=404)
        file = release.zips.get(language) if release else None
        return missing if file is None else FileAnswer(file, missing=missing)

    async def clock(self, request: Request) -> App:
        if request.method == "POST":
            try:
                text = (await request.json())["now"]
                self._clock.set(None if text is None else instant(text))
            except (ValueError, KeyError, TypeError) as error:
                return JSONResponse({"message": f"not a time: {error}"}, status_code=400)
        now = self._clock.now()
        later = [r.released_at for r in self._releases() if r.released_at > now]
        return JSONResponse(
            {
                "now": now.astimezone(UTC).isoformat(),
                "eastern": now.isoformat(),
                "fixed": self._clock.fixed,
                "next_release": later[0].isoformat() if later else None,
            }
        )


def statcan_app(releases: Path | Callable[[], Sequence[AnyRelease]], clock: Clock) -> Starlette:
    """The Web Data Service, the downloads and the clock, as one app."""
    service = StatCan(releases, clock)
    return Starlette(
        routes=[
            Route(f"{WDS}/getChangedCubeList/{{date}}", service.changed_cubes),
            Route(f"{WDS}/getChangedSeriesList", service.changed_series),
            Route(f"{WDS}/getCubeMetadata", service.cube_metadata, methods=["POST"]),
            Route(f"{WDS}/getFullTableDownloadCSV/{{product_id}}/{{language}}", service.full_table_csv),
            Route(f"{WDS}/getAllCubesListLite", service.all_cubes),
            Route(f"{WDS}/getCodeSets", service.code_sets),
            Route("/n1/tbl/csv/{stem}.zip", service.zip_file, methods=["GET", "HEAD"]),
            Route("/_sandbox/clock", service.clock, methods=["GET", "POST"]),
        ]
    )


def _metadata_item(item: Any, out: dict[str, AnyRelease], locked: set[str]) -> dict[str, Any]:
    product_id = str(item.get("productId", "")) if isinstance(item, dict) else ""
    if product_id in locked:
        return {"status": "FAILED", "object": {"responseStatusCode": PUBLISHING, "productId": product_id}}
    if product_id not in out:
        return {"status": "FAILED", "object": {"responseStatusCode": INVALID_PRODUCT, "productId": product_id}}
    return {"status": "SUCCESS", "object": out[product_id].metadata()}


def _listed(release: AnyRelease) -> dict[str, Any]:
    known = release.metadata()
    return {
        "productId": int(release.product_id),
        **{k: known.get(k) for k in LISTED},
        "releaseTime": release.released_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "archived": known.get("archiveStatusCode"),
        "corrections": [],
    }


def _series(release: AnyRelease) -> Iterator[dict[str, Any]]:
    """The release's series, read from its rows; by columns' places, since their names depend on the language."""
    seen: set[str] = set()
    language, file = next(iter(release.zips.items()), ("eng", None))
    if file is None:
        return
    with zipfile.ZipFile(file) as packed, packed.open(f"{release.product_id}.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), delimiter="," if language == "eng" else ";")
        next(rows, None)
        for row in rows:
            vector, coordinate = row[-7], row[-6]
            if vector not in seen:
                seen.add(vector)
                padded = ".".join((coordinate.split(".") + ["0"] * 10)[:10])  # the service pads what the files do not
                yield {
                    "responseStatusCode": OK,
                    "vectorId": int(vector.removeprefix("v")),
                    "productId": int(release.product_id),
                    "coordinate": padded,
                    "releaseTime": _eastern(release.released_at),
                }


def _eastern(at: datetime) -> str:
    return at.astimezone(EASTERN).strftime("%Y-%m-%dT%H:%M")


def _succeeded(thing: Any) -> JSONResponse:
    return JSONResponse({"status": "SUCCESS", "object": thing})


def _failed(code: int, product_id: str | None = None, *, status: int = 200) -> JSONResponse:
    about = {"responseStatusCode": code} | ({"productId": product_id} if product_id else {})
    return JSONResponse({"status": "FAILED", "object": about}, status_code=status)
