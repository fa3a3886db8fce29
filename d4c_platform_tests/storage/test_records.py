"""Facts are written once; replaceable ones by whoever saw the last state."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate, Copies, Copy, Item, Withdrawal
from d4c_platform.storage.records import Records
from d4c_platform.storage.store import Conflict, ObjectStore
from d4c_platform_tests.storage.versions import DATASET, version_id

V = version_id(1)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def records(store: ObjectStore) -> Records:
    return Records(store)


def copies(*urls: str) -> Copies:
    return Copies(
        version_id=V,
        place="portal",
        copies=tuple(Copy(role="data", url=u, bytes=1, sha256="0", checked_at=NOW, verified="sha256") for u in urls),
    )


def candidate(key: str = "2025-06-11T0830", **changes: object) -> Candidate:
    facts = {"dataset_id": DATASET.id, "key": key, "version_id": V, "vintage": "2025-06-11", "hint": {"etag": "a"}}
    return Candidate.model_validate(facts | {"released_at": NOW, "noticed_at": NOW} | changes)


def test_a_document_is_read_back_and_is_text_a_person_reads(records: Records):
    item = Item(version_id=V, item={"b": (1, 2), "a": "é"})
    records.write(item)
    assert records.read(Item, V).item == {"b": [1, 2], "a": "é"}
    text = records.store.read(f"records/{V}/item.json").decode()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_what_nobody_wrote_is_none(records: Records):
    assert records.read(Item, V) is None
    assert records.read(Copies, V, place="portal") is None


def test_the_same_content_again_is_fine_and_other_content_a_conflict_by_name(records: Records):
    records.write(Item(version_id=V, item={"b": (1, 2), "a": 1.0}))
    records.write(Item(version_id=V, item={"a": 1, "b": [1, 2]}))
    with pytest.raises(Conflict, match=rf"{V}: records/{V}/item\.json: another run wrote this document") as conflict:
        records.write(Item(version_id=V, item={"a": 2}))
    assert "first one stays" in str(conflict.value)
    assert records.read(Item, V).item["a"] == 1


def test_of_writers_with_different_content_one_wins_and_the_others_know(records: Records):
    def write(number: int) -> bool:
        try:
            records.write(Item(version_id=V, item={"n": number}))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(write, range(5))) == 1


def test_a_replaceable_document_is_replaced_and_no_change_is_lost(records: Records):
    records.write(copies("a"))
    records.write(copies("b"))
    assert [c.url for c in records.read(Copies, V, place="portal").copies] == ["b"]

    def add(url: str) -> None:
        records.update(Copies, V, lambda present: copies(*(c.url for c in present.copies), url), place="portal")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, "cdefgh"))
    assert sorted(c.url for c in records.read(Copies, V, place="portal").copies) == list("bcdefgh")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "is damaged"),
        (b'{"version_id": 1, "item": {}}', "is damaged"),
        (b'{"version_id": "%s", "item": {}, "colour": 1}' % V.encode(), r"does not know \(colour\).*Update the platform"),
        (b'{"version_id": "%s", "item": {}}' % version_id(2).encode(), "is about"),
    ],
)
def test_a_damaged_or_newer_document_is_an_error_that_names_its_key(records: Records, body: bytes, message: str):
    records.store.put(f"records/{V}/item.json", body)
    with pytest.raises(PermanentFailure, match=rf"records/{V}/item\.json.*{message}"):
        records.read(Item, V)


def test_versions_are_ordered_by_age_not_by_text(records: Records):
    for number in (10, 9, 2):
        records.write(Withdrawal(version_id=version_id(number), reason="x"))
    other = DATASET.id.replace("33100036", "18100204")
    records.write(Withdrawal(version_id=f"{other}_2024-01_v1.0.0", reason="x"))
    older = f"{DATASET.id}_2024-12-31_v3.0.0"
    records.write(Withdrawal(version_id=older, reason="x"))
    expected = [older, version_id(2), version_id(9), version_id(10)]
    assert list(records.versions()) == [f"{other}_2024-01_v1.0.0", *expected]
    assert records.of_dataset(DATASET.id, vintage_from_release=True) == expected
    assert records.of_dataset(f"{DATASET.id}_2024-12-31", vintage_from_release=False) == [older]


def test_a_folder_that_is_no_version_is_an_error_that_names_it(records: Records):
    records.store.put("records/backup of monday/item.json", b"{}")
    with pytest.raises(PermanentFailure, match="records/backup of monday/"):
        list(records.versions())


def test_a_release_noticed_twice_keeps_its_first_entry(records: Records):
    first = records.notice(candidate())
    again = records.notice(candidate(noticed_at=datetime(2026, 12, 1, tzinfo=UTC), hint={"etag": "b"}))
    assert again == first
    earlier = candidate("2025-05-01", released_at=datetime(2025, 5, 1, tzinfo=UTC))
    records.notice(earlier)
    assert records.candidates(DATASET.id) == [earlier, first]
    assert records.candidates("ca_statcan-2021A000011124_d4c-datapkg-statistical_3310003") == []


def test_a_place_is_asked_for_where_there_is_one(records: Records):
    assert records.key(Copies, V, place="source-coop") == f"records/{V}/copies.source-coop.json"
    for wrong in ((Copies, None), (Item, "portal"), (Copies, "../x")):
        with pytest.raises(ValueError, match="place"):
            records.key(wrong[0], V, place=wrong[1])
