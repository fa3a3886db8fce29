"""An Opendatasoft portal: the Explore API v2.1 over datasets that a test may change.

What a client can trip over is reproduced: exports in another order every time, exports that end early without a broken
connection or leave records out, metadata that everybody may read of records that nobody may, `modified` that moves with the
description, CSV with semicolons and a byte order mark, pages that stop at 10,000 records, and a quota of calls: its headers on
every answer, its end as 429 with the time of the reset.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from d4c_platform.sandbox.faults import App

V21 = "/api/explore/v2.1/catalog/datasets/{dataset}"
MOST_LIMIT, MOST_REACHED = 100, 10_000
MEDIA_TYPES = {
    "geojson": "application/geo+json",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
CALLS_A_DAY = 10_000


@dataclass(slots=True)
class OdsDataset:
    """One dataset.

    Attributes:
        records: fields by name; `geo_shape` holds a GeoJSON geometry.
        public: whether its records are for everybody; its metadata always is.
        cut_after: the export ends in the middle of the record after so many.
        shows: the export has only so many records, and ends as if these were all.
    """

    id: str
    records: list[dict[str, Any]]
    data_processed: str = "2025-06-11T06:02:03.456000+00:00"
    modified: str = "2025-06-11T06:02:03+00:00"
    title: str = "Local area boundary"
    public: bool = True
    cut_after: int | None = None
    shows: int | None = None


@dataclass(slots=True)
class OdsPortal:
    """A portal's datasets and its quota. Changed in place, it is served changed.

    Attributes:
        resets_at: when the calls that are left are as many as ever again; None for the next midnight in UTC.
    """

    datasets: dict[str, OdsDataset] = field(default_factory=dict)
    calls_left: int = CALLS_A_DAY
    resets_at: datetime | None = None
    calls: int = 0

    @property
    def reset(self) -> datetime:
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        return self.resets_at or datetime.combine(tomorrow, datetime.min.time(), UTC)

    def add(self, dataset: OdsDataset) -> OdsDataset:
        self.datasets[dataset.id] = dataset
        return dataset


def opendatasoft_app(portal: OdsPortal) -> Starlette:
    """The portal's API."""

    async def about(request: Request) -> App:
        return _counted(portal, request, lambda dataset: JSONResponse(_described(dataset)))

    async def records(request: Request) -> App:
        return _counted(portal, request, lambda dataset: _page(dataset, request))

    async def export(request: Request) -> App:
        return _counted(portal, request, lambda dataset: _export(dataset, request, portal.calls))

    async def gone(request: Request) -> App:
        return _error(410, "GoneError", "This endpoint has been removed")

    return Starlette(
        routes=[
            Route(V21, about),
            Route(f"{V21}/records", records),
            Route(f"{V21}/exports/{{form}}", export),
            Route(f"{V21}/aggregates", gone),
        ]
    )


def _counted(portal: OdsPortal, request: Request, answer: Any) -> Response:
    """One call of the quota, whatever it costs the portal."""
    portal.calls += 1
    reset = portal.reset
    spent = portal.calls_left <= 0
    portal.calls_left = max(0, portal.calls_left - 1)
    if spent:
        words = "Too many requests on the domain. Please contact the domain administrator."
        about = {"call_limit": CALLS_A_DAY, "limit_time_unit": "day", "reset_time": reset.isoformat().replace("+00:00", "Z")}
        response: Response = JSONResponse({"errorcode": 10002, "error": words, **about}, status_code=429)
    else:
        dataset = portal.datasets.get(request.path_params["dataset"])
        if dataset is None:
            response = _error(404, "DatasetNotFoundError", "The requested dataset does not exist.")
        else:
            response = answer(dataset)
    response.headers["X-RateLimit-Limit"] = str(CALLS_A_DAY)
    response.headers["X-RateLimit-Remaining"] = str(portal.calls_left)
    response.headers["X-RateLimit-Reset"] = str(reset)  # "2025-06-12 00:00:00+00:00", though documented as an epoch
    return response


def _described(dataset: OdsDataset) -> dict[str, Any]:
    names = list(dataset.records[0]) if dataset.records else []
    return {
        "dataset_id": dataset.id,
        "dataset_uid": f"da_{dataset.id}",
        "has_records": True,
        "data_visible": dataset.public,
        "features": ["geo"],
        "attachments": [],
        "fields": [{"name": n, "type": "geo_shape" if n == "geo_shape" else "text", "label": n} for n in names],
        "metas": {
            "default": {
                "title": dataset.title,
                "modified": dataset.modified,
                "modified_updates_on_metadata_change": True,
                "modified_updates_on_data_change": True,
                "data_processed": dataset.data_processed,
                "metadata_processed": dataset.modified,
                "records_count": len(dataset.records),
                "publisher": "City",
                "language": "en",
            }
        },
    }


def _page(dataset: OdsDataset, request: Request) -> Response:
    limit, offset = (int(request.query_params.get(name, default)) for name, default in (("limit", 10), ("offset", 0)))
    if limit > MOST_LIMIT or limit + offset > MOST_REACHED:
        return _error(
            400, "InvalidRESTParameterError", f"limit is at most {MOST_LIMIT}, offset + limit at most {MOST_REACHED}."
        )
    if not dataset.public:
        return _error(403, "ForbiddenAccess", "You don't have access to this dataset.")
    return JSONResponse({"total_count": len(dataset.records), "results": dataset.records[offset : offset + limit]})


def _export(dataset: OdsDataset, request: Request, call: int) -> Response:
    form = request.path_params["form"]
    if form not in MEDIA_TYPES:
        return _error(400, "InvalidRESTParameterError", f"Unknown export format: {form}.")
    records = list(dataset.records) if dataset.public else []
    random.Random(call).shuffle(records)
    shown = records[: dataset.shows]
    if form == "parquet":
        parts = iter([_parquet(shown)])
    else:
        parts = _geojson(shown) if form == "geojson" else _csv(shown, request.query_params.get("delimiter", ";"))
    body = _cut(list(parts), dataset.cut_after) if dataset.cut_after is not None else parts
    return StreamingResponse(_streamed(body), media_type=MEDIA_TYPES[form])


def _geojson(records: list[dict[str, Any]]) -> Iterator[bytes]:
    yield b'{"type": "FeatureCollection", "features": ['
    for number, record in enumerate(records):
        properties = {name: value for name, value in record.items() if name != "geo_shape"}
        feature = {"type": "Feature", "geometry": record.get("geo_shape"), "properties": properties}
        yield (b", " if number else b"") + json.dumps(feature, ensure_ascii=False).encode()
    yield b"]}"


def _csv(records: list[dict[str, Any]], delimiter: str) -> Iterator[bytes]:
    names = list(records[0]) if records else ["name"]
    yield b"\xef\xbb\xbf" + _line(names, delimiter)
    for record in records:
        yield _line([json.dumps(v) if isinstance(v, dict) else v for v in record.values()], delimiter)


def _line(values: list[Any], delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerow(values)
    return out.getvalue().encode()


def _parquet(records: list[dict[str, Any]]) -> bytes:
    rows = [{n: json.dumps(v) if isinstance(v, dict) else v for n, v in record.items()} for record in records]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def _cut(parts: list[bytes], records: int) -> Iterator[bytes]:
    """The head, so many records, and half of what follows."""
    yield from parts[: records + 1]
    rest = b"".join(parts[records + 1 :]) or parts[0]
    yield rest[: len(rest) // 2]


async def _streamed(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error_code": code, "message": message}, status_code=status)
