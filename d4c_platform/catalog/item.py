"""What a version is, as the immutable part of its STAC 1.1 item. Pure.

Everything here is known once a version stands on the portal, and never changes after. What comes later – mirrors, DOI,
torrent, a successor – is joined by `fold` when the catalog is published.

Not here: `proj:bbox`. It would have to be in the data's own CRS, and the artifact's record has WGS 84 bounds only; so it is
given where the two are the same, and left out elsewhere instead of guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from d4c_platform.catalog.vocabulary import DATA_ROLES, EXTENSIONS, OTHER_ROLES, PORTAL, SOFTWARE, STAC_VERSION, multihash
from d4c_platform.catalog.wkb import bounds, rectangle
from d4c_platform.model.dataset import Dataset, FixedVintage
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Artifact, Build, Copies, Item, Manifest, Release
from d4c_platform.naming import parse, read_date
from d4c_platform.naming.dates import Precision

PROCESSOR = {"name": "Data for Canada", "roles": ["processor", "host"], "url": "https://www.dataforcanada.org"}
LONGITUDE_LATITUDE = frozenset({"OGC:CRS84", "EPSG:4326"})
PROJECTED_ROLES = ("data", "cog")  # tiles have the projection of every web map
ROLE_TITLES = {"data": "Data", "pmtiles": "Tiles (PMTiles)", "cog": "Cloud-optimized GeoTIFF", "thumbnail": "Preview"}


def item(
    dataset: Dataset, version_id: str, release: Release, build: Build, manifest: Manifest, *, portal_copies: Copies
) -> Item:
    """The immutable part of a version's STAC item.

    Args:
        portal_copies: where the artifacts stand on the portal: an asset's primary `href`.

    Raises:
        PermanentFailure: the records do not fit together, or do not fit the catalog.
    """
    if not build.artifacts:
        raise PermanentFailure("there is no artifact to describe", where="catalog", version=version_id)
    data = build.main
    geometry = rectangle(*data.bbox) if data.bbox else dataset.area.geometry
    hrefs = {copy.role: copy.url for copy in portal_copies.copies}
    spatial = any(a.crs and a.role in PROJECTED_ROLES for a in build.artifacts)
    extensions = [EXTENSIONS[name] for name in ("attribution", "file", "processing", "table", "version")]
    return Item(
        version_id=version_id,
        item={
            "type": "Feature",
            "stac_version": STAC_VERSION,
            "stac_extensions": sorted([*extensions, EXTENSIONS["proj"]] if spatial else extensions),
            "id": version_id,
            "collection": dataset.package.value,
            "geometry": geometry,
            "bbox": list(bounds(geometry)),
            "properties": _properties(dataset, version_id, release, build, manifest, data),
            "links": _links(dataset, release),
            "assets": {a.role: _asset(a, version_id, hrefs) for a in build.artifacts},
        },
    )


def rfc3339(moment: datetime) -> str:
    """A moment as STAC writes it: UTC, with a `Z`, and a fraction of a second only where there is one."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _properties(
    dataset: Dataset, version_id: str, release: Release, build: Build, manifest: Manifest, data: Artifact
) -> dict[str, Any]:
    return {
        "title": dataset.title.en,
        "description": dataset.description.en,
        **_times(dataset, version_id, release, data),
        "license": dataset.licence.id,
        "attribution": dataset.licence.attribution.en,
        "providers": [{"name": dataset.publisher.en, "roles": ["producer", "licensor"]}, dict(PROCESSOR)],
        "keywords": [k.en for k in dataset.keywords],
        "version": str(parse(version_id).version),
        "processing:lineage": _lineage(dataset, release, manifest),
        "processing:software": {name: manifest.tools[name] for name in SOFTWARE if name in manifest.tools},
        "d4c:title_fr": dataset.title.fr,
        "d4c:description_fr": dataset.description.fr,
        "d4c:publisher_fr": dataset.publisher.fr,
        "d4c:attribution_fr": dataset.licence.attribution.fr,
        "d4c:keywords_fr": [k.fr for k in dataset.keywords],
        "d4c:dataset": dataset.id,
        "d4c:package": dataset.package.value,
        "d4c:dguid": dataset.area.dguid,
        "d4c:vintage": release.vintage,
        "d4c:released_at": rfc3339(release.released_at),
        "d4c:logical_hash": data.logical_hash,
        "d4c:changes": {
            "least_bump": manifest.changes.least_bump,
            "rows_added": manifest.changes.rows_added,
            "rows_removed": manifest.changes.rows_removed,
            "rows_changed": manifest.changes.rows_changed,
        },
        **_waivers(manifest),
    }


def _waivers(manifest: Manifest) -> dict[str, Any]:
    """The checks that the declaration waived or tuned, each with its reason; nothing when there is none."""
    found = [
        {"check": v.check, "waived": v.waived, "passed": v.passed}
        | ({"limit": v.limit} if v.limit is not None else {})
        | {"reason": v.reason.en, "reason_fr": v.reason.fr}
        for v in manifest.checks
        if v.reason is not None
    ]
    return {"d4c:waivers": found} if found else {}


