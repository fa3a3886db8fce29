"""A harvest holds exactly the rows that the layer had at one moment, whatever its server can and whatever happens meanwhile."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.sandbox.arcgis_layers import Edit
from d4c_platform.sources.arcgis_layer import LayerClient
from d4c_platform.sources.arcgis_walk import LayerChanged, Walk
from d4c_platform.web import Web
from d4c_platform_tests.sources.arcgis_server import ADDRESS, Gis, feature, harvest, oids_of, serving


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


# -- the bytes ----------------------------------------------------------------------------------------------------------


def test_a_layer_is_one_feature_a_line_in_the_order_of_its_object_ids(gis: Gis, web: Web) -> None:
    gis.holds([feature(9, "é"), feature(2), feature(5)], pagination=False)
    first, *lines, last = harvest(web).decode().split("\n")[:-1]
    assert (first, last) == ('{"type":"FeatureCollection","features":[', "]}")
    assert lines[0] == (
        '{"geometry":{"coordinates":[-79.498,43.5],"type":"Point"},"id":2,'
        '"properties":{"KIND":"a","OBJECTID":2,"n":4},"type":"Feature"},'
    )
    assert [json.loads(line.rstrip(","))["id"] for line in lines] == [2, 5, 9]
    assert '"é"' in lines[-1]


@pytest.mark.parametrize("pagination", [True, False])
@pytest.mark.parametrize("geojson", [True, False])
@pytest.mark.parametrize("flag", ["top", "properties"])
def test_the_same_rows_have_the_same_bytes_whatever_the_server_speaks(
    gis: Gis, web: Web, pagination: bool, geojson: bool, flag: str
) -> None:
    gis.holds(10)
    plain = harvest(web)
    gis.holds(10, max_record_count=3, pagination=pagination, geojson=geojson, flag=flag, short_pages=(2, 0, 3))
    assert harvest(web) == plain


def test_the_declared_condition_holds_for_every_page(gis: Gis, web: Web) -> None:
    for pagination in (True, False):
        gis.holds([feature(n, "park" if n % 3 else "road") for n in range(1, 40)], max_record_count=4, pagination=pagination)
        assert oids_of(harvest(web, "KIND = 'park' OR KIND = 'lake'")) == [n for n in range(1, 40) if n % 3]


def test_a_condition_that_makes_the_address_long_is_posted(gis: Gis, web: Web) -> None:
    gis.holds(5)
    where = "KIND = 'a' AND n IN (" + ", ".join(str(n) for n in range(800)) + ")"
    assert oids_of(harvest(web, where)) == [1, 2, 3, 4, 5]
    assert gis.asked("POST", f"/{ADDRESS}/query")


# -- pages --------------------------------------------------------------------------------------------------------------


def requests_for_rows(gis: Gis) -> list[str]:
    log = httpx.get(f"{gis.url}/_sandbox/requests").json()
    return [r["query"] for r in log if "outFields" in r["query"]]


def test_no_query_for_rows_is_unbounded_and_none_asks_for_more_than_the_layer_gives(gis: Gis, web: Web) -> None:
    for pagination in (True, False):
        httpx.delete(f"{gis.url}/_sandbox/requests")
        gis.holds(25, max_record_count=7, pagination=pagination, unbounded_fails=True)
        assert len(oids_of(harvest(web))) == 25
        for query in requests_for_rows(gis):
            assert ("resultRecordCount=7" in query and "orderByFields" in query) if pagination else "OBJECTID+%3C%3D+" in query
            assert "resultOffset" not in query


def test_a_layer_that_does_not_sort_is_read_across_gaps_without_reading_the_gaps(gis: Gis, web: Web) -> None:
    oids = [0, 1, 2, 500, 70_000, 70_001, 2_000_000_000, 2_147_483_646, 2_147_483_647]
    layer = gis.holds([feature(oid) for oid in oids], pagination=False, max_record_count=2)
    assert oids_of(harvest(web)) == oids
    assert layer.queries < 150


def test_object_ids_may_be_negative_or_longer_than_32_bits(gis: Gis, web: Web) -> None:
    oids = [-5, -1, 3, 1 << 33, (1 << 52) + 1]
    for pagination in (True, False):
        gis.holds([feature(oid) for oid in oids], pagination=pagination)
        assert oids_of(harvest(web)) == oids


def test_an_empty_page_in_the_middle_is_no_end(gis: Gis, web: Web) -> None:
    gis.holds(12, max_record_count=3, short_pages=(3, 0, 0, 2))
    assert oids_of(harvest(web)) == list(range(1, 13))


def test_pages_cut_by_bytes_lose_nothing(gis: Gis, web: Web) -> None:
    line = {"type": "LineString", "coordinates": [[n / 7, n / 9] for n in range(60)]}
    rows = [feature(n, geometry=line if n % 4 == 0 else None) for n in range(1, 30)]
    for pagination in (True, False):
        gis.holds(rows, page_bytes=3_500, pagination=pagination, geometry_type="esriGeometryPolyline")
        assert oids_of(harvest(web)) == list(range(1, 30))


def test_a_row_that_never_comes_is_an_error_and_no_end(gis: Gis, web: Web) -> None:
    gis.holds(3, page_bytes=10)
    with pytest.raises(TransientFailure, match="holds rows back"):
        harvest(web)


def test_a_page_that_the_server_cannot_bear_is_asked_for_in_parts(gis: Gis, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    gis.holds(200)
    plain = harvest(web)
    monkeypatch.setattr(LayerClient, "PAGE_BYTES", 8_000)
    assert harvest(web) == plain
    gis.holds(200, pagination=False)
    assert harvest(web) == plain


def test_a_busy_moment_in_the_middle_is_waited_out(gis: Gis, web: Web) -> None:
    gis.holds(10, max_record_count=4)
    for code in (500, 429, 499):
        gis.fault(kind="status", path=f"/{ADDRESS}/query", status=200, body=json.dumps({"error": {"code": code}}), times=2)
        assert len(oids_of(harvest(web))) == 10


@pytest.mark.parametrize("kind", ["reset", "truncate"])
def test_a_line_that_breaks_in_the_middle_is_no_lost_row(gis: Gis, web: Web, kind: str) -> None:
    gis.holds(10, max_record_count=4)
    gis.fault(kind=kind, path=f"/{ADDRESS}/query", after_bytes=30)
    assert len(oids_of(harvest(web))) == 10


# -- refusals -----------------------------------------------------------------------------------------------------------


class Odd:
    """A layer whose answers with rows a test writes itself."""

    def __init__(self, gis: Gis, pages: list[list[int]], pagination: bool = True) -> None:
        gis.holds([feature(n) for n in sorted({oid for page in pages for oid in page})], pagination=pagination)
        self._real, self._pages = gis.layers[ADDRESS], itertools.chain(pages, itertools.repeat([]))
        gis.layers[ADDRESS] = self

    def described(self):
        return self._real.described()

    def answered(self, asked):
        if "outFields" not in asked:
            return self._real.answered(asked)
        rows = [{**feature(oid), "properties": {"OBJECTID": oid}} for oid in next(self._pages)]
        return {"type": "FeatureCollection", "features": rows}


@pytest.mark.parametrize(
    ("pages", "sentence"),
    [
        ([[1, 2, 2, 3]], "object id 2 came twice"),
        ([[1, 3, 2]], "object id 2 came where only those after 3 were asked for"),
        ([[1, 2], [2, 3]], "object id 2 came where only those after 2 were asked for"),
        ([[5, 6], [1, 2]], "object id 1 came where only those after 6 were asked for"),
    ],
)
def test_rows_that_come_twice_or_out_of_order_are_refused(gis: Gis, web: Web, pages: list[list[int]], sentence: str) -> None:
    Odd(gis, pages)
    with pytest.raises(PermanentFailure, match=sentence):
        harvest(web)


def test_a_server_that_cuts_before_it_sorts_is_found_out(gis: Gis, web: Web) -> None:
    Odd(gis, [[5, 6], [9]])
    layer = gis.layers[ADDRESS]._real.layer
    layer.edit(Edit(put=[feature(1), feature(2)]))
    with pytest.raises(LayerChanged, match="5 rows were counted before, 3 were read and 5 counted after"):
        harvest(web)


def test_a_layer_without_rows_is_no_release(gis: Gis, web: Web) -> None:
    gis.holds(0)
    with pytest.raises(TransientFailure, match="no rows just now"):
        harvest(web)


# -- layers that change -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        Edit(put=[feature(100)]),
        Edit(delete=[1]),
        Edit(delete=[20]),
        Edit(delete=[1, 20], put=[feature(100), feature(101)]),
        Edit(delete=[3, 19], put=[feature(1_000), feature(1_001)]),
    ],
)
@pytest.mark.parametrize("pagination", [True, False])
def test_a_layer_that_changes_during_the_harvest_is_refused(gis: Gis, web: Web, edit: Edit, pagination: bool) -> None:
    layer = gis.holds(20, max_record_count=5, pagination=pagination)
    layer.edit_later(4 if pagination else 8, edit)  # after the second page or the third
    with pytest.raises(LayerChanged, match="changed while it was read"):
        harvest(web)


def test_as_many_rows_as_before_are_not_the_same_rows(gis: Gis, web: Web) -> None:
    """One row that was read goes, one is added before the cursor, one that was not read goes, one is added after it."""
    layer = gis.holds([feature(2 * n) for n in range(1, 21)], max_record_count=5)
    layer.edit_later(3, Edit(delete=[4, 40], put=[feature(3), feature(41)]))
    with pytest.raises(LayerChanged, match="other object ids are there than were read, though as many"):
        harvest(web)


def test_ids_are_compared_in_bounded_parts(gis: Gis, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = gis.holds(50, max_record_count=5)
    whole = harvest(web)
    few = layer.queries
    monkeypatch.setattr(Walk, "IDS_AT_ONCE", 10)
    assert harvest(web) == whole
    assert layer.queries - few == few + 4  # five answers of ten ids instead of one
    layer.edit_later(15, Edit(delete=[4, 44], put=[feature(-1), feature(60)]))
    with pytest.raises(LayerChanged):
        harvest(web)


def test_a_server_that_cuts_ids_as_it_cuts_rows_is_asked_page_by_page(gis: Gis, web: Web) -> None:
    layer = gis.holds(50, max_record_count=5, ids_limit=5)
    assert len(oids_of(harvest(web))) == 50
    layer.edit_later(13, Edit(delete=[4, 50], put=[feature(-1), feature(60)]))
    with pytest.raises(LayerChanged):
        harvest(web)


edits = st.lists(
    st.tuples(
        st.integers(0, 12),  # queries until the edit
        st.lists(st.integers(0, 40), max_size=2),  # deleted: at this place among the rows there are
        st.lists(st.integers(-3, 130), max_size=2),  # added
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(
    oids=st.sets(st.integers(-2, 120), max_size=40),
    most=st.integers(1, 12),
    ids_at_once=st.integers(1, 60),
    pagination=st.booleans(),
    geojson=st.booleans(),
    tells_limit=st.booleans(),
    flag=st.sampled_from(["top", "properties"]),
    short=st.lists(st.integers(0, 6), max_size=4),
    ids_limit=st.sampled_from([None, None, 12]),
    schedule=edits,
)
def test_a_harvest_is_the_layer_at_one_moment_or_it_is_refused(
    server, oids, most, ids_at_once, pagination, geojson, tells_limit, flag, short, ids_limit, schedule
) -> None:
    """Never lost, never doubled. As in ArcGIS, the object id of a deleted row does not come back."""
    gis, web = server
    layer = gis.holds(
        [feature(oid) for oid in sorted(oids)],
        max_record_count=most,
        pagination=pagination,
        geojson=geojson,
        tells_limit=tells_limit,
        flag=flag,
        short_pages=short,
        ids_limit=ids_limit,
    )
    used, present, when = set(oids), set(oids), 0
    for queries, deleted, added in schedule:
        when += queries
        gone = {sorted(present)[place % len(present)] for place in deleted if present}
        new = set(added) - used
        layer.edit_later(when, Edit(put=[feature(oid) for oid in new], delete=sorted(gone)))
        present = present - gone | new
        used |= new
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Walk, "IDS_AT_ONCE", ids_at_once)
        patch.setattr(LayerClient, "FIRST_WAIT_S", 0.001)
        try:
            document = harvest(web)
        except (LayerChanged, TransientFailure):
            assert schedule or not oids or 0 in short  # a layer at rest whose pages have rows is never refused
            return
        except D4CError as error:
            raise AssertionError(f"refused for ever: {error}") from error
    harvested = oids_of(document)
    assert harvested == sorted(set(harvested))
    assert frozenset(harvested) in layer.moments


# -- memory -------------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Walk, "IDS_AT_ONCE", 500)
    with serving(with_log=False) as (gis, web):  # a log in this process would grow

        def peak(rows: int) -> int:
            gis.holds([feature(n, "x" * 200) for n in range(rows)], max_record_count=50)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            harvest(web, write=len)
            return tracemalloc.get_traced_memory()[1] - before

        tracemalloc.start()
        try:
            peak(600)
            small, large = peak(600), peak(1_800)
        finally:
            tracemalloc.stop()
    # A line has over 350 bytes, a parsed feature 2,000; what grows a little is garbage that waits to be collected.
    assert large < small + 1_200 * 150
