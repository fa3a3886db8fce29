"""What an operator wants to see on a materialisation: figures, links, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from d4c_platform.catalog.publish import Published
from d4c_platform.model.records import Artifact, Build, Changes, Copies, Doi, Item, Manifest, Release, Torrents, Verdict

Metadata = Mapping[str, dg.MetadataValue]


def release(r: Release) -> Metadata:
    files = [{"file": f.name, "bytes": f.bytes, "from": f.url, "sha256": f.sha256} for f in r.files]
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
        "changelog": changelog(b.changes, a.rows),
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


def changelog(c: Changes, rows: int) -> dg.MetadataValue:
    if c.predecessor is None:
        return dg.MetadataValue.text(f"the first version, {rows:,} rows")
    return _table(
        [
            {"change": "compared with", "figure": c.predecessor},
            {"change": "least bump", "figure": c.least_bump},
            *([{"change": "counted as", "figure": f"{c.override.bump}: {c.override.reason}"}] if c.override else []),
            {"change": "rows added", "figure": f"{c.rows_added:,}"},
            {"change": "rows removed", "figure": f"{c.rows_removed:,}"},
            {"change": "rows changed", "figure": f"{c.rows_changed:,}"},
            {"change": "columns added", "figure": ", ".join(c.columns_added) or "none"},
            {"change": "columns removed", "figure": ", ".join(c.columns_removed) or "none"},
            {"change": "columns retyped", "figure": ", ".join(c.columns_retyped) or "none"},
            *({"change": f"values of {column}", "figure": f"{n:,}"} for column, n in sorted(c.changed_by_column.items())),
        ]
    )


def manifest(m: Manifest) -> Metadata:
    return {
        "code commit": dg.MetadataValue.text(m.code_commit),
        "locked environment": dg.MetadataValue.text(m.lock_sha256),
        "tools": dg.MetadataValue.json(m.tools),
        "sources": dg.MetadataValue.json(m.sources),
    }


def copies(c: Copies) -> Metadata:
    # Addresses and digests have rows of their own: a wide table is cut off where the state would stand.
    found: dict[str, dg.MetadataValue] = {}
    for x in c.copies:
        suffix = "" if len(c.copies) == 1 else f" ({x.role})"
        found[f"url{suffix}"] = dg.MetadataValue.url(x.url)
        found[f"sha256{suffix}"] = dg.MetadataValue.text(x.sha256)
    rows = [{"artifact": x.role, "state": x.state.value, "verified by": x.verified, "bytes": x.bytes} for x in c.copies]
    return {"copies": _table(rows), **found}


def preview(url: str) -> Metadata:
    """The version's map, drawn by the browser from the portal."""
    return {"map preview": dg.MetadataValue.md(f"![map]({url})")}


def doi(d: Doi) -> Metadata:
    return {
        "DOI": dg.MetadataValue.url(f"https://doi.org/{d.doi}"),
        "record": dg.MetadataValue.url(d.url),
        **({"concept DOI": dg.MetadataValue.url(f"https://doi.org/{d.concept_doi}")} if d.concept_doi else {}),
    }


def torrents(t: Torrents) -> Metadata:
    first = t.torrents[0]
    return {
        "info-hash": dg.MetadataValue.text(first.info_hash),
        "torrent": dg.MetadataValue.url(first.url),
        "web seeds": _table([{"url": url} for url in first.web_seeds]),
        "left out": _table([{"url": url, "why": why} for url, why in first.left_out.items()]),
        "magnet": dg.MetadataValue.url(first.magnet),
        **{f"{other.role} torrent": dg.MetadataValue.url(other.url) for other in t.torrents[1:]},
    }


def item(i: Item) -> Metadata:
    return {
        "title": dg.MetadataValue.text(str(i.item["properties"].get("title", ""))),
        "item": dg.MetadataValue.json(i.item),
    }


def published(p: Published, url: str) -> Metadata:
    return {
        "url": dg.MetadataValue.url(url),
        "dagster/row_count": dg.MetadataValue.int(p.rows),
        "sha256": dg.MetadataValue.text(p.sha256),
    }


def verdict(v: Verdict, version_id: str) -> dg.AssetCheckResult:
    # Checks have no partition yet in this Dagster: without the version here nobody could tell whose verdict it is.
    return dg.AssetCheckResult(
        metadata={"version": version_id, **_waiver(v)},
        check_name=v.check,
        passed=v.passed,
        severity=dg.AssetCheckSeverity.ERROR if v.severity == "blocking" else dg.AssetCheckSeverity.WARN,
        description=v.evidence,
    )


def _waiver(v: Verdict) -> dict[str, dg.MetadataValue]:
    """What the declaration says of the check, and why."""
    if v.reason is None:
        return {}
    said = dg.MetadataValue.bool(True) if v.waived else dg.MetadataValue.float(v.limit or 0.0)
    return {
        "waived" if v.waived else "limit": said,
        "reason": dg.MetadataValue.text(v.reason.en),
        "raison": dg.MetadataValue.text(v.reason.fr),
    }


def _table(rows: Sequence[Mapping[str, object]]) -> dg.MetadataValue:
    if not rows:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table(
        [dg.TableRecord({k: v if isinstance(v, int) else str(v) for k, v in r.items()}) for r in rows]
    )
