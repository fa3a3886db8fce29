"""The portal's web server: what is public, how long it may be kept, and every kind of Range."""

import contextlib
import email
import os
import threading

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.sandbox.ranged import CHUNK_BYTES, NotSatisfiable, spans
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.web import portal_app

BODY = bytes(range(256)) * 40  # 10,240 bytes
VERSION = "/versions/v1/data.parquet"


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("web")
    for key in ("versions/v1/data.parquet", "processed/d.parquet", "catalog/catalog.parquet", "raw/d/r/a.zip",
                "records/v1/doi.json", "staging/v1/data.parquet", ".d4c/tmp/x", "versions/.half"):  # fmt: skip
        file = tmp_path / "portal" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(BODY)
    return tmp_path / "portal"


@pytest.fixture(scope="module")
def site(portal):
    with serve(portal_app(portal)) as served, httpx.Client(base_url=served.url) as client:
        yield client


def test_versions_and_raw_may_be_kept_for_ever_and_nothing_else(site):
    kept = {p: site.get(p).headers["cache-control"] for p in (VERSION, "/raw/d/r/a.zip")}
    assert all("immutable" in value for value in kept.values())
    for path in ("/processed/d.parquet", "/catalog/catalog.parquet", "/records/v1/doi.json"):
        assert site.get(path).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/staging/v1/data.parquet", "/.d4c/tmp/x", "/versions/.half", "/versions/v1", "/", "/nothing",
     "/versions//v1/data.parquet", "/versions/%2e%2e/staging/v1/data.parquet", "/%2e%2e/secret",
     "/versions/..%2fstaging/v1/data.parquet", "/a%00b"],
)  # fmt: skip
def test_what_is_not_public_is_not_there(site, portal, path):
    (portal.parent / "secret").write_text("x")
    answer = site.get(path)
    assert answer.status_code == 404
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_link_out_of_the_portal_is_not_followed(site, portal):
    (portal.parent / "secret").write_text("x")
    (portal / "versions" / "link").symlink_to(portal.parent / "secret")
    assert site.get("/versions/link").status_code == 404


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.parquet", "application/vnd.apache.parquet"), ("a.torrent", "application/x-bittorrent"), ("a.json", "application/json"),
     ("a", "application/octet-stream")],
)  # fmt: skip
def test_media_types(site, portal, name, kind):
    (portal / "versions" / name).write_bytes(b"x")
    assert site.get(f"/versions/{name}").headers["content-type"] == kind


def test_web_pages_of_other_hosts_may_read_it_in_ranges(site):
    answer = site.options(VERSION, headers={"Origin": "https://example.org", "Access-Control-Request-Headers": "range"})
    assert answer.status_code == 204
    assert "Range" in answer.headers["access-control-allow-headers"]
    shown = site.get(VERSION, headers={"Range": "bytes=0-0"}).headers
    assert shown["access-control-allow-origin"] == "*"
    assert "Content-Range" in shown["access-control-expose-headers"]


def test_writing_is_refused(site):
    assert site.put(VERSION, content=b"x").status_code == 405


