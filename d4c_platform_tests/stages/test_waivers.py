"""A waived check lets a version through, and its reason is read wherever the version is read of."""

from __future__ import annotations

import duckdb
import pytest

from d4c_platform.catalog.table import to_batch, to_items
from d4c_platform.model.records import Item, Manifest
from d4c_platform.orchestration import describe
from d4c_platform.stages.build import Refused, archive_release, build_artifact
from d4c_platform.stages.publication import publish_catalog
from d4c_platform_tests.stages.town import TREES, Town, csv, town

REASON = {"en": "The town counts shared trees once from now on", "fr": "La ville compte les arbres mitoyens une fois"}
FEWER = csv({n: kind for n, kind in TREES.items() if n > 10})


@pytest.fixture
def there(tmp_path):
    with town(tmp_path) as found:
        found.publish(found.release(csv(TREES)))
        yield found


def waived(there: Town, **choice) -> str:
    version = there.release(FEWER)
    there.declare(checks=[{"check": "drift", "reason": REASON, **(choice or {"waived": True})}])
    there.publish(version)
    return version


def test_without_a_waiver_half_of_the_rows_gone_stops_before_anything_is_public(there):
    version = there.release(FEWER)
    with there.platform() as platform:
        archive_release(platform, version)
        refused = build_artifact(platform, version)
    assert isinstance(refused, Refused)
    assert [v.check for v in refused.checks if not v.passed] == ["drift"]
    assert not there.object(f"versions/{version}").exists()


def test_the_reason_is_in_the_manifest(there):
    version = waived(there)
    with there.platform() as platform:
        manifest = platform.records.read(Manifest, version)
    (verdict,) = [v for v in manifest.checks if v.reason]
    assert (verdict.check, verdict.waived, verdict.passed) == ("drift", True, False)
    assert verdict.reason.model_dump() == REASON
    assert manifest.dataset["checks"][0]["reason"] == REASON


def test_the_reason_is_in_the_catalog(there):
    version = waived(there)
    with there.platform() as platform:
        item = platform.records.read(Item, version).item
        publish_catalog(platform)
    (said,) = item["properties"]["d4c:waivers"]
    assert said == {"check": "drift", "waived": True, "passed": False, "reason": REASON["en"], "reason_fr": REASON["fr"]}
    (back,) = to_items(to_batch([item]))
    assert back["properties"]["d4c:waivers"] == [said]
    with duckdb.connect() as sql:
        asked = 'SELECT id, "d4c:waivers"[1].reason_fr FROM read_parquet(?) WHERE "d4c:waivers" IS NOT NULL'
        rows = sql.execute(asked, [str(there.object("catalog/catalog.parquet"))]).fetchall()
    assert rows == [(version, REASON["fr"])]


def test_the_operator_reads_the_reason_at_the_check(there):
    version = waived(there)
    with there.platform() as platform:
        manifest = platform.records.read(Manifest, version)
    told = {v.check: describe.verdict(v, version) for v in manifest.checks}
    drift, rows = told["drift"].metadata, told["rows"].metadata
    assert (drift["waived"].value, drift["reason"].text, drift["raison"].text) == (True, REASON["en"], REASON["fr"])
    assert told["drift"].severity.value == "WARN"
    assert set(rows) == {"version"}


def test_a_limit_is_told_like_a_waiver(there):
    version = waived(there, limit=0.5)
    with there.platform() as platform:
        manifest = platform.records.read(Manifest, version)
        (said,) = platform.records.read(Item, version).item["properties"]["d4c:waivers"]
    assert (said["waived"], said["passed"], said["limit"]) == (False, True, 0.5)
    (verdict,) = [v for v in manifest.checks if v.reason]
    assert describe.verdict(verdict, version).metadata["limit"].value == 0.5


def test_an_item_without_a_waiver_says_nothing(there):
    version = there.release(csv(TREES | {1: "elm"}))
    there.publish(version)
    with there.platform() as platform:
        assert "d4c:waivers" not in platform.records.read(Item, version).item["properties"]
