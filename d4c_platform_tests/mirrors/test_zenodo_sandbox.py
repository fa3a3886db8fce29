"""The sandbox's Zenodo answers as the real one was seen to: codes, shapes and quirks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.zenodo import zenodo_app
from d4c_platform_tests.mirrors.conftest import TOKEN, Site

METADATA = {
    "resource_type": {"id": "dataset"},
    "title": "Provinces and territories",
    "publication_date": "2025-06-11",
    "publisher": "Zenodo",
    "creators": [{"person_or_org": {"type": "organizational", "name": "Statistics Canada"}}],
    "version": "1.0.0",
}
BYTES = {"Content-Type": "application/octet-stream"}


def create(site: Site, metadata: dict[str, Any] = METADATA) -> str:
    answer = site.call("POST", "records", json={"metadata": metadata, "files": {"enabled": True}})
    assert answer.status_code == 201
    return str(answer.json()["id"])


def upload(site: Site, record: str, key: str, content: bytes) -> dict[str, Any]:
    files = f"records/{record}/draft/files"
    assert site.call("POST", files, json=[{"key": key}]).status_code == 201
    sent = site.call("PUT", f"{files}/{key}/content", content=content, headers=BYTES)
    assert sent.status_code == 200
    assert sent.json()["status"] == "pending"
    assert "checksum" not in sent.json()
    committed = site.call("POST", f"{files}/{key}/commit")
    assert committed.status_code == 200
    return dict(committed.json())


def publish(site: Site, record: str) -> httpx.Response:
    return site.call("POST", f"records/{record}/draft/actions/publish")


def published(site: Site) -> str:
    record = create(site)
    upload(site, record, "a.parquet", b"PAR1....PAR1")
    assert publish(site, record).status_code == 202
    return record


def test_a_completed_file_carries_its_md5_and_size(site: Site) -> None:
    file = upload(site, create(site), "a.parquet", b"abc")
    assert (file["status"], file["checksum"], file["size"]) == ("completed", f"md5:{hashlib.md5(b'abc').hexdigest()}", 3)


def test_invalid_metadata_is_saved_in_part_with_200_and_stops_publication(site: Site) -> None:
    record = create(site)
    answer = site.call("PUT", f"records/{record}/draft", json={"metadata": {**METADATA, "title": "ab", "rights": [{}]}})
    assert answer.status_code == 200
    assert [e["field"] for e in answer.json()["errors"]] == ["metadata.title", "metadata.rights.0"]
    assert "title" not in answer.json()["metadata"]
    assert answer.json()["metadata"]["version"] == "1.0.0"
    upload(site, record, "a.txt", b"abc")
    refused = publish(site, record)
    assert refused.status_code == 400
    assert refused.json()["message"] == "A validation error occurred."


def test_a_save_replaces_the_whole_document(site: Site) -> None:
    record = create(site)
    without = {k: v for k, v in METADATA.items() if k != "version"}
    assert "version" not in site.call("PUT", f"records/{record}/draft", json={"metadata": without}).json()["metadata"]


def test_a_save_on_an_old_revision_is_412(site: Site) -> None:
    record = create(site)
    etag = site.call("GET", f"records/{record}/draft").headers["ETag"]
    save = {"json": {"metadata": METADATA}, "headers": {"If-Match": etag}}
    assert site.call("PUT", f"records/{record}/draft", **save).status_code == 200
    assert site.call("PUT", f"records/{record}/draft", **save).status_code == 412


def test_a_draft_without_files_or_with_pending_ones_is_not_published(site: Site) -> None:
    record = create(site)
    assert "Missing uploaded files" in publish(site, record).text
    site.call("POST", f"records/{record}/draft/files", json=[{"key": "a.txt"}])
    assert "have not completed their transfer" in publish(site, record).text


def test_publishing_twice_is_404(site: Site) -> None:
    record = published(site)
    again = publish(site, record)
    assert again.status_code == 404
    assert again.json() == {"status": 404, "message": "The persistent identifier does not exist."}


def test_versions_returns_the_next_draft_that_exists_without_files_date_and_version(site: Site) -> None:
    record = published(site)
    first, second = (site.call("POST", f"records/{record}/versions") for _ in range(2))
    assert first.status_code == second.status_code == 201
    draft = second.json()
    assert first.json()["id"] == draft["id"] != record
    assert {"publication_date", "version"}.isdisjoint(draft["metadata"])
    assert draft["files"]["count"] == 0
    assert draft["parent"]["id"] == site.get(f"records/{record}")["parent"]["id"]
    assert publish(site, draft["id"]).status_code == 400


def test_imported_files_keep_their_bytes_under_new_ids(site: Site) -> None:
    record = published(site)
    draft = site.call("POST", f"records/{record}/versions").json()["id"]
    imported = site.call("POST", f"records/{draft}/draft/actions/files-import")
    assert imported.status_code == 201
    (before,), (after,) = site.get(f"records/{record}/files")["entries"], imported.json()["entries"]
    assert after["checksum"] == before["checksum"]
    assert after["version_id"] != before["version_id"]
    again = site.call("POST", f"records/{draft}/draft/actions/files-import")
    assert (again.status_code, again.json()["message"]) == (400, "Please remove all files first.")


def test_the_concept_and_latest_redirect_to_the_newest_record(site: Site) -> None:
    record = published(site)
    concept = site.get(f"records/{record}")["parent"]["id"]
    for path in (f"records/{concept}", f"records/{record}/versions/latest"):
        answer = site.call("GET", path)
        assert answer.status_code == 301
        assert answer.headers["Location"] == answer.json()["location"] == f"{site.url}/api/records/{record}"


def test_ids_are_text_in_rdm_and_numbers_in_the_older_json(site: Site) -> None:
    record = published(site)
    assert site.get(f"records/{record}")["id"] == record
    older = httpx.get(f"{site.url}/api/records/{record}").json()
    assert older["id"] == int(record)
    assert isinstance(older["conceptrecid"], str)
    assert older["doi"] == f"10.5072/zenodo.{record}"


def test_range_works_on_the_download_route_only(site: Site) -> None:
    record = published(site)
    part = httpx.get(f"{site.url}/records/{record}/files/a.parquet?download=1", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"PAR1", "bytes 0-3/12")
    assert part.headers["ETag"] == f'"md5:{hashlib.md5(b"PAR1....PAR1").hexdigest()}"'
    whole = httpx.get(f"{site.url}/api/records/{record}/files/a.parquet/content", headers={"Range": "bytes=0-3"})
    assert (whole.status_code, len(whole.content)) == (200, 12)


def test_what_zenodo_refuses_of_files_is_refused(site: Site) -> None:
    record = create(site)
    files = f"records/{record}/draft/files"
    upload(site, record, "a.txt", b"abc")
    assert site.call("POST", files, json=[{"key": "a.txt"}]).status_code == 400, "the same key twice"
    assert site.call("PUT", f"{files}/a.txt/content", content=b"x", headers=BYTES).status_code == 400, "a second body"
    site.call("POST", files, json=[{"key": "empty.txt"}])
    assert site.call("PUT", f"{files}/empty.txt/content", content=b"", headers=BYTES).status_code == 400
    assert site.call("PUT", f"{files}/folder/b.txt/content", content=b"x", headers=BYTES).status_code == 404
    assert site.call("POST", files, json=[{"key": f"{i}.txt"} for i in range(99)]).status_code == 400, "the 101st file"
    assert site.call("DELETE", f"{files}/a.txt").status_code == 204
    assert site.call("DELETE", f"{files}/a.txt").status_code == 404


def test_a_doi_is_reserved_once(site: Site) -> None:
    record = create(site)
    reserved = site.call("POST", f"records/{record}/draft/pids/doi")
    assert reserved.status_code == 201
    assert reserved.json()["pids"]["doi"]["identifier"] == f"10.5072/zenodo.{record}"
    assert site.call("POST", f"records/{record}/draft/pids/doi").status_code == 400


def test_an_edit_changes_metadata_and_keeps_doi_and_files(site: Site) -> None:
    record = published(site)
    assert site.call("POST", f"records/{record}/draft").status_code == 201
    site.call("PUT", f"records/{record}/draft", json={"metadata": {**METADATA, "title": "Corrected"}})
    assert site.get(f"records/{record}")["metadata"]["title"] == METADATA["title"]
    assert publish(site, record).status_code == 202
    after = site.get(f"records/{record}")
    assert (after["metadata"]["title"], after["files"]["count"]) == ("Corrected", 1)
    assert len(site.published()) == 1


@pytest.mark.parametrize(("headers", "status"), [({}, 403), ({"Authorization": "Bearer wrong"}, 401)])
def test_nobody_writes_without_the_right_token(headers: dict[str, str], status: int, site: Site) -> None:
    answer = httpx.post(f"{site.url}/api/records", json={}, headers=headers)
    assert answer.status_code == answer.json()["status"] == status


def test_pages_are_limited(site: Site) -> None:
    assert httpx.get(f"{site.url}/api/records?size=26").status_code == 400
    assert site.call("GET", "records?size=101").status_code == 400


def test_more_requests_than_allowed_are_429_with_when_to_come_back(tmp_path: Path) -> None:
    with serve(zenodo_app(tmp_path, token=TOKEN, requests_per_min=3)) as served:
        answers = [Site(served.url).call("GET", "records/1/draft") for _ in range(4)]
    assert [a.status_code for a in answers] == [404, 404, 404, 429]
    assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["2", "1", "0", "0"]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with serve(zenodo_app(tmp_path, token=TOKEN)) as served:
        site = Site(served.url)
        record, draft = published(site), create(site)
        upload(site, draft, "b.txt", b"half done")
    with serve(zenodo_app(tmp_path, token=TOKEN)) as served:
        site = Site(served.url)
        assert httpx.get(f"{site.url}/records/{record}/files/a.parquet?download=1").content == b"PAR1....PAR1"
        assert site.get(f"records/{draft}/draft/files/b.txt")["status"] == "completed"
        assert publish(site, draft).status_code == 202
        assert create(site) not in {record, draft}


def test_links_name_the_site_it_stands_in_for(tmp_path: Path) -> None:
    with serve(zenodo_app(tmp_path, "https://zenodo.example/", token=TOKEN)) as served:
        site = Site(served.url)
        assert site.get(f"records/{published(site)}")["links"]["self_html"].startswith("https://zenodo.example/records/")


def test_a_record_has_a_page_and_its_doi_leads_there(site: Site) -> None:
    record = published(site)
    page = httpx.get(f"{site.url}/doi/10.5072/zenodo.{record}", follow_redirects=True)
    assert page.status_code == 200
    assert "a.parquet" in page.text
    assert METADATA["title"] in page.text