def test_head_says_what_get_would_send(site):
    head, get = site.head(VERSION), site.get(VERSION)
    assert (head.status_code, head.content) == (200, b"")
    for header in ("content-length", "etag", "last-modified", "content-type", "accept-ranges"):
        assert head.headers[header] == get.headers[header]
    assert int(head.headers["content-length"]) == len(BODY)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=10000-", 10_000, 10_239), ("bytes=-5", 10_235, 10_239),
     ("bytes=10000-99999", 10_000, 10_239), ("bytes=-99999", 0, 10_239), ("BYTES= 3-4", 3, 4)],
)  # fmt: skip
def test_one_range(site, asked, first, last):
    answer = site.get(VERSION, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(BODY)}"
    assert answer.content == BODY[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_beyond_the_end_is_416_with_the_size(site, asked):
    answer = site.get(VERSION, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(BODY)}"


@pytest.mark.parametrize(
    "asked", ["bytes=", "bytes=a-b", "bytes=5-3", "lines=0-1", "bytes", "bytes=1", "bytes=+1-2", "bytes=-"]
)
def test_a_range_that_makes_no_sense_is_ignored(site, asked):
    answer = site.get(VERSION, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, BODY)


def test_several_ranges_come_as_parts(site):
    answer = site.get(VERSION, headers={"Range": "bytes=0-3, 99999-, 100-103,-2"})
    assert answer.status_code == 206
    message = email.message_from_bytes(
        b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content
    )
    parts = [(p["Content-Range"], p.get_payload(decode=True)) for p in message.get_payload()]
    assert [r for r, _ in parts] == ["bytes 0-3/10240", "bytes 100-103/10240", "bytes 10238-10239/10240"]
    assert b"".join(BODY[a:b] for a, b in ((0, 4), (100, 104), (10_238, 10_240))) in b"".join(p for _, p in parts)


def test_if_range_only_continues_the_same_file(site):
    known = site.head(VERSION).headers
    for validator in (known["etag"], known["last-modified"]):
        assert site.get(VERSION, headers={"Range": "bytes=5-", "If-Range": validator}).status_code == 206
    changed = site.get(VERSION, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, BODY)


def test_an_unchanged_file_is_not_sent_again(site):
    known = site.head(VERSION).headers
    for ask in ({"If-None-Match": known["etag"]}, {"If-None-Match": f'"x", W/{known["etag"]}'},
                {"If-Modified-Since": known["last-modified"]}):  # fmt: skip
        answer = site.get(VERSION, headers=ask)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", known["etag"])
    both = {"If-None-Match": '"other"', "If-Modified-Since": known["last-modified"]}
    assert site.get(VERSION, headers=both).status_code == 200


def test_a_replaced_file_has_another_etag_even_with_the_same_size_and_time(site, portal):
    file = portal / "processed" / "d.parquet"
    before, info = site.head("/processed/d.parquet").headers["etag"], file.stat()
    fresh = portal / "processed" / "fresh"
    fresh.write_bytes(BODY[::-1])
    os.utime(fresh, ns=(info.st_atime_ns, info.st_mtime_ns))
    fresh.replace(file)
    assert site.head("/processed/d.parquet").headers["etag"] != before


def test_an_answer_is_one_files_bytes_while_latest_switches(site, portal):
    file, stop = portal / "processed" / "switched.parquet", threading.Event()
    file.write_bytes(BODY)

    def switch():
        for n in range(100_000):
            if stop.is_set():
                return
            fresh = portal / f"fresh-{n}"
            fresh.write_bytes(bytes([n % 256]) * (CHUNK_BYTES + n % 7 * 10_000))
            fresh.replace(file)

    writer = threading.Thread(target=switch)
    writer.start()
    try:
        for _ in range(60):
            body = site.get("/processed/switched.parquet").content
            assert body == BODY or set(body) == {body[0]}
    finally:
        stop.set()
        writer.join()


def test_an_empty_file_has_no_ranges(site, portal):
    (portal / "versions" / "empty").write_bytes(b"")
    assert site.get("/versions/empty").content == b""
    assert site.get("/versions/empty", headers={"Range": "bytes=0-"}).status_code == 416


whole = st.integers(0, 300)


@given(st.lists(st.tuples(st.none() | whole, st.none() | whole), max_size=5), st.integers(0, 200))
def test_every_range_that_is_sent_lies_in_the_file(asked, size):
    header = "bytes=" + ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in asked)
    try:
        found = spans(header, size)
    except NotSatisfiable:
        return
    assert all(0 <= s.start < s.stop <= size for s in found)


@given(st.text(max_size=40))
def test_no_range_header_can_break_the_parser(header):
    with contextlib.suppress(NotSatisfiable):
        spans(header, 100)
