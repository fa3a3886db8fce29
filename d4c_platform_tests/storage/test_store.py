"""What every store promises, asked of a folder and of a real S3 server."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sandbox.seaweed import Seaweed
from d4c_platform.storage.store import Conflict, NoObject, ObjectStore
from d4c_platform_tests.storage.stores import BUCKET, Stores, increment

MIB = 1024 * 1024


def test_what_was_put_is_read_back_with_its_facts(store: ObjectStore):
    put = store.put("versions/v/data.txt", b"hello", media_type="text/plain", cache_control="no-cache")
    assert store.read("versions/v/data.txt") == b"hello"
    assert store.head("versions/v/data.txt") == put
    assert put.bytes == 5
    assert put.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_an_empty_object_is_an_object(store: ObjectStore):
    store.put("a/empty", b"")
    store.copy("a/empty", "b/empty", if_absent=True)
    assert (store.head("a/empty").bytes, store.read("b/empty")) == (0, b"")


def test_a_missing_object_is_none_or_an_error_by_name(store: ObjectStore):
    assert store.head("nothing/here") is None
    store.delete("nothing/here")
    for act in (lambda: store.read("nothing/here"), lambda: store.copy("nothing/here", "x")):
        with pytest.raises(NoObject, match="nothing/here"):
            act()


def test_a_large_file_is_stored_in_parts_and_equals_itself(store: ObjectStore, tmp_path: Path):
    path = tmp_path / "large"
    path.write_bytes(os.urandom(16 * MIB) * 2 + b"tail")
    store.put("large", path)
    with store.open("large") as stream, path.open("rb") as original:
        while chunk := original.read(MIB):
            assert stream.read(len(chunk)) == chunk
        assert stream.read(1) == b""


def test_bytes_that_are_not_the_announced_ones_never_become_visible(store: ObjectStore, tmp_path: Path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * 17 * MIB)
    for key, body in (("small", b"x"), ("large", large)):
        with pytest.raises(PermanentFailure, match="sha-256"):
            store.put(key, body, sha256="0" * 64)
        assert store.head(key) is None


@pytest.mark.parametrize("large", [False, True])
def test_if_absent_never_replaces(store: ObjectStore, tmp_path: Path, large: bool):
    body = tmp_path / "body"
    body.write_bytes(b"second" * (3 * MIB if large else 1))
    store.put("key", b"first", if_absent=True)
    with pytest.raises(Conflict, match="exists already"):
        store.put("key", body, if_absent=True)
    assert store.read("key") == b"first"


def test_if_match_replaces_only_what_was_read(store: ObjectStore):
    first = store.put("key", b"first")
    second = store.put("key", b"other", if_match=first.etag)
    for stale in (first.etag, "nonsense"):
        with pytest.raises(Conflict, match="no longer"):
            store.put("key", b"third", if_match=stale)
    assert store.read("key") == b"other"
    store.delete("key")
    with pytest.raises(Conflict):
        store.put("key", b"third", if_match=second.etag)


def test_copies_obey_the_same_conditions(store: ObjectStore):
    store.put("source", b"source")
    there = store.put("target", b"target")
    for condition in ({"if_absent": True}, {"if_match": "nonsense"}):
        with pytest.raises(Conflict):
            store.copy("source", "target", **condition)
        assert store.read("target") == b"target"
    copied = store.copy("source", "target", if_match=there.etag)
    assert (store.read("target"), copied.sha256) == (b"source", store.head("source").sha256)
    assert store.head("target").etag == copied.etag


def test_a_copy_stays_when_its_source_is_replaced_or_removed(store: ObjectStore):
    store.put("source", b"one")
    store.copy("source", "copy")
    store.put("source", b"two")
    assert store.read("copy") == b"one"
    store.delete("source")
    assert store.read("copy") == b"one"


def test_a_list_is_in_key_order_and_complete(store: ObjectStore):
    names = ["a/b", "a-b", "a.b", "ab", "a/b-c", "b/x/y", "b/x", "été/1"]
    keys = [f"p/{n}" for n in names if n != "b/x"]
    for key in [*keys, "q/other"]:
        store.put(key, b"x")
    assert [i.key for i in store.list("p/")] == sorted(keys)
    assert [i.key for i in store.list("p/a")] == sorted(k for k in keys if k.startswith("p/a"))
    assert [i.key for i in store.list("")] == sorted([*keys, "q/other"])
    assert list(store.list("nothing/")) == []


UNSAFE = ["", "/etc/passwd", "a//b", "a/../b", "../b", ".", "a\\b", "a\0b", "a\nb", "a/", ".d4c/tmp/x", "x" * 300]


@pytest.mark.parametrize("key", UNSAFE)
def test_a_key_that_could_leave_the_store_is_refused(store: ObjectStore, key: str):
    acts = (store.head, store.read, store.delete, store.url, lambda k: store.put(k, b"x"), lambda k: store.copy(k, "a"))
    for act in acts:
        with pytest.raises(PermanentFailure, match="object key"):
            act(key)


def test_of_many_writers_that_find_nothing_exactly_one_wins(store: ObjectStore):
    start = threading.Barrier(5)

    def write(number: int) -> int | None:
        start.wait()
        try:
            store.put("race", b"%d" % number, if_absent=True)
        except Conflict:
            return None
        return number

    for _ in range(3):
        with ThreadPoolExecutor(5) as pool:
            won = [n for n in pool.map(write, range(5)) if n is not None]
        assert len(won) == 1
        assert store.read("race") == b"%d" % won[0]
        store.delete("race")


def test_no_update_is_lost_between_threads_and_processes(stores: Stores):
    store = stores.open()
    store.put("count", b"%08d" % 0)
    others = [stores.process("increment", "count", "8") for _ in range(2)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: increment(stores.open(), "count", 8), range(3)))
    assert [p.communicate()[0].split()[-1] for p in others] == ["done", "done"]
    assert int(store.read("count")) == 5 * 8


def test_a_reader_sees_the_old_or_the_new_object_and_nothing_else(store: ObjectStore):
    bodies = [bytes([n]) * 300_000 for n in range(6)]
    store.put("key", bodies[0])
    done = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            seen.append(store.read("key"))

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for body in bodies * 2:
            store.put("key", body)
        done.set()
        for reader in readers:
            reader.result()
    assert set(seen) <= set(bodies)


def test_a_killed_upload_leaves_nothing_readable_and_its_repetition_succeeds(
    stores: Stores, tmp_path: Path, request: pytest.FixtureRequest
):
    store = stores.open()
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(400 * MIB)
    if stores.root:
        # A local copy is too fast to be caught: let it come through a pipe.
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = stores.process("put", "versions/v/large", str(pipe))
        with pipe.open("wb") as feed:
            feed.write(b"x" * 8 * MIB)
            feed.flush()
            wait_for(lambda: any(p.stat().st_size > MIB for p in Path(stores.root).rglob("*") if p.is_file()))
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
    else:
        client = request.getfixturevalue("seaweed").client()
        uploads = lambda: client.list_multipart_uploads(Bucket=BUCKET, Prefix=stores.prefix).get("Uploads")  # noqa: E731
        writer = stores.process("put", "versions/v/large", str(path))
        wait_for(uploads)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert uploads(), "killed too late to show anything"
    assert store.head("versions/v/large") is None
    assert list(store.list("")) == []
    path.write_bytes(b"y" * 17 * MIB)
    fresh = stores.open()
    fresh.put("versions/v/large", path, if_absent=True)
    assert store.head("versions/v/large").bytes == 17 * MIB
    if stores.root:
        left = [p for p in (Path(stores.root) / ".d4c" / "tmp").rglob("*") if p.is_file() and p.stat().st_size]
        assert left == [], "the killed writer's file was swept"


def test_memory_of_a_large_put_stays_bounded(stores: Stores, tmp_path: Path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(300 * MIB)
    # The largest resident size the process ever had, in MiB, compared with the same process before the put.
    measure = """
import atexit, resource
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
atexit.register(lambda: print("peak", peak()))
"""
    out = stores.process("put", "large", str(path), preamble=measure).communicate()[0].split()
    assert out[1] == "done"
    assert int(out[3]) < 250
    assert stores.open().head("large").bytes == 300 * MIB


def wait_for(condition) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_the_public_reads_a_public_bucket_without_keys(s3, seaweed: Seaweed):
    from d4c_platform.storage.s3 import S3Store

    s3.put("versions/v/a b.txt", b"hello")
    anonymous = S3Store(seaweed.endpoint_url, BUCKET, s3.prefix)
    assert anonymous.read("versions/v/a b.txt") == b"hello"
    with pytest.raises(PermanentFailure, match="403"):
        anonymous.put("versions/v/a b.txt", b"other")
