"""A table that is published in parts: on the portal, on the mirrors, in torrents, in the catalog, and compared afterwards."""

from __future__ import annotations

import hashlib

import duckdb
import httpx
import pyarrow.parquet as pq
import pytest

from d4c_platform.model.records import Build, Copies, Item, Torrents
from d4c_platform.stages.rebuild import Outcome, rebuild
from d4c_platform.transforms import parquet, parquet_parts
from d4c_platform_tests.orchestration.world import OUTLINES, TABLE, world


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A world whose every table is large: both releases of the table, and the outlines."""
    with pytest.MonkeyPatch.context() as patch, world(tmp_path_factory.mktemp("parts") / "sandbox") as there:
        patch.setattr(parquet, "SMALL_GROUP_ROWS", 10)
        patch.setattr(parquet_parts, "LARGE_BYTES", 1)
        patch.setattr(parquet_parts, "PART_BYTES", 1)
        runs = there.work()
        assert there.sandbox.advance() is not None
        runs = [*runs, *there.work()]
        assert all(run.ok for run in runs), [run.trouble for run in runs]
        yield there


def build_of(there, version) -> Build:
    found = there.platform.records.read(Build, version)
    assert found is not None
    return found


def test_processed_is_the_parts_of_the_newest_version(published):
    old, new = published.published(TABLE)
    files = build_of(published, new).files
    assert len(files) > 1
    served = sorted(p.name for p in (published.sandbox.place.portal / "processed").glob(f"{TABLE}.*"))
    assert served == [f"{TABLE}.part-{n:04}.parquet" for n in range(1, len(files) + 1)]
    for file, name in zip(files, served, strict=True):
        body = httpx.get(f"{published.sandbox.urls['portal']}/processed/{name}").content
        assert hashlib.sha256(body).hexdigest() == file.digests.sha256
    assert {f.file for f in build_of(published, old).files}.isdisjoint(f.file for f in files)


def test_together_they_are_the_table(published):
    version = published.published(TABLE)[-1]
    whole = build_of(published, version).artifacts[0]
    pattern = published.sandbox.place.portal / "versions" / version / "*.part-*.parquet"
    assert duckdb.sql(f"SELECT count(*) FROM '{pattern}'").fetchone() == (whole.rows,)
    assert sum(part.rows for part in whole.parts) == whole.rows


def test_the_next_version_was_compared_with_the_whole(published):
    old, new = published.published(TABLE)
    changes = build_of(published, new).changes
    assert (changes.predecessor, changes.rows_before) == (old, build_of(published, old).artifacts[0].rows)


def test_every_part_is_on_every_mirror(published):
    for version in (*published.published(TABLE), *published.published(OUTLINES)):
        expected = {f.role: f.digests.sha256 for f in build_of(published, version).files}
        for place in ("portal", "source-coop", "zenodo"):
            copies = published.platform.records.read(Copies, version, place=place)
            assert {c.role: c.sha256 for c in copies.copies if c.role in expected} == expected, place


def test_every_part_has_a_torrent_whose_seeds_serve_it(published):
    version = published.published(TABLE)[-1]
    torrents = published.platform.records.read(Torrents, version).torrents
    files = {f.role: f for f in build_of(published, version).files}
    found = {t.role: t for t in torrents if t.role in files}
    assert found.keys() == files.keys()
    for role, torrent in found.items():
        assert len(torrent.web_seeds) >= 2
        assert all(files[role].file in seed for seed in torrent.web_seeds)


def test_the_catalog_tells_all_parts_and_links_the_first(published):
    path = published.sandbox.place.portal / "catalog" / "catalog.parquet"
    version = published.published(TABLE)[-1]
    (row,) = [row for row in pq.read_table(path).to_pylist() if row["id"] == version]
    data = row["assets"]["data"]
    files = build_of(published, version).files
    assert [p["file:local_path"] for p in data["d4c:parts"]] == [f.file for f in files]
    assert data["href"] == data["d4c:parts"][0]["href"]
    assert data["alternate"]["source_coop"]["href"].endswith(files[0].file)
    assert all(p["d4c:magnet"].startswith("magnet:") and p["d4c:torrent"] for p in data["d4c:parts"])
    for part, file in zip(data["d4c:parts"], files, strict=True):
        body = httpx.get(part["href"]).content
        assert (len(body), f"1220{hashlib.sha256(body).hexdigest()}") == (part["file:size"], part["file:checksum"])
        assert part["table:row_count"] == file.rows
    assert data["table:row_count"] == sum(f.rows for f in files)


def test_it_is_built_again_and_nothing_differs(published):
    version = published.published(TABLE)[-1]
    again = rebuild(published.platform, version)
    assert again.outcome is Outcome.IDENTICAL
    assert [b.recorded.file for b in again.beside] == [f.file for f in build_of(published, version).files]


def test_parts_that_are_cut_elsewhere_are_told_as_other_bytes(published, monkeypatch):
    version = published.published(TABLE)[-1]
    monkeypatch.setattr(parquet_parts, "PART_BYTES", 10**9)
    again = rebuild(published.platform, version)
    assert again.outcome is Outcome.SAME_VALUES
    assert ".part-0001.parquet: same-values." in again.sentence()


def test_the_item_is_one_that_validates_with_the_rest(published):
    item = published.platform.records.read(Item, published.published(TABLE)[-1]).item
    assert item["assets"]["data"]["roles"] == ["data"]
    assert "data-0001" not in item["assets"]
