"""What an operator wants to see on a materialisation: figures, links, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from d4c_platform.catalog.publish import Published
from d4c_platform.model.records import Artifact, Build, Changes, Copies, Doi, Item, Manifest, Release, Torrents, Verdict

Metadata = Mapping[str, dg.MetadataValue]


def release(r: Release) -> Metadata:
    files = [{"file": f.name, "bytes": f.bytes, "sha256": f.sha256, "from": f.url, "archived as": f.key} for f in r.files]
    return {
        "dataset": dg.MetadataValue.text(r.dataset_id),
        "released at": dg.MetadataValue.timestamp(r.released_at),
        "noticed at": dg.MetadataValue.timestamp(r.noticed_at),
        "dagster/size_bytes": dg.MetadataValue.int(sum(f.bytes for f in r.files)),
        "content sha256": dg.MetadataValue.text(r.content_sha256),
        "files": _table(files),
    }


def build(b: Build) -> Metadata:
    a = b.artifacts[0]
    columns = [
        dg.TableColumn(name=c.name, type=c.type, description=" / ".join(t for t in (c.title_en, c.title_fr) if t) or None)
        for c in a.columns
    ]
    return {
        "dagster/row_count": dg.MetadataValue.int(a.rows),
        "dagster/size_bytes": dg.MetadataValue.int(a.digests.bytes),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns)),
        "sha256": dg.MetadataValue.text(a.digests.sha256),
        "logical hash": dg.MetadataValue.text(a.logical_hash),
        "kept, never hidden": _table([{"what": k, "count": v} for k, v in sorted(a.counts.items())]),
        "changelog": changelog(b.changes),
        **where(a),
    }


def where(a: Artifact) -> Metadata:
    """The artifact's extent and a link that shows it on a map; nothing for a table."""
    if a.bbox is None:
        return {}
    west, south, east, north = a.bbox
    return {
        "bbox": dg.MetadataValue.text(f"{west:.5f}, {south:.5f}, {east:.5f}, {north:.5f} ({a.crs})"),
        "map": dg.MetadataValue.url(
            f"https://www.openstreetmap.org/?minlon={west:.5f}&minlat={south:.5f}&maxlon={east:.5f}&maxlat={north:.5f}&box=yes"
        ),
    }


def changelog(c: Changes) -> dg.MetadataValue:
    rows = [
        {"change": "compared with", "figure": c.predecessor or "nothing: the first version"},
        {"change": "least bump", "figure": c.least_bump},
        {"change": "rows added", "figure": str(c.rows_added)},
        {"change": "rows removed", "figure": str(c.rows_removed)},
        {"change": "rows changed", "figure": str(c.rows_changed)},
        {"change": "columns added", "figure": ", ".join(c.columns_added) or "none"},
        {"change": "columns removed", "figure": ", ".join(c.columns_removed) or "none"},
        {"change": "columns retyped", "figure": ", ".join(c.columns_retyped) or "none"},
    ]
    return _table(rows)


def manifest(m: Manifest) -> Metadata:
    return {
        "code commit": dg.MetadataValue.text(m.code_commit),
        "locked environment": dg.MetadataValue.text(m.lock_sha256),
        "tools": dg.MetadataValue.json(m.tools),
        "sources": dg.MetadataValue.json(m.sources),
    }


def copies(c: Copies) -> Metadata:
    rows = [
        {
            "artifact": x.role,
            "url": x.url,
            "bytes": x.bytes,
            "sha256": x.sha256,
            "verified by": x.verified,
            "state": x.state.value,
        }
        for x in c.copies
    ]
    first = c.copies[0]
    return {"copies": _table(rows), "url": dg.MetadataValue.url(first.url), "sha256": dg.MetadataValue.text(first.sha256)}


def preview(url: str) -> Metadata:
    """The version's map, drawn by the browser from the portal."""
    return {"map preview": dg.MetadataValue.md(f"![map]({url})")}


def doi(d: Doi) -> Metadata:
    return {
        "DOI": dg.MetadataValue.url(f"https://doi.org/{d.doi}"),
        "record": dg.MetadataValue.url(d.url),
        "concept DOI": dg.MetadataValue.text(d.concept_doi or ""),
    }


def torrents(t: Torrents) -> Metadata:
    first = t.torrents[0]
    return {
        "magnet": dg.MetadataValue.url(first.magnet),
        "info-hash": dg.MetadataValue.text(first.info_hash),
        "torrent": dg.MetadataValue.url(first.url),
        "web seeds": _table([{"url": url} for url in first.web_seeds]),
    }


def item(i: Item) -> Metadata:
    return {
        "title": dg.MetadataValue.text(str(i.item["properties"].get("title", ""))),
        "item": dg.MetadataValue.json(i.item),
    }


def published(p: Published) -> Metadata:
    return {
        "dagster/row_count": dg.MetadataValue.int(p.rows),
        "sha256": dg.MetadataValue.text(p.sha256),
    }


def verdict(v: Verdict) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=v.check,
        passed=v.passed,
        severity=dg.AssetCheckSeverity.ERROR if v.severity == "blocking" else dg.AssetCheckSeverity.WARN,
        description=v.evidence,
    )


def _table(rows: Sequence[Mapping[str, object]]) -> dg.MetadataValue:
    if not rows:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table(
        [dg.TableRecord({k: v if isinstance(v, int) else str(v) for k, v in r.items()}) for r in rows]
    )
