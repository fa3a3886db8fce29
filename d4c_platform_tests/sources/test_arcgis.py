"""A layer is noticed when its edit date or its content says so, and archived as what it was at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate, Release
from d4c_platform.sandbox.arcgis import Recorded, Served
from d4c_platform.sandbox.arcgis_layers import Edit, SandboxLayer
from d4c_platform.sources.arcgis import ArcgisLayer, State
from d4c_platform.sources.arcgis_layer import Edited, LayerClient
from d4c_platform.sources.arcgis_looks import Looks
from d4c_platform.sources.archive import archive, changed_nothing
from d4c_platform.sources.detection import detect
from d4c_platform.sources.registry import open_source
from d4c_platform.sources.source import Noticed, OtherState, SourceSettings, Superseded
from d4c_platform.storage.portal import Portal
from d4c_platform.web import Web
from d4c_platform_tests.places import recorded
from d4c_platform_tests.sources.arcgis_server import ADDRESS, LAYER, Gis, arcgis, feature, harvest, oids_of, serving
from d4c_platform_tests.sources.conftest import candidate_of, table, utc

NOW = utc("2025-07-01T12:00")
FIRST, SECOND = utc("2025-06-11T12:30"), utc("2025-06-18T12:30")
QUERY = f"/{ADDRESS}/query"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Gis, Web]]:
    with serving() as served:
        yield served


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayerClient, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def gis(server: tuple[Gis, Web]) -> Gis:
    server[0].layers.clear()
    return server[0]


@pytest.fixture
def web(server: tuple[Gis, Web]) -> Web:
    return server[1]


@pytest.fixture
def source(web: Web) -> ArcgisLayer:
    return ArcgisLayer(web, SourceSettings(remember=False), Looks())


def as_seen(noticed: Noticed, at: datetime = NOW) -> Candidate:
    return candidate_of(arcgis(), noticed.key, noticed.released_at, **noticed.hint).model_copy(update={"noticed_at": at})


def look(source: ArcgisLayer, *seen: Candidate, now: datetime = NOW, dataset: Dataset | None = None) -> list[Noticed]:
    return source.detect(dataset or arcgis(), None, seen, now)


# -- a layer that says when it was edited -------------------------------------------------------------------------------


def test_a_layer_is_noticed_once_and_again_when_it_was_edited(gis: Gis, source: ArcgisLayer) -> None:
    layer = gis.holds(3, edited_at=FIRST)
    (first,) = look(source)
    assert first.key.startswith("20250611T123000Z-")
    assert (first.released_at, first.vintage_time.isoformat()) == (FIRST, "2025-06-11")
    queries = layer.queries
    assert look(source, as_seen(first)) == []
    assert layer.queries == queries  # its metadata said enough
    layer.edit(Edit(put=[feature(2, "b")], edited_at=SECOND))
    (second,) = look(source, as_seen(first))
    assert second.key != first.key
    assert look(source, as_seen(first), as_seen(second)) == []


def test_the_key_is_the_publishers_answer_alone(gis: Gis, source: ArcgisLayer) -> None:
    gis.holds(3, edited_at=FIRST)
    (one,), (other,) = look(source), look(source, now=NOW + timedelta(days=3, hours=1))
    assert one.key == other.key
    gis.holds(3, edit_date=False)
    (one,), (other,) = look(source), look(ArcgisLayer(source._web), now=NOW + timedelta(days=3, hours=1))
    assert one.key == other.key
    assert one.key.startswith("undated-")


def test_an_edited_schema_is_another_state(gis: Gis, source: ArcgisLayer) -> None:
    layer = gis.holds(3, edited_at=FIRST)
    (first,) = look(source)
    layer.schema_edited_at = SECOND
    (second,) = look(source, as_seen(first))
    assert (second.key != first.key, second.released_at) == (True, SECOND)


def test_other_rows_of_the_same_layer_are_another_state(gis: Gis, source: ArcgisLayer) -> None:
    gis.holds(3, edited_at=FIRST)
    (first,) = look(source)
    (second,) = look(source, as_seen(first), dataset=arcgis(where="n > 2"))
    assert second.key != first.key


def test_a_state_that_is_put_back_is_told_under_its_first_key(gis: Gis, source: ArcgisLayer) -> None:
    for has_date in (True, False):
        rows = {FIRST: "a", SECOND: "b"}
        layer = gis.holds([feature(1, rows[FIRST])], edit_date=has_date, edited_at=FIRST)
        (first,) = look(source)
        layer.edit(Edit(put=[feature(1, rows[SECOND])], edited_at=SECOND))
        later = NOW + timedelta(days=1)
        (second,) = look(source, as_seen(first), now=later)
        layer.edit(Edit(put=[feature(1, rows[FIRST])], edited_at=FIRST))
        seen = as_seen(first), as_seen(second, later)
        (third,) = look(source, *seen, now=NOW + timedelta(days=2))
        assert third.key == first.key
        assert third.vintage_time >= second.vintage_time


def test_a_state_that_was_noticed_several_times_is_told_under_its_last_key(gis: Gis, source: ArcgisLayer) -> None:
    gis.holds(3, edited_at=FIRST)
    (first,) = look(source)
    again = as_seen(replace(first, key=f"{first.key}.again2"), NOW + timedelta(hours=1))
    other = candidate_of(arcgis(), "other", SECOND, data_edited_ms="1").model_copy(
        update={"noticed_at": NOW + timedelta(hours=2)}
    )
    assert look(source, as_seen(first), again) == []
    assert [n.key for n in look(source, as_seen(first), again, other)] == [again.key]


def test_a_layer_that_is_being_edited_is_left_to_rest_but_not_for_ever(gis: Gis, source: ArcgisLayer) -> None:
    layer = gis.holds(3, edited_at=FIRST)
    (first,) = look(source)
    layer.edit(Edit(edited_at=NOW - ArcgisLayer.SETTLE / 2))
    assert look(source, as_seen(first, NOW - ArcgisLayer.PATIENCE / 2)) == []
    assert look(source, as_seen(first, NOW - ArcgisLayer.PATIENCE / 2), now=NOW + ArcgisLayer.SETTLE)
    assert look(source, as_seen(first, NOW - ArcgisLayer.PATIENCE))


def test_a_date_from_the_future_does_not_count_as_released_then(gis: Gis, source: ArcgisLayer) -> None:
    gis.holds(3, edited_at=utc("2031-06-11T12:30"))
    (noticed,) = look(source)
    assert noticed.released_at == NOW


def test_a_layer_that_was_just_emptied_is_no_release(gis: Gis, source: ArcgisLayer) -> None:
    for has_date in (True, False):
        gis.holds(0, edit_date=has_date)
        with pytest.raises(TransientFailure, match="no rows just now"):
            look(source)


@pytest.mark.parametrize("said", [0, -1, "2025", None, True, 10**18, {}])
def test_an_edit_date_that_is_none_is_not_believed(gis: Gis, source: ArcgisLayer, said: object) -> None:
    gis.holds(3, metadata={"editingInfo": {"lastEditDate": said, "dataLastEditDate": said}})
    (noticed,) = look(source)
    assert noticed.key.startswith("undated-")


def test_a_state_survives_the_ledger() -> None:
    for state in (State(Edited(1, 2), where="a = 1"), State(Edited(1, None)), State(sha256="00", sign="3 rows")):
        assert State.from_hint(state.hint) == state


# -- a layer that does not ----------------------------------------------------------------------------------------------


def test_a_layer_without_an_edit_date_is_looked_at_once_a_day_unless_it_shows_a_change(gis: Gis, source: ArcgisLayer) -> None:
    layer = gis.holds(30, edit_date=False, max_record_count=10)
    (first,) = look(source)
    seen = as_seen(first)

    def rows_read(now: datetime) -> tuple[int, int]:
        before = layer.answers_with_rows
        found = look(ArcgisLayer(source._web), seen, now=now)  # as a process that has just begun
        return layer.answers_with_rows - before, len(found)

    assert rows_read(NOW + Looks.EVERY / 2) == (0, 0)
    assert rows_read(NOW + Looks.EVERY) == (4, 0)
    layer.edit(Edit(put=[feature(2, "edited")]))  # as many rows, the same greatest id
    assert rows_read(NOW + Looks.EVERY / 2) == (0, 0)
    assert rows_read(NOW + Looks.EVERY) == (4, 1)
    layer.edit(Edit(put=[feature(31)]))
    assert rows_read(NOW + Looks.APART / 2) == (0, 0)
    assert rows_read(NOW + Looks.APART) == (5, 1)


def test_a_look_rests_between_sweeps_and_goes_on_where_it_was(gis: Gis, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Looks, "SLICE_S", 0)
    layer, looks = gis.holds(50, edit_date=False, max_record_count=10), Looks()
    found = []
    for sweep in range(6):
        source = ArcgisLayer(web, SourceSettings(remember=False), looks)
        found.append(look(source, now=NOW + sweep * timedelta(minutes=5)))
    assert [len(noticed) for noticed in found] == [0, 0, 0, 0, 0, 1]
    assert layer.answers_with_rows == 6
    monkeypatch.undo()
    assert look(ArcgisLayer(web))[0].key == found[-1][0].key  # read at one go it is the same


@pytest.mark.parametrize("query", range(9))
def test_a_look_that_is_interrupted_anywhere_finds_the_same(gis: Gis, web: Web, query: int) -> None:
    layer, looks = gis.holds(10, edit_date=False, max_record_count=5), Looks()
    (undisturbed,) = look(ArcgisLayer(web))
    source, queries = ArcgisLayer(web, SourceSettings(remember=False), looks), layer.queries

    class Stumbling(Served):
        def answered(self, asked):
            if self.layer.queries - queries == query:
                self.layer.queries += 1
                return {"error": {"code": 500}}
            return super().answered(asked)

    gis.layers[ADDRESS] = Stumbling(layer)
    of_rows = query in {3, 4, 5}  # those are asked for in smaller parts at once
    with nullcontext() if of_rows else pytest.raises(TransientFailure, match="error 500"):
        look(source)
    (found,) = look(source, now=NOW + timedelta(minutes=5))
    assert found.key == undisturbed.key


def test_a_look_that_was_noticed_by_nobody_is_not_lost(gis: Gis, web: Web) -> None:
    layer, looks = gis.holds(5, edit_date=False), Looks()
    first = look(ArcgisLayer(web, SourceSettings(remember=False), looks))
    read = layer.answers_with_rows
    assert look(ArcgisLayer(web, SourceSettings(remember=False), looks), now=NOW + timedelta(minutes=5))[0].key == first[0].key
    assert layer.answers_with_rows == read


def test_a_layer_that_changes_all_day_is_not_read_all_day(gis: Gis, web: Web) -> None:
    layer, looks = gis.holds(5, edit_date=False), Looks()
    source = ArcgisLayer(web, SourceSettings(remember=False), looks)
    layer.edit_later(4, Edit(delete=[1], put=[feature(0)]))  # once the page was read
    with pytest.raises(TransientFailure, match="changed while it was read"):
        look(source)
    read = layer.answers_with_rows
    assert look(source, now=NOW + Looks.APART / 2) == []
    assert layer.answers_with_rows == read
    assert look(source, now=NOW + Looks.APART)


def test_the_shared_memory_is_only_used_at_the_real_service(gis: Gis, web: Web) -> None:
    from d4c_platform.sources.arcgis_looks import SHARED

    gis.holds(5, edit_date=False)
    look(ArcgisLayer(web))
    assert SHARED._done == {}
    look(ArcgisLayer(web, SourceSettings(remember=True)))
    assert len(SHARED._done) == 1
    SHARED.forget()


# -- archived -----------------------------------------------------------------------------------------------------------


class Room:
    """What a stage holds when it archives."""

    def __init__(self, web: Web, portal: Portal, workdir: Path) -> None:
        self.web, self.portal, self.workdir = web, portal, workdir

    def noticed(self, now: datetime = NOW, dataset: Dataset | None = None) -> Candidate:
        dataset = dataset or arcgis()
        return detect(dataset, open_source(dataset, self.web), self.portal.records, now)[-1]

    def archive(self, candidate: Candidate, dataset: Dataset | None = None) -> Release:
        dataset = dataset or arcgis()
        return archive(candidate, dataset, open_source(dataset, self.web), self.web, self.portal, self.workdir)


@pytest.fixture
def room(web: Web, portal: Portal, tmp_path: Path) -> Room:
    return Room(web, portal, tmp_path / "work")


def test_a_declared_layer_is_shown_to_a_person() -> None:
    from rich.console import Console

    from d4c_platform.cli.dataset import _show

    declared = arcgis(where="n > 2")
    assert declared.source.label == "Wards/FeatureServer/0"
    with (console := Console(width=200)).capture() as shown:
        _show(console, declared)
    assert f"{LAYER} where n > 2" in shown.get()


@pytest.mark.parametrize("has_date", [True, False])
def test_a_layer_is_archived_with_its_rows_and_what_it_says_of_itself(gis: Gis, room: Room, has_date: bool) -> None:
    gis.holds(25, max_record_count=10, edited_at=FIRST, edit_date=has_date)
    release = room.archive(room.noticed())
    data, about = release.files
    assert (data.name, data.url, about.name) == ("layer.geojson", LAYER, "layer.json")
    assert oids_of(room.portal.store.read(data.key)) == list(range(1, 26))
    assert data.headers["content-type"].startswith("application/geo+json")
    assert "content-length" not in data.headers
    assert json.loads(room.portal.store.read(about.key))["fields"][0]["type"] == "esriFieldTypeOID"


def test_equal_content_under_a_new_edit_date_has_the_same_content_hash(gis: Gis, room: Room) -> None:
    layer = gis.holds(5, edited_at=FIRST)
    first = room.archive(room.noticed())
    layer.edit(Edit(edited_at=SECOND))
    second = room.archive(room.noticed(NOW + timedelta(days=1)))
    layer.edit(Edit(put=[feature(3, "b")], edited_at=SECOND + timedelta(days=7)))
    third = room.archive(room.noticed(NOW + timedelta(days=8)))
    assert len({first.key, second.key, third.key}) == 3
    assert changed_nothing(second, first)
    assert not changed_nothing(third, second)
    assert first.files[1].sha256 != second.files[1].sha256  # its metadata tells the edit date, and does not count


def test_a_layer_that_only_moves_to_a_newer_server_has_the_same_content_hash(gis: Gis, room: Room) -> None:
    gis.holds(5, geojson=False, pagination=False, edited_at=FIRST)
    first = room.archive(room.noticed())
    moved = arcgis("https://gis.example.ca/other/MapServer/3")
    gis.holds(5, "gis.example.ca/other/MapServer/3", edited_at=SECOND)
    second = room.archive(room.noticed(NOW + timedelta(days=1), moved), moved)
    assert changed_nothing(second, first)


def test_a_layer_without_an_edit_date_that_changes_during_the_harvest_is_read_again(gis: Gis, room: Room) -> None:
    """It was changed and changed back, so the second reading finds what was noticed."""
    layer = gis.holds(20, max_record_count=5, edit_date=False)
    candidate = room.noticed()
    layer.edit_later(3, Edit(delete=[4]))
    layer.edit_later(7, Edit(put=[feature(4)]))
    release = room.archive(candidate)
    assert oids_of(room.portal.store.read(release.files[0].key)) == list(range(1, 21))


def test_a_layer_that_never_rests_ends_in_a_sentence_that_says_so(gis: Gis, room: Room) -> None:
    layer = gis.holds(20, max_record_count=5, edit_date=False)
    candidate = room.noticed()
    for again in range(200):
        layer.edit_later(again, Edit(put=[feature(100 + again)]))
    with pytest.raises(TransientFailure, match=r"changed while it was read: \d+ rows were counted, and more came") as failure:
        room.archive(candidate)
    assert failure.value.version == candidate.version_id
    assert list(room.workdir.iterdir()) == []
    assert list(room.portal.store.list("raw/")) == []


def test_an_edit_during_the_harvest_that_changes_no_row_count_is_found(gis: Gis, room: Room) -> None:
    layer = gis.holds(20, max_record_count=5, edited_at=FIRST)
    candidate = room.noticed()
    layer.edit_later(3, Edit(put=[feature(2, "edited")], edited_at=SECOND))
    with pytest.raises(TransientFailure, match="the layer was edited at 2025-06-18 12:30 UTC"):
        room.archive(candidate)
    (newer,) = detect(arcgis(), open_source(arcgis(), room.web), room.portal.records, NOW + timedelta(days=1))
    with pytest.raises(Superseded, match="this release is the edit of 2025-06-11 12:30 UTC"):
        room.archive(candidate)
    assert b"edited" in room.portal.store.read(room.archive(newer).files[0].key)


def test_values_that_changed_since_the_look_are_another_state(gis: Gis, room: Room) -> None:
    layer = gis.holds(20, edit_date=False)
    candidate = room.noticed()
    layer.edit(Edit(put=[feature(2, "edited")]))
    with pytest.raises(TransientFailure, match="changed between noticing and fetching"):
        room.archive(candidate)


def test_a_layer_that_no_longer_tells_its_edit_date_is_another_state(gis: Gis, source: ArcgisLayer) -> None:
    gis.holds(3, edited_at=FIRST)
    (first,) = look(source)
    gis.holds(3, edit_date=False)
    with pytest.raises(OtherState, match="no longer tells"):
        source.files(arcgis(), as_seen(first))


def test_a_full_disk_is_told_as_one(gis: Gis, room: Room) -> None:
    layer = gis.holds(3, edited_at=FIRST)
    candidate = room.noticed()
    queries = layer.queries
    room.workdir.mkdir()
    (room.workdir / "0.received").symlink_to("/dev/full")
    with pytest.raises(TransientFailure, match="could not be written to the local disk"):
        room.archive(candidate)
    assert layer.queries > queries


def test_a_dataset_of_another_kind_is_refused(source: ArcgisLayer) -> None:
    with pytest.raises(PermanentFailure, match="not an arcgis layer"):
        source.detect(table(), None, [], NOW)


# -- recorded from a real server ----------------------------------------------------------------------------------------


def test_the_recorded_layer_is_understood_by_the_real_client(gis: Gis, web: Web) -> None:
    gis.layers[ADDRESS] = Recorded(recorded("arcgis"), "us-ca-carson")
    client = LayerClient(web, LAYER, "1=1")
    layer = client.layer()
    assert (layer.oid_field, layer.ordered, layer.geojson, layer.edited) == ("OBJECTID", False, False, None)
    assert (layer.most_rows, layer.statistics) == (LayerClient.DEFAULT_ROWS, False)
    assert client.count() == 30_551
    assert len(client.ids()) == 100
    rows = client.page(layer, rows=10)
    assert [row.oid for row in rows] == [1, 2, 3, 1, 4, 5]
    first = json.loads(rows[0].line)
    assert first["geometry"] == {"type": "Point", "coordinates": [-118.26612584395593, 33.83225576098862]}
    assert first["properties"]["ADDRESS"] == "555 E CARSON ST 122"


def test_the_recorded_rows_are_refused_because_one_came_twice(gis: Gis, web: Web) -> None:
    gis.layers[ADDRESS] = Recorded(recorded("arcgis"), "us-ca-carson")
    with pytest.raises(PermanentFailure, match="object id 1 came twice"):
        harvest(web)


def test_the_recorded_layer_with_each_row_once_is_archived(gis: Gis, room: Room) -> None:
    real = Recorded(recorded("arcgis"), "us-ca-carson")
    rows = {f["attributes"].pop("OBJECTID"): f for f in real.answered({})["features"]}
    features = [
        {
            "id": oid,
            "properties": f["attributes"],
            "geometry": {"type": "Point", "coordinates": [*f["geometry"].values()]} if "geometry" in f else None,
        }
        for oid, f in rows.items()
    ]

    class Carson(Served):
        def described(self):
            return real.described()

    layer = gis.holds(features, pagination=False, geojson=False, statistics=False, max_record_count=2)
    assert isinstance(layer, SandboxLayer)
    gis.layers[ADDRESS] = Carson(layer)
    release = room.archive(room.noticed())
    assert oids_of(room.portal.store.read(release.files[0].key)) == [1, 2, 3, 4, 5]
