"""A folder of files goes from its publisher into the portal once, whatever happens on the way."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import time
import uuid

import pyarrow.parquet as pq
import pytest

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.sandbox.generated import Generated
from d4c_platform.sandbox.seaweed import Seaweed
from d4c_platform.sources.receipt import looks_like_html
from d4c_platform.sources.source import OtherState
from d4c_platform.stages import ingest as ingest_module
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal
from d4c_platform.torrents.metainfo import parse
from d4c_platform_tests.stages.folders import (
    candidate_of,
    digests_of,
    folder_dataset,
    ingest,
    job_of,
    publisher,
    sha256_of,
)
from d4c_platform_tests.storage.stores import BUCKET, Stores

MIB = 1 << 20
FEW = {"a/one.tif": Generated(70_000), "a/two é.tif": Generated(16_384), "b.txt": Generated(5), "c/none": Generated(0)}


@pytest.fixture
def local(tmp_path) -> LocalStore:
    return LocalStore(tmp_path / "portal", "http://127.0.0.1/portal")


@pytest.fixture
def bucket(seaweed: Seaweed) -> Stores:
    return Stores(endpoint_url=seaweed.endpoint_url, prefix=uuid.uuid4().hex)


def inventory_of(release, store) -> list[dict]:
    (raw,) = [f for f in release.files if f.name == "inventory.parquet"]
    return pq.read_table(io.BytesIO(store.read(raw.key))).to_pylist()


def torrent_of(release, store):
    (raw,) = [f for f in release.files if f.name.endswith(".torrent")]
    return parse(store.read(raw.key))


def test_every_file_is_stored_and_described_as_an_independent_reading_finds_it(bucket, web):
    store = bucket.open()
    files = {**FEW, "big/part.tif": Generated(16 * MIB), "big/parts.tif": Generated(33 * MIB + 1)}
    with publisher(files) as there:
        dataset = folder_dataset(there.url)
        release = ingest(dataset, candidate_of(dataset, web), store, web)
        rows = inventory_of(release, store)
        assert [r["path"] for r in rows] == sorted(files, key=str.encode)
        meta = torrent_of(release, store)
        assert [(p.path, p.bytes) for p in meta.parts if not p.padding] == [
            (tuple(r["path"].split("/")), r["bytes"]) for r in rows
        ]
        pieces = b""
        for row in rows:
            found = digests_of(row["path"], files[row["path"]], meta.piece_length)
            assert row["sha256"] == found.sha256 == sha256_of(row["path"], files[row["path"]])
            assert (row["bytes"], row["md5"], row["merkle_root"]) == (found.bytes, found.md5.hex(), found.merkle_root)
            there_now = store.head(row["key"])
            assert (there_now.bytes, there_now.etag) == (row["bytes"], row["s3_etag"])
            pieces += found.pieces
        assert meta.pieces == pieces
        (sums,) = [f for f in release.files if f.name == "SHA256SUMS"]
        assert store.read(sums.key).decode().splitlines() == [f"{r['sha256']}  {r['path']}" for r in rows]


def test_what_was_finished_before_a_kill_is_not_fetched_again(seaweed, bucket, web):
    files = {f"{i % 3}/{i:03}.tif": Generated(100_000 + i) for i in range(60)} | {"1/large.tif": Generated(40 * MIB)}
    width = 4
    with publisher(files) as there:
        dataset = folder_dataset(there.url, concurrency=width)
        candidate = candidate_of(dataset, web)
        there.fault(kind="slow", method="GET", path="/files/1/large.tif", after_bytes=20 * MIB, delay_s=3, times=1)
        there.forget()
        process = job_of(dataset, candidate, bucket).process()
        deadline = time.monotonic() + 60
        while len(list(bucket.open().list("raw/"))) < 15:
            assert time.monotonic() < deadline
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        asked_before = there.asked()
        done_before = {step["path"] for step in _journal(bucket.open(), candidate)}
        assert 5 < len(done_before) < len(files)
        there.forget()
        process = job_of(dataset, candidate, bucket).process()
        said = json.loads(process.communicate(timeout=100)[0])
        assert process.returncode == 0
        asked = [r["path"].removeprefix("/files/") for r in there.asked()]
        assert set(asked).isdisjoint(done_before)
        assert len(asked) == len(set(asked)) == len(files) - len(done_before)
        assert len(asked_before) <= len(done_before) + 2 * width
        assert "inventory.parquet" in said["files"]
        assert _open_uploads(seaweed, bucket) == []
        clean = Stores(endpoint_url=bucket.endpoint_url, prefix=uuid.uuid4().hex).open()
        assert ingest(dataset, candidate, clean, web).content_sha256 == said["content"]


def _journal(store, candidate) -> list[dict]:
    lines = []
    for info in store.list(Portal.received_key(candidate.dataset_id, candidate.key, "ingest/")):
        lines += store.read(info.key).decode().splitlines()
    return [json.loads(line) for line in lines]


def _open_uploads(seaweed: Seaweed, stores: Stores) -> list:
    found = seaweed.client().list_multipart_uploads(Bucket=BUCKET, Prefix=stores.prefix)
    return found.get("Uploads", [])


def test_a_multipart_upload_that_a_killed_run_left_is_ended(seaweed, bucket, web):
    with publisher({"a.tif": Generated(10)}) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        name = f"{dataset.id}_{candidate.key}"
        left = f"{bucket.prefix}/{Portal.received_key(dataset.id, candidate.key, f'files/{name}/')}a.tif"
        seaweed.client().create_multipart_upload(Bucket=BUCKET, Key=left)
        other = seaweed.client().create_multipart_upload(Bucket=BUCKET, Key=f"{bucket.prefix}/raw/other/file")
        assert len(_open_uploads(seaweed, bucket)) == 2
        ingest(dataset, candidate, bucket.open(), web)
        assert [u["UploadId"] for u in _open_uploads(seaweed, bucket)] == [other["UploadId"]]


def test_what_a_killed_run_stored_but_did_not_note_gives_way_to_what_is_served_now(bucket, web):
    store = bucket.open()
    with publisher({"a.tif": Generated(100)}) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        name = f"{dataset.id}_{candidate.key}"
        store.put(Portal.received_key(dataset.id, candidate.key, f"files/{name}/a.tif"), b"half of it")
        (row,) = inventory_of(ingest(dataset, candidate, store, web), store)
        assert store.read(row["key"]) == b"".join(Generated(100).chunks("a.tif"))


def test_a_broken_body_goes_on_where_it_broke_and_is_not_fetched_from_the_start(local, web):
    files = {"a.tif": Generated(3 * MIB), "b.tif": Generated(3 * MIB)}
    with publisher(files) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        there.forget()
        for after in (1 * MIB, MIB // 2):
            there.fault(kind="truncate", method="GET", path="/files/a.tif", after_bytes=after, times=1)
        rows = {r["path"]: r for r in inventory_of(ingest(dataset, candidate, local, web), local)}
        assert (rows["a.tif"]["resumed"], rows["b.tif"]["resumed"]) == (2, 0)
        assert rows["a.tif"]["sha256"] == sha256_of("a.tif", files["a.tif"])
        ranges = [r["headers"].get("range") for r in there.asked() if r["path"] == "/files/a.tif"]
        assert ranges[0] is None
        assert all(r and r != "bytes=0-" for r in ranges[1:])
        assert all("if-range" in r["headers"] for r in there.asked() if "range" in r["headers"])


def test_a_file_that_changes_while_it_is_read_is_uploaded_anew_and_whole(seaweed, bucket, web, monkeypatch):
    store, before, after = bucket.open(), Generated(40 * MIB), Generated(36 * MIB, edition=2)
    with publisher({"a.tif": before}) as there:
        dataset = folder_dataset(there.url, probes=0)
        candidate = candidate_of(dataset, web)
        there.fault(kind="truncate", method="GET", path="/files/a.tif", after_bytes=35 * MIB, times=1)
        monkeypatch.setattr(web, "pause", lambda times: there.files.update({"a.tif": after}))
        upload = store.upload

        def alone(*about, **more):
            assert _open_uploads(seaweed, bucket) == []
            return upload(*about, **more)

        monkeypatch.setattr(store, "upload", alone)
        (row,) = inventory_of(ingest(dataset, candidate, store, web), store)
        assert (row["sha256"], row["bytes"], row["resumed"]) == (sha256_of("a.tif", after), after.size, 0)
        assert hashlib.sha256(store.read(row["key"])).hexdigest() == row["sha256"]
        assert row["etag"] == after.etag("a.tif")
        assert [r["headers"].get("range") for r in there.asked()] == [None, f"bytes={35 * MIB}-"]
        assert _open_uploads(seaweed, bucket) == []


def test_a_release_that_changed_during_the_ingest_is_not_recorded(local, web, monkeypatch):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url, probes=10)
        candidate = candidate_of(dataset, web)
        fetch = ingest_module.ingest_file

        def late(*about):
            there.files["b.txt"] = Generated(6, edition=2)
            return fetch(*about)

        monkeypatch.setattr(ingest_module, "ingest_file", late)
        with pytest.raises(TransientFailure, match="changed between noticing and fetching"):
            ingest(dataset, candidate, local, web)


def test_the_archived_list_must_be_the_noticed_one(local, web, monkeypatch):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        monkeypatch.setattr(ingest_module.FileList, "confirm", lambda *_: None)
        there.publish({**FEW, "more.tif": Generated(1)})
        with pytest.raises(D4CError) as caught:
            ingest(dataset, candidate, local, web)
        assert isinstance(caught.value.__cause__, OtherState)
        assert not any("/files/" in r["path"] for r in there.asked())


def test_fetched_again_a_folder_lies_beside_the_first_one_and_its_list_is_of_one_reading(local, web):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        first = ingest(dataset, candidate, local, web)
        rows = inventory_of(first, local)
        there.forget()
        again = ingest(dataset, candidate, local, web, again=True)
        lists = [r for r in there.log() if r["method"] == "GET" and r["path"] == "/tiles.txt"]
        assert len(lists) <= 4  # received, asked after before and after, and read once for what is in it
        assert len(there.asked()) == len(FEW)
    assert again.content_sha256 == first.content_sha256
    keys = {row["key"] for row in inventory_of(again, local)}
    assert keys.isdisjoint(row["key"] for row in rows)
    assert all(local.head(key) for key in (*keys, *(row["key"] for row in rows)))


def test_a_503_with_retry_after_is_waited_for(local, web):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        there.forget()
        there.fault(kind="status", method="GET", path="/files/a/", status=503, headers={"Retry-After": "1"}, times=2)
        release = ingest(dataset, candidate, local, web)
        assert len(inventory_of(release, local)) == len(FEW)
        assert len(there.asked()) == len(FEW) + 2


def test_files_that_fail_are_named_in_one_failure_and_the_others_are_kept(local, web):
    files = {f"{i:02}.tif": Generated(1000) for i in range(20)}
    with publisher(files) as there:
        dataset = folder_dataset(there.url, probes=0)
        candidate = candidate_of(dataset, web)
        for number in range(3, 10):
            del there.files[f"{number:02}.tif"]
        with pytest.raises(PermanentFailure) as caught:
            ingest(dataset, candidate, local, web)
        said = str(caught.value)
        assert "7 of 20 files could not be fetched (03.tif: answered 404; " in said
        assert "and 2 more" in said
        assert "13 files are finished and stay" in said
        there.forget()
        there.files.update(files)
        assert len(inventory_of(ingest(dataset, candidate, local, web), local)) == 20
        assert len(there.asked()) == 7


def test_trouble_that_may_pass_is_a_transient_failure_with_the_wait_that_was_asked_for(local, web):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url, probes=0)
        candidate = candidate_of(dataset, web)
        there.fault(kind="status", path="/files/b.txt", status=503, headers={"Retry-After": "3600"}, times=-1)
        with pytest.raises(TransientFailure, match="1 of 4 files could not be fetched") as caught:
            ingest(dataset, candidate, local, web)
        assert caught.value.retry_after_s == 3600


def test_when_everything_fails_it_is_stopped_early(local, web):
    with publisher({f"{i:03}.tif": Generated(10) for i in range(200)}) as there:
        dataset = folder_dataset(there.url, probes=0)
        candidate = candidate_of(dataset, web)
        there.files.clear()
        there.forget()
        with pytest.raises(PermanentFailure, match="then it was stopped"):
            ingest(dataset, candidate, local, web)
        assert len(there.asked()) < 60


def test_a_server_that_sends_less_than_it_says_is_no_file(local, web):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url, probes=0)
        candidate = candidate_of(dataset, web)
        there.fault(kind="truncate", method="GET", path="/files/a/one.tif", after_bytes=0, times=-1)
        with pytest.raises(TransientFailure, match="it ends after 0 of 70,000 bytes, again and again"):
            ingest(dataset, candidate, local, web)


def test_a_page_for_people_is_no_file(local, web):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url, probes=0)
        candidate = candidate_of(dataset, web)
        there.fault(kind="html", method="GET", path="/files/a/one.tif", times=-1)
        with pytest.raises(PermanentFailure, match="an HTML page arrived with status 200"):
            ingest(dataset, candidate, local, web)


def test_a_page_that_calls_itself_a_page_is_a_file(local, web):
    with publisher({"about.html": Generated(70_000)}) as there:
        dataset = folder_dataset(there.url, probes=0)
        candidate = candidate_of(dataset, web)
        there.fault(kind="html", method="GET", path="/files/about.html", times=-1)
        (row,) = inventory_of(ingest(dataset, candidate, local, web), local)
        assert looks_like_html(local.read(row["key"]))


def test_equal_files_are_equal_content_although_they_are_fetched_at_another_time(tmp_path, web):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        one, two = (LocalStore(tmp_path / name, "http://127.0.0.1/portal") for name in ("one", "two"))
        first = ingest(dataset, candidate, one, web)
        there.lists["tiles.txt"] = b"# sorted anew\n" + b"".join(
            sorted(there.lists["tiles.txt"].splitlines(keepends=True))[::-1]
        )
        second = ingest(dataset, candidate, two, web)
        assert first.content_sha256 == second.content_sha256
        assert torrent_of(first, one).info_hash == torrent_of(second, two).info_hash


def test_a_step_of_the_journal_holds_what_the_torrent_needs(local, web):
    with publisher(FEW) as there:
        dataset = folder_dataset(there.url)
        candidate = candidate_of(dataset, web)
        ingest(dataset, candidate, local, web)
        for step in _journal(local, candidate):
            found = digests_of(step["path"], FEW[step["path"]], step["piece_length"])
            assert base64.b64decode(step["pieces"]) == found.pieces
