"""Exactly one record and one DOI a version, on good days and bad ones."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest

from d4c_platform.mirrors.mirror import Companion
from d4c_platform.mirrors.zenodo import AwaitingApproval, Zenodo
from d4c_platform.mirrors.zenodo_metadata import document_of
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Artifact, Copies, CopyState, Doi, ZenodoDraft
from d4c_platform.storage.records import Records
from d4c_platform_tests.mirrors.conftest import TOKEN, Site
from d4c_platform_tests.mirrors.versions import DATASET, FIRST, SECOND, published_version

UNTIL_CLEARED = -1


def test_a_first_publish_ends_in_a_record_a_doi_and_proved_copies(
    zenodo: Zenodo, portal: Path, site: Site, records: Records
) -> None:
    version = published_version(portal)
    copies = zenodo.publish(version)

    (record,) = site.published()
    doi = records.read(Doi, FIRST)
    assert doi is not None
    assert doi.doi == record["pids"]["doi"]["identifier"] == f"10.5072/zenodo.{record['id']}"
    assert doi.concept_doi == f"10.5072/zenodo.{record['parent']['id']}"
    assert set(record["files"]["entries"]) == {f"{FIRST}.parquet", "manifest.json", "README.md"}
    (copy,) = copies.copies
    assert copy.verified == "sha256"
    assert hashlib.sha256(httpx.get(copy.url).content).hexdigest() == copy.sha256 == version.artifacts[0].digests.sha256
    assert records.read(Copies, FIRST, place="zenodo") == copies
    assert site.drafts() == []


def test_a_second_version_joins_the_concept_of_the_first(zenodo: Zenodo, portal: Path, site: Site, records: Records) -> None:
    zenodo.publish(published_version(portal))
    first = records.read(Doi, FIRST)
    assert first is not None
    zenodo.publish(published_version(portal, SECOND, b"PAR1 newer rates PAR1", previous_record_id=first.record_id))

    second = records.read(Doi, SECOND)
    assert second is not None
    assert second.concept_doi == first.concept_doi
    assert second.doi != first.doi
    assert [r["metadata"]["title"] for r in site.published()] == [
        "Exchange rates <daily> (2025-07-11)",
        "Exchange rates <daily> (2025-06-11)",
    ]
    latest = httpx.get(f"{site.url}/api/records/{first.record_id}/versions/latest", follow_redirects=True).json()
    assert str(latest["id"]) == second.record_id


def test_publishing_again_sends_nothing(zenodo: Zenodo, portal: Path, site: Site) -> None:
    copies = zenodo.publish(published_version(portal))
    site.forget()
    assert zenodo.publish(published_version(portal)) == copies
    assert {r["method"] for r in site.requests(path="/api/")} == {"GET"}


def test_a_publish_answered_with_504_is_settled_by_reading(zenodo: Zenodo, portal: Path, site: Site, records: Records) -> None:
    site.fault(method="POST", path="/api/records/1001/draft/actions/publish", kind="after", status=504)
    zenodo.publish(published_version(portal))
    assert len(site.requests("POST", "actions/publish")) == 1
    assert len(site.published()) == 1
    assert records.read(Doi, FIRST) is not None


def test_a_second_publish_after_504_finds_the_first_record(
    zenodo_at: Callable[..., Zenodo], portal: Path, site: Site, records: Records
) -> None:
    with pytest.raises(AwaitingApproval):
        zenodo_at(publish_allowed=False).publish(published_version(portal))
    site.fault(method="POST", path="/api/records/1001/draft/actions/publish", kind="after", status=504)
    assert site.call("POST", "records/1001/draft/actions/publish").status_code == 504  # and nobody stayed to look
    zenodo_at().publish(published_version(portal))
    assert len(site.requests("POST", "actions/publish")) == 1
    assert [r["id"] for r in site.published()] == ["1001"]
    assert site.drafts() == []


def test_a_publish_refused_with_503_leaves_the_draft_and_no_doi(
    zenodo: Zenodo, portal: Path, site: Site, records: Records
) -> None:
    site.fault(method="POST", path="/api/records/1001/draft/actions/publish", kind="status", status=503)
    with pytest.raises(TransientFailure, match="not published") as failure:
        zenodo.publish(published_version(portal))
    assert FIRST in str(failure.value)
    assert site.published() == []
    assert records.read(Doi, FIRST) is None
    zenodo.publish(published_version(portal))
    assert len(site.published()) == 1


def test_an_error_page_instead_of_an_answer_to_publish_is_settled_by_reading(zenodo: Zenodo, portal: Path, site: Site) -> None:
    site.fault(method="POST", path="/api/records/1001/draft/actions/publish", kind="html", status=200)
    with pytest.raises(TransientFailure):
        zenodo.publish(published_version(portal))
    assert site.published() == []
    zenodo.publish(published_version(portal))
    assert len(site.published()) == 1


def test_a_creation_answered_with_504_is_found_by_its_marker(zenodo: Zenodo, portal: Path, site: Site) -> None:
    site.fault(method="POST", path="/api/records", kind="after", status=504)
    zenodo.publish(published_version(portal))
    assert len(site.requests("POST", "/api/records")) - len(site.requests("POST", "/draft")) == 1
    assert len(site.published()) == 1
    assert site.drafts() == []


def test_an_orphan_that_search_showed_too_late_is_swept_after_publication(zenodo: Zenodo, portal: Path, site: Site) -> None:
    site.fault(method="POST", path="/api/records", kind="after", status=504)
    nothing_found = '{"hits": {"hits": [], "total": 0}}'
    site.fault(
        method="GET",
        path="/api/user/records",
        kind="status",
        status=200,
        times=3,
        body=nothing_found,
        headers={"content-type": "application/json"},
    )
    with pytest.raises(TransientFailure):
        zenodo.publish(published_version(portal))
    assert len(site.get("records?q=")["hits"]["hits"]) == 0
    zenodo.publish(published_version(portal))  # search still shows nothing: a second draft
    assert len(site.published()) == 1
    assert site.drafts() == []


def test_a_deleted_draft_is_begun_anew(zenodo_at: Callable[..., Zenodo], portal: Path, site: Site, records: Records) -> None:
    with pytest.raises(AwaitingApproval):
        zenodo_at(publish_allowed=False).publish(published_version(portal))
    site.call("DELETE", "records/1001/draft").raise_for_status()
    zenodo_at().publish(published_version(portal))
    assert len(site.published()) == 1
    noted = records.read(ZenodoDraft, FIRST)
    assert noted is not None
    assert noted.record_id == site.published()[0]["id"]


def test_a_record_is_found_again_when_our_records_are_lost(zenodo: Zenodo, portal: Path, site: Site, records: Records) -> None:
    zenodo.publish(published_version(portal))
    doi = records.read(Doi, FIRST)
    for info in list(records.store.list("records/")):
        records.store.delete(info.key)
    zenodo.publish(published_version(portal))
    assert records.read(Doi, FIRST) == doi
    assert len(site.published()) == 1


def test_an_upload_whose_line_breaks_is_sent_again_from_its_first_byte(zenodo: Zenodo, portal: Path, site: Site) -> None:
    content = bytes(range(256)) * 20_000
    name = f"/api/records/1001/draft/files/{FIRST}.parquet/content"
    site.fault(method="PUT", path=name, kind="reset", after_bytes=1_000_000)
    copies = zenodo.publish(published_version(portal, content=content))
    assert len(site.requests("PUT", "parquet/content")) == 2
    assert httpx.get(copies.copies[0].url).content == content


@pytest.mark.parametrize("step", ["", "/content", "/commit"])
def test_a_file_step_answered_with_504_ends_in_one_file(step: str, zenodo: Zenodo, portal: Path, site: Site) -> None:
    files = "/api/records/1001/draft/files"
    path = f"{files}/{FIRST}.parquet{step}" if step else files
    site.fault(method="PUT" if step == "/content" else "POST", path=path, kind="after", status=504)
    zenodo.publish(published_version(portal))
    assert len(site.published()[0]["files"]["entries"]) == 3


def test_what_should_not_be_in_the_draft_is_removed(zenodo_at: Callable[..., Zenodo], portal: Path, site: Site) -> None:
    with pytest.raises(AwaitingApproval):
        zenodo_at(publish_allowed=False).publish(published_version(portal))
    site.call("DELETE", "records/1001/draft/files/README.md").raise_for_status()
    site.call("POST", "records/1001/draft/files", json=[{"key": "README.md"}, {"key": "left-over.bin"}])
    other = {"Content-Type": "application/octet-stream"}
    site.call("PUT", "records/1001/draft/files/README.md/content", content=b"other bytes", headers=other)
    site.call("POST", "records/1001/draft/files/README.md/commit").raise_for_status()
    site.forget()

    zenodo_at().publish(published_version(portal))
    assert set(site.published()[0]["files"]["entries"]) == {f"{FIRST}.parquet", "manifest.json", "README.md"}
    sent = [r["path"] for r in site.requests("PUT", "/content")]
    assert [p.rsplit("/", 2)[1] for p in sent] == ["README.md"], "what is right already is not sent again"


@pytest.mark.parametrize("other", [bytes(2_999_999) + b"!", bytes(3_000_001), bytes(10)], ids=["other", "more", "less"])
def test_other_bytes_on_the_portal_never_reach_a_completed_file(other: bytes, zenodo: Zenodo, portal: Path, site: Site) -> None:
    version = published_version(portal, content=bytes(3_000_000))
    (portal / f"{FIRST}.parquet").write_bytes(other)
    with pytest.raises(PermanentFailure, match="portal does not serve"):
        zenodo.publish(version)
    assert site.published() == []
    entry = site.drafts()[0]["files"]["entries"][f"{FIRST}.parquet"]
    assert entry["status"] == "pending"


def test_a_wrong_md5_is_never_published(zenodo: Zenodo, portal: Path, site: Site, records: Records) -> None:
    version = published_version(portal)
    (artifact,) = version.artifacts
    digests = artifact.digests.model_copy(update={"md5": "0" * 32})
    wrong = replace(version, artifacts=(artifact.model_copy(update={"digests": digests}),))
    with pytest.raises(TransientFailure, match="instead of md5 0000"):
        zenodo.publish(wrong)
    assert site.published() == []
    assert records.read(Doi, FIRST) is None


def test_being_told_to_wait_is_obeyed_and_creates_nothing_twice(zenodo: Zenodo, portal: Path, site: Site) -> None:
    told = {"Retry-After": "0", "X-RateLimit-Remaining": "0"}
    for method, path in [
        ("GET", "/api/user"),
        ("POST", "/api/records"),
        ("PUT", "/api/records"),
        ("POST", "/api/records/1001"),
    ]:
        site.fault(method=method, path=path, kind="status", status=429, headers=told)
    zenodo.publish(published_version(portal))
    assert len(site.published()) == 1
    assert site.drafts() == []


def test_a_mirror_that_answers_503_is_a_sentence_and_changes_nothing(
    zenodo: Zenodo, portal: Path, site: Site, records: Records
) -> None:
    site.fault(method="*", path="/api/", kind="status", status=503, times=UNTIL_CLEARED)
    with pytest.raises(TransientFailure) as failure:
        zenodo.publish(published_version(portal))
    said = str(failure.value)
    assert said.startswith(f"zenodo: {FIRST}: ")
    assert "503" in said
    assert "previous latest stays" in said
    site.call("DELETE", "../_sandbox/faults")
    assert site.published() == site.drafts() == []
    assert records.read(Doi, FIRST) is None


def test_a_closed_gate_leaves_a_complete_draft_for_a_person(
    zenodo_at: Callable[..., Zenodo], portal: Path, site: Site, records: Records
) -> None:
    with pytest.raises(AwaitingApproval) as waiting:
        zenodo_at(publish_allowed=False).publish(published_version(portal))
    assert waiting.value.url == f"{site.url}/uploads/1001"
    assert site.published() == []
    (draft,) = site.drafts()
    assert {f["status"] for f in draft["files"]["entries"].values()} == {"completed"}
    assert records.read(Doi, FIRST) is None
    site.forget()
    zenodo_at().publish(published_version(portal))
    assert site.requests("PUT", "/content") == []


def test_a_draft_that_a_person_published_on_the_site_is_settled(
    zenodo_at: Callable[..., Zenodo], portal: Path, site: Site, records: Records
) -> None:
    closed = zenodo_at(publish_allowed=False)
    with pytest.raises(AwaitingApproval):
        closed.publish(published_version(portal))
    site.call("POST", "records/1001/draft/actions/publish").raise_for_status()
    closed.publish(published_version(portal))
    assert records.read(Doi, FIRST) is not None


def test_the_next_draft_of_another_version_is_left_alone(zenodo_at: Callable[..., Zenodo], portal: Path, site: Site) -> None:
    zenodo_at().publish(published_version(portal))
    with pytest.raises(AwaitingApproval):
        zenodo_at(publish_allowed=False).publish(published_version(portal, SECOND, b"second", previous_record_id="1001"))
    third = f"{DATASET.id}_2025-08-11_v1.0.0"
    with pytest.raises(PermanentFailure, match=f"belongs to {SECOND}"):
        zenodo_at().publish(published_version(portal, third, b"third", previous_record_id="1001"))
    assert len(site.published()) == 1
    assert len(site.drafts()) == 1


def test_a_draft_that_another_run_took_over_is_not_published(zenodo: Zenodo, portal: Path, site: Site) -> None:
    version = published_version(portal)

    @contextmanager
    def taken_over_meanwhile(artifact: Artifact) -> Iterator[BinaryIO]:
        other = published_version(portal, SECOND)
        site.call("PUT", "records/1001/draft", json=document_of(other, "2025-07-12")).raise_for_status()
        with version.open(artifact) as stream:
            yield stream

    with pytest.raises(PermanentFailure, match=f"given to {SECOND}"):
        zenodo.publish(replace(version, open=taken_over_meanwhile))
    assert site.published() == []


def test_a_readme_written_by_newer_code_does_not_disturb_a_published_record(zenodo: Zenodo, portal: Path, site: Site) -> None:
    copies = zenodo.publish(published_version(portal))
    newer = published_version(portal, companions=(Companion("README.md", "text/markdown", b"# Reworded"),))
    assert zenodo.publish(newer) == copies


def test_a_published_record_with_other_bytes_is_an_error(zenodo: Zenodo, portal: Path, site: Site, records: Records) -> None:
    zenodo.publish(published_version(portal))
    (portal / f"{FIRST}.parquet").unlink()
    with pytest.raises(PermanentFailure, match="without the artifact's bytes") as failure:
        zenodo.publish(published_version(portal, content=b"PAR1 other PAR1"))
    assert "new version" in str(failure.value)
    assert len(site.published()) == 1


def test_a_next_version_answered_with_504_ends_in_one_draft(zenodo: Zenodo, portal: Path, site: Site) -> None:
    zenodo.publish(published_version(portal))
    site.fault(method="POST", path="/api/records/1001/versions", kind="after", status=504)
    zenodo.publish(published_version(portal, SECOND, b"PAR1 newer PAR1", previous_record_id="1001"))
    assert len(site.published()) == 2
    assert len({r["parent"]["id"] for r in site.published()}) == 1
    assert site.drafts() == []


def test_a_missing_previous_record_is_an_error_and_no_new_concept(zenodo: Zenodo, portal: Path, site: Site) -> None:
    with pytest.raises(PermanentFailure, match="record 4711 of the previous version is not there"):
        zenodo.publish(published_version(portal, SECOND, previous_record_id="4711"))
    assert site.published() == site.drafts() == []


def test_a_draft_is_discarded_and_a_record_is_not(zenodo_at: Callable[..., Zenodo], portal: Path, site: Site) -> None:
    with pytest.raises(AwaitingApproval):
        zenodo_at(publish_allowed=False).publish(published_version(portal))
    zenodo_at().discard(FIRST)
    assert site.drafts() == []
    zenodo_at().discard(FIRST)
    zenodo_at().publish(published_version(portal))
    with pytest.raises(PermanentFailure, match="cannot be discarded"):
        zenodo_at().discard(FIRST)
    assert len(site.published()) == 1


def test_versions_that_waited_at_the_gate_end_in_one_concept(
    zenodo_at: Callable[..., Zenodo], portal: Path, site: Site, records: Records
) -> None:
    waiting(zenodo_at, portal, FIRST)
    waiting(zenodo_at, portal, SECOND)
    assert len({d["parent"]["id"] for d in site.drafts()}) == 2
    zenodo_at().publish(published_version(portal))
    first = published_doi(records, FIRST)
    zenodo_at().publish(published_version(portal, SECOND, SECOND.encode(), previous_record_id=first.record_id))

    second = published_doi(records, SECOND)
    assert second.concept_doi == first.concept_doi
    assert len(site.published()) == 2
    assert site.drafts() == []
    noted = records.read(ZenodoDraft, SECOND)
    assert noted is not None
    assert noted.record_id == second.record_id


def test_a_version_that_was_overtaken_joins_the_concept_of_the_one_that_was_faster(
    zenodo: Zenodo, portal: Path, site: Site, records: Records
) -> None:
    site.fault(method="PUT", path="/api/records/1001/draft/files", kind="status", status=503, times=UNTIL_CLEARED)
    with pytest.raises(TransientFailure):
        zenodo.publish(published_version(portal))
    site.call("DELETE", "../_sandbox/faults")
    zenodo.publish(published_version(portal, SECOND, b"second"))
    second = published_doi(records, SECOND)
    zenodo.publish(published_version(portal, previous_record_id=second.record_id))
    assert published_doi(records, FIRST).concept_doi == second.concept_doi
    assert site.drafts() == []


def test_a_draft_in_the_right_concept_is_gone_on_with(zenodo_at: Callable[..., Zenodo], portal: Path, site: Site) -> None:
    zenodo_at().publish(published_version(portal))
    waiting(zenodo_at, portal, SECOND, previous_record_id="1001")
    site.forget()
    zenodo_at().publish(published_version(portal, SECOND, previous_record_id="1001"))
    assert site.requests("DELETE", "/draft") == site.requests("PUT", "/content") == []
    assert site.drafts() == []


def test_a_noted_draft_that_another_version_took_over_is_not_deleted(
    zenodo_at: Callable[..., Zenodo], portal: Path, site: Site
) -> None:
    waiting(zenodo_at, portal, FIRST)
    other = published_version(portal, f"{DATASET.id}_2025-08-11_v1.0.0")
    site.call("PUT", "records/1001/draft", json=document_of(other, "2025-08-12")).raise_for_status()
    with pytest.raises(PermanentFailure, match=f"belongs to {other.version_id}"):
        zenodo_at().discard(FIRST)
    zenodo_at().publish(published_version(portal, SECOND, b"second"))
    zenodo_at().publish(published_version(portal, previous_record_id=site.published()[0]["id"]))
    assert [d["id"] for d in site.drafts()] == ["1001"]


def test_the_gate_says_how_it_opens_and_how_the_draft_is_dropped(zenodo_at: Callable[..., Zenodo], portal: Path) -> None:
    with pytest.raises(AwaitingApproval) as gate:
        zenodo_at(publish_allowed=False).publish(published_version(portal))
    said = str(gate.value)
    assert gate.value.url in said
    assert "`D4C_ZENODO_PUBLISH=true`" in said
    assert f"`d4c mirror discard zenodo {FIRST}`" in said


def test_nobody_waits_for_a_draft_that_was_discarded(
    zenodo_at: Callable[..., Zenodo], portal: Path, site: Site, records: Records
) -> None:
    waiting(zenodo_at, portal, FIRST)
    zenodo_at().discard(FIRST)
    assert records.read(ZenodoDraft, FIRST) is None
    assert site.drafts() == []


CUT, OTHER = '{"id": "1001", "par', '{"message": "a new API"}'


@pytest.mark.parametrize("body", [CUT, OTHER, "[]", '"text"', "null", "[" * 100_000, '{"hits": {"hits": [1]}, "entries": 1}'])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/user/records"),
        ("POST", "/api/records"),
        ("PUT", "/api/records/1001/draft"),
        ("GET", "/api/records/1001/draft"),
        ("GET", "/api/records/1001/draft/files"),
        ("POST", "/api/records/1001/draft/actions/publish"),
        ("GET", "/api/records/1001/files"),
    ],
)
def test_an_answer_that_makes_no_sense_is_trouble_that_passes(
    method: str, path: str, body: str, zenodo: Zenodo, portal: Path, site: Site
) -> None:
    json = {"content-type": "application/json"}
    site.fault(method=method, path=path, kind="status", status=200, body=body, headers=json)
    with contextlib.suppress(TransientFailure):
        zenodo.publish(published_version(portal))
    zenodo.publish(published_version(portal))
    assert len(site.published()) == 1
    assert site.drafts() == []


@pytest.mark.parametrize("action", ["/api/records", "/api/records/1001/draft/actions/publish"])
def test_an_action_whose_answer_was_cut_short_is_settled_by_reading(
    action: str, zenodo: Zenodo, portal: Path, site: Site
) -> None:
    json = {"content-type": "application/json"}
    site.fault(method="POST", path=action, kind="after", status=201, body=CUT, headers=json)
    zenodo.publish(published_version(portal))
    assert len(site.requests("POST", "actions/publish")) == 1
    assert len(site.published()) == 1
    assert site.drafts() == []


def waiting(zenodo_at: Callable[..., Zenodo], portal: Path, version_id: str, **fields: str) -> None:
    """Bring a version to the closed gate."""
    with pytest.raises(AwaitingApproval):
        zenodo_at(publish_allowed=False).publish(published_version(portal, version_id, version_id.encode(), **fields))


def published_doi(records: Records, version_id: str) -> Doi:
    doi = records.read(Doi, version_id)
    assert doi is not None
    return doi


def test_metadata_that_zenodo_refuses_stops_before_any_file(zenodo: Zenodo, portal: Path, site: Site) -> None:
    licence = DATASET.licence.model_copy(update={"id": "No-Such-Licence-1.0"})
    version = published_version(portal, dataset=DATASET.model_copy(update={"licence": licence}))
    with pytest.raises(PermanentFailure, match=r"rights\.0.*no-such-licence") as failure:
        zenodo.publish(version)
    assert "declaration" in str(failure.value)
    assert site.requests("PUT", "/content") == []


@pytest.mark.parametrize(
    ("companions", "problem"),
    [
        ([Companion(f"{i}.txt", "text/plain", b"x") for i in range(100)], "101 files"),
        ([Companion("empty.txt", "text/plain", b"")], "empty"),
        ([Companion("a/b.txt", "text/plain", b"x")], "folder"),
        ([Companion("a.txt", "text/plain", b"x")] * 2, "same name"),
    ],
)
def test_what_zenodo_would_refuse_is_refused_before_anything_is_sent(
    companions: list[Companion], problem: str, zenodo: Zenodo, portal: Path, site: Site
) -> None:
    with pytest.raises(PermanentFailure, match=problem):
        zenodo.publish(published_version(portal, companions=tuple(companions)))
    assert site.requests(path="/api/") == []


def test_verify_tells_a_right_copy_from_a_wrong_one(zenodo: Zenodo, portal: Path) -> None:
    copies = zenodo.publish(published_version(portal))
    assert [c.state for c in zenodo.verify(copies).copies] == [CopyState.FRESH]
    lying = copies.model_copy(update={"copies": (copies.copies[0].model_copy(update={"sha256": "0" * 64}),)})
    assert [c.state for c in zenodo.verify(lying).copies] == [CopyState.BAD]


@pytest.mark.parametrize("token", [TOKEN, "a-wrong-token-that-is-secret-too"])
def test_the_token_is_in_no_error_and_no_log(
    token: str, zenodo_at: Callable[..., Zenodo], portal: Path, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="httpx")
    if token == TOKEN:
        site.fault(method="POST", path="/api/records/1001/draft/actions/publish", kind="status", status=400, body="blocked")
    with pytest.raises(D4CError) as failure:
        zenodo_at(token=token).publish(published_version(portal))
    causes, error = [], failure.value
    while error is not None:
        causes.append(f"{error!s} {error!r} {error.__dict__}")
        error = error.__cause__ or error.__context__
    assert token not in "".join(causes)
    assert token not in caplog.text
    assert all(token not in r["path"] + r["query"] for r in site.requests())
    if token != TOKEN:
        assert "Check the token" in str(failure.value)