def _times(dataset: Dataset, version_id: str, release: Release, data: Artifact) -> dict[str, str]:
    """The time the data speak of: their reference period, else a fixed vintage, else the moment of release.

    `datetime` is the end of the period and never null: several readers lose a null one, and then the item is not STAC.
    """
    if data.period:
        first, last = data.period[0].split("/")[0], data.period[1].split("/")[-1]
    elif isinstance(dataset.vintage, FixedVintage):
        first = last = dataset.vintage.date
    else:
        return {"datetime": rfc3339(release.released_at)}
    start, end = rfc3339(_span(first, version_id)[0]), rfc3339(_span(last, version_id)[1])
    return {"datetime": end, "start_datetime": start, "end_datetime": end}


def _span(text: str, version_id: str) -> tuple[datetime, datetime]:
    """The first and the last second of an ISO 8601 date of any precision."""
    date = read_date(text)
    if date is None:
        raise PermanentFailure(
            f"the reference period {text!r} is not an ISO 8601 date",
            where="catalog",
            version=version_id,
            kept="No item was written",
        )
    start = date.start
    match date.precision:
        case Precision.YEAR:
            after = start.replace(year=start.year + 1)
        case Precision.MONTH:
            after = (start + timedelta(days=31)).replace(day=1)
        case other:
            lengths = {
                Precision.WEEK: timedelta(weeks=1),
                Precision.DAY: timedelta(days=1),
                Precision.HOUR: timedelta(hours=1),
                Precision.MINUTE: timedelta(minutes=1),
            }
            after = start + lengths.get(other, timedelta(seconds=1))
    return start, after - timedelta(seconds=1)


def _lineage(dataset: Dataset, release: Release, manifest: Manifest) -> str:
    passed = sum(check.passed for check in manifest.checks)
    files = "1 source file" if len(release.files) == 1 else f"{len(release.files)} source files"
    return (
        f"{files} of release {release.key} by {dataset.publisher.en}, transformed by {dataset.transform.kind} at commit "
        f"{manifest.code_commit}; {passed} of {len(manifest.checks)} checks passed. The manifest says how to build it again."
    )


def _links(dataset: Dataset, release: Release) -> list[dict[str, Any]]:
    sources = [
        _link("derived_from", file.url, _media_type(file.headers), f"Source file {file.name}", None) for file in release.files
    ]
    source = dataset.source
    if source.page is None:
        page = _link("via", source.address, "application/octet-stream", "The publisher's file", None)
    else:
        page = _link("via", source.page, "text/html", source.page_title, source.page_language)
    licence, url = dataset.licence.title, dataset.licence.url
    return [
        *sources,
        page,
        _link("license", url.en, "text/html", licence.en, "en"),
        _link("license", url.fr, "text/html", licence.fr, "fr"),
    ]


def _link(rel: str, href: str, media_type: str, title: str, hreflang: str | None) -> dict[str, Any]:
    link = {"rel": rel, "href": href, "type": media_type, "title": title}
    return link | {"hreflang": hreflang} if hreflang else link


def _media_type(headers: Mapping[str, str]) -> str:
    found = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    return found.split(";")[0].strip() or "application/octet-stream"


def _file(artifact: Artifact, hrefs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "href": hrefs[artifact.role],
        "file:size": artifact.digests.bytes,
        "file:checksum": multihash(artifact.digests.sha256),
        "file:local_path": artifact.file,
    }


def _asset(artifact: Artifact, version_id: str, hrefs: Mapping[str, str]) -> dict[str, Any]:
    if artifact.role not in (*DATA_ROLES, *OTHER_ROLES):
        raise PermanentFailure(
            f"the catalog has no asset role {artifact.role!r}",
            where="catalog",
            version=version_id,
            file=artifact.file,
            remedy=f"Use one of {', '.join((*DATA_ROLES, *OTHER_ROLES))}",
        )
    for file in artifact.files:
        if file.role not in hrefs:
            raise PermanentFailure(
                f"the {file.role} artifact has no copy there",
                where=PORTAL,
                version=version_id,
                file=file.file,
                kept="No item was written",
                remedy="Publish the version on the portal again",
            )
    asset: dict[str, Any] = {
        **_file(artifact.files[0], hrefs),
        "type": artifact.media_type,
        "title": ROLE_TITLES.get(artifact.role, artifact.role),
        "roles": [artifact.role],
    }
    if artifact.parts:  # the asset is the first of them, as every link has to lead to one file; all of them are told
        asset["d4c:parts"] = [_file(part, hrefs) | {"table:row_count": part.rows} for part in artifact.files]
    if artifact.role == "data" and artifact.columns:
        asset["table:columns"] = [
            {"name": c.name, "type": c.type}
            | ({"description": c.title_en} if c.title_en else {})
            | ({"d4c:description_fr": c.title_fr} if c.title_fr else {})
            for c in artifact.columns
        ]
        asset["table:row_count"] = artifact.rows
    if artifact.role in PROJECTED_ROLES and artifact.crs:
        horizontal = artifact.crs.partition("+")[0]  # heights have a code of their own
        asset["proj:code"] = horizontal
        if artifact.bbox and horizontal in LONGITUDE_LATITUDE:
            asset["proj:bbox"] = list(artifact.bbox)
    return asset
