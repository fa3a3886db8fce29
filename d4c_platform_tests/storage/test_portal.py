"""From staging to the immutable version, and the strict latest."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Build, Copies, Withdrawal
from d4c_platform.storage.digests import merkle_root
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import TREE, Portal
from d4c_platform.storage.s3 import S3Store
from d4c_platform.storage.store import Conflict, NoObject
from d4c_platform_tests.disk import disk_full_beyond
from d4c_platform_tests.storage.stores import Stores, publish
from d4c_platform_tests.storage.versions import DATASET, built, content, processed, staged, version_id


def published(portal: Portal, folder: Path, number: int, exts: tuple[str, ...] = ("parquet",)) -> Build:
    build = staged(portal, folder, number, exts)
    portal.publish(build)
    return build


def key(number: int, ext: str = "parquet") -> str:
    return Portal.version_key(version_id(number), f"{version_id(number)}.{ext}")


def test_publishing_moves_the_staged_bytes_under_their_immutable_key(portal: Portal, tmp_path: Path):
    build = staged(portal, tmp_path, 1)
    artifact = build.artifacts[0]
    assert portal.holds(version_id(1), artifact)
    assert portal.store.head(key(1)) is None
    copies = portal.publish(build, {"manifest.json": b"{}"})
    assert portal.store.read(key(1)) == b"parquet" + content(1)
    assert portal.store.read(Portal.version_key(version_id(1), "manifest.json")) == b"{}"
    leaves = portal.store.read(key(1) + TREE)
    assert merkle_root(leaves).hex() == artifact.digests.merkle_root
    assert list(portal.store.list("staging/")) == []
    assert portal.records.read(Copies, version_id(1), place="portal") == copies
    assert (copies.copies[0].url, copies.copies[0].sha256) == (portal.store.url(key(1)), artifact.digests.sha256)
    portal.download(version_id(1), artifact, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"parquet" + content(1)


def test_staging_and_publishing_again_changes_nothing(portal: Portal, tmp_path: Path):
    build = published(portal, tmp_path, 1)
    first = portal.records.read(Copies, version_id(1), place="portal")
    before = portal.store.head(key(1))
    staged(portal, tmp_path, 1)
    assert list(portal.store.list("staging/")) == []
    assert portal.publish(build) == first
    assert portal.store.head(key(1)) == before


def test_an_interrupted_publication_is_finished_by_its_repetition(portal: Portal, tmp_path: Path):
    build = staged(portal, tmp_path, 1, ("parquet", "pmtiles"))
    # Killed after the first copy, and after the staged file of it was gone.
    first = build.artifacts[0].file
    portal.store.copy(Portal.staging_key(version_id(1), first), Portal.version_key(version_id(1), first))
    portal.store.delete(Portal.staging_key(version_id(1), first))
    portal.publish(build)
    assert portal.store.read(key(1, "pmtiles")) == b"pmtiles" + content(1)


def test_a_file_that_is_not_the_artifact_is_not_staged(portal: Portal, tmp_path: Path):
    build, (path,) = built(tmp_path, 1)
    path.write_bytes(b"something else")
    with pytest.raises(PermanentFailure, match="sha-256"):
        portal.stage(build.version_id, path, build.artifacts[0])
    with pytest.raises(PermanentFailure, match="merkle leaves"):
        portal.stage(build.version_id, path, build.artifacts[0], b"\0" * 32)
    assert list(portal.store.list("")) == []


@pytest.mark.parametrize("damage", ["other bytes", "half", "gone", "leaves"])
def test_damaged_staging_publishes_nothing_and_keeps_the_latest(portal: Portal, tmp_path: Path, damage: str):
    published(portal, tmp_path, 1)
    portal.switch_latest(DATASET)
    build = staged(portal, tmp_path, 2, ("parquet", "pmtiles"))
    victim = Portal.staging_key(version_id(2), build.artifacts[1].file)
    right = portal.store.read(victim)
    if damage == "gone":
        portal.store.delete(victim)
    elif damage == "leaves":
        portal.store.put(victim + TREE, b"\0" * 32)
    else:
        portal.store.put(victim, right[: len(right) // 2] if damage == "half" else right[:-1] + b"?")
    with pytest.raises(PermanentFailure) as failure:
        portal.publish(build)
    assert victim in str(failure.value)
    assert version_id(2) in str(failure.value)
    assert "previous latest stays" in str(failure.value)
    assert list(portal.store.list(f"versions/{version_id(2)}/")) == []
    assert portal.switch_latest(DATASET) == version_id(1)
    assert portal.store.read(processed()) == b"parquet" + content(1)


def test_bit_rot_in_local_staging_is_found(local: LocalStore, tmp_path: Path):
    portal = Portal(local)
    build = staged(portal, tmp_path, 1)
    path = local.root / Portal.staging_key(version_id(1), build.artifacts[0].file)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\0rot")
    with pytest.raises(PermanentFailure, match="staged bytes are not the artifact's"):
        portal.publish(build)


def test_a_companion_is_never_overwritten(portal: Portal, tmp_path: Path):
    build = staged(portal, tmp_path, 1)
    for _ in range(2):
        portal.publish(build, {"manifest.json": b"{}"})
    with pytest.raises(PermanentFailure, match=r"manifest\.json: another run published"):
        portal.publish(build, {"manifest.json": b"[]"})


def test_other_bytes_under_a_version_key_are_never_overwritten(portal: Portal, tmp_path: Path):
    build = staged(portal, tmp_path, 1)
    portal.store.put(key(1), b"other")
    with pytest.raises(PermanentFailure, match="other bytes are published under this key"):
        portal.publish(build)
    assert portal.store.read(key(1)) == b"other"


def test_bytes_whose_digest_the_store_does_not_know_are_read_back(portal: Portal, tmp_path: Path):
    build = staged(portal, tmp_path, 1)
    path = tmp_path / "same"
    path.write_bytes(b"parquet" + content(1))
    if isinstance(portal.store, LocalStore):
        portal.store.put(key(1), path)
        (portal.store.root / ".d4c" / "sha256" / key(1)).unlink()
    else:
        portal.store._client.put_object(Body=path.read_bytes(), **portal.store._address(key(1)))
    assert portal.store.head(key(1)).sha256 is None
    portal.publish(build)
    assert portal.switch_latest(DATASET) == version_id(1)


def test_a_version_recorded_with_other_artifacts_is_a_conflict(portal: Portal, tmp_path: Path):
    published(portal, tmp_path, 1)
    (tmp_path / "again").mkdir()
    other, _ = built(tmp_path / "again", 1, size=100)
    with pytest.raises(Conflict, match="other content"):
        portal.publish(other)


def test_the_latest_is_the_newest_by_order_not_by_text_or_by_time(portal: Portal, tmp_path: Path):
    assert portal.switch_latest(DATASET) is None
    for number, newest in ((9, 9), (10, 10), (2, 10)):
        published(portal, tmp_path, number)
        assert portal.switch_latest(DATASET) == version_id(newest)
        assert portal.store.read(processed()) == b"parquet" + content(newest)


def test_a_version_that_is_not_recorded_on_the_portal_does_not_count(portal: Portal, tmp_path: Path):
    published(portal, tmp_path, 1)
    build = staged(portal, tmp_path, 2)
    portal.records.write(build)
    portal.store.copy(Portal.staging_key(version_id(2), build.artifacts[0].file), key(2))
    assert portal.switch_latest(DATASET) == version_id(1)


def test_a_repeated_switch_writes_nothing(portal: Portal, tmp_path: Path):
    published(portal, tmp_path, 1)
    portal.switch_latest(DATASET)
    before = portal.store.head(processed())
    modified = _modified(portal)
    portal.switch_latest(DATASET)
    assert portal.store.head(processed()) == before
    assert _modified(portal) == modified


def _modified(portal: Portal) -> object:
    if isinstance(portal.store, LocalStore):
        return (portal.store.root / processed()).stat().st_ctime_ns
    return portal.store._head(processed())["Metadata"]["d4c-write"]


def test_wrong_bytes_under_processed_are_put_right(portal: Portal, tmp_path: Path):
    published(portal, tmp_path, 1)
    portal.switch_latest(DATASET)
    size = portal.store.head(processed()).bytes
    portal.store.put(processed(), b"?" * size)
    portal.switch_latest(DATASET)
    assert portal.store.read(processed()) == b"parquet" + content(1)


def test_a_withdrawn_version_steps_back_and_an_old_truth_does_not_stay(portal: Portal, tmp_path: Path):
    published(portal, tmp_path, 1, ("parquet", "pmtiles"))
    published(portal, tmp_path, 2)
    other = processed("pmtiles").replace("33100036", "33100037")
    portal.store.put(other, b"another dataset's")
    assert portal.switch_latest(DATASET) == version_id(2)
    assert portal.store.head(processed("pmtiles")) is None, "the newest version has no tiles"
    portal.records.write(Withdrawal(version_id=version_id(2), reason="wrong"))
    assert portal.switch_latest(DATASET) == version_id(1)
    assert portal.store.read(processed("pmtiles")) == b"pmtiles" + content(1)
    portal.records.write(Withdrawal(version_id=version_id(1), reason="wrong"))
    assert portal.switch_latest(DATASET) is None
    assert [i.key for i in portal.store.list("processed/")] == [other]


def test_a_damaged_version_never_becomes_the_latest(portal: Portal, tmp_path: Path):
    published(portal, tmp_path, 1)
    portal.switch_latest(DATASET)
    published(portal, tmp_path, 2)
    portal.store.delete(key(2))
    with pytest.raises(PermanentFailure, match="previous latest stays"):
        portal.switch_latest(DATASET)
    assert portal.store.read(processed()) == b"parquet" + content(1)
    portal.store.put(key(2), b"damaged")
    with pytest.raises(PermanentFailure, match="missing or damaged"):
        portal.switch_latest(DATASET)
    assert portal.store.read(processed()) == b"parquet" + content(1)


class Watcher:
    """Reads the latest all the time; remembers which versions it saw, and anything that is not one."""

    def __init__(self, portal: Portal, numbers: range) -> None:
        self._portal, self._known = portal, {b"parquet" + content(n): n for n in numbers}
        self.seen: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            try:
                body = self._portal.store.read(processed())
            except NoObject:
                continue
            self.seen.append(self._known.get(body, -1))


def test_the_latest_never_goes_backwards_when_many_publish_at_once(portal: Portal, tmp_path: Path):
    numbers = range(1, 9)
    shuffled = random.Random(7).sample(numbers, len(numbers))
    folders = []
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        folders.append(folder)
    builds = {n: staged(portal, folders[n - 1], n) for n in numbers}

    def run(number: int) -> None:
        portal.publish(builds[number])
        portal.switch_latest(DATASET)

    with Watcher(portal, numbers) as watcher, ThreadPoolExecutor(4) as pool:
        list(pool.map(run, shuffled))
    assert -1 not in watcher.seen
    assert watcher.seen == sorted(watcher.seen)
    assert portal.store.read(processed()) == b"parquet" + content(8)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_slow_publisher_cannot_put_an_old_version_over_a_new_one(portal: Portal, tmp_path: Path, earlier: bool):
    if earlier:
        published(portal, tmp_path, 1)
        portal.switch_latest(DATASET)
    published(portal, tmp_path, 2)
    overtaken, refused = [], []

    class Overtaken:
        """The slow publisher's store: between its decision and its write, another one publishes version 3."""

        def __getattr__(self, name: str) -> object:
            return getattr(portal.store, name)

        def copy(self, source: str, target: str, **options: object) -> object:
            if not overtaken:
                overtaken.append(source)
                published(portal, tmp_path, 3)
                portal.switch_latest(DATASET)
            try:
                return portal.store.copy(source, target, **options)
            except Conflict:
                refused.append(source)
                raise

    slow = Portal(Overtaken())
    assert slow.switch_latest(DATASET) == version_id(3)
    assert overtaken == refused == [key(2)], "version 2 was not even there for a moment"
    assert portal.store.read(processed()) == b"parquet" + content(3)


def test_publishers_killed_anywhere_end_in_the_same_state(stores: Stores, tmp_path: Path):
    rng = random.Random(20261123)
    portal = Portal(stores.open())
    numbers = [str(n) for n in range(1, 5)]
    with Watcher(portal, range(1, 5)) as watcher:
        for _ in range(3 if stores.root else 2):
            publisher = stores.process("publish", *numbers)
            assert publisher.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.0, 1.0) if stores.endpoint_url else rng.uniform(0.0, 0.1))
            os.kill(publisher.pid, signal.SIGKILL)
            publisher.wait()
            for info in portal.store.list("versions/"):
                if info.key.endswith(".parquet"):
                    number = int(info.key.removesuffix(".0.parquet").rsplit(".", 1)[1])
                    assert portal.store.read(info.key) == b"parquet" + content(number), "no half object is readable"
        publish(portal.store, [int(n) for n in numbers])
    assert watcher.seen == sorted(watcher.seen)
    assert -1 not in watcher.seen
    assert portal.store.read(processed()) == b"parquet" + content(4)
    assert sorted(i.key for i in portal.store.list("versions/")) == sorted(
        k for n in range(1, 5) for k in (key(n), key(n) + TREE)
    )
    assert list(portal.store.list("staging/")) == []


def test_a_companion_is_private_until_its_version_is_published_and_staged_no_more(portal: Portal, tmp_path: Path):
    build = staged(portal, tmp_path, 1)
    portal.stage_companion(version_id(1), "preview.svg", b"<svg/>")
    assert portal.staged_companion(version_id(1), "preview.svg") == b"<svg/>"
    assert [i.key for i in portal.store.list("versions/")] == []
    assert portal.lacks(version_id(1), "preview.svg")
    portal.publish(build, {"preview.svg": b"<svg/>"})
    assert portal.staged_companion(version_id(1), "preview.svg") is None
    assert not portal.lacks(version_id(1), "preview.svg")
    assert portal.store.read(Portal.version_key(version_id(1), "preview.svg")) == b"<svg/>"


def test_a_companion_that_was_not_staged_is_none(portal: Portal):
    assert portal.staged_companion(version_id(1), "preview.svg") is None


def test_the_first_published_companion_stays(portal: Portal, tmp_path: Path):
    build = staged(portal, tmp_path, 1)
    portal.publish(build, {"README.md": b"first"})
    portal.publish(build, {"README.md": b"first"})
    with pytest.raises(PermanentFailure, match="The first one stays"):
        portal.publish(build, {"README.md": b"second"})
    assert portal.store.read(Portal.version_key(version_id(1), "README.md")) == b"first"


def test_a_companion_staged_again_is_the_newer_one(portal: Portal):
    portal.stage_companion(version_id(1), "preview.svg", b"old")
    portal.stage_companion(version_id(1), "preview.svg", b"new")
    assert portal.staged_companion(version_id(1), "preview.svg") == b"new"


def test_a_bucket_serves_companions_as_what_they_are(s3: S3Store, tmp_path: Path):
    portal = Portal(s3)
    portal.publish(staged(portal, tmp_path, 1), {"preview.svg": b"<svg/>", "manifest.json": b"{}", "odd.d4c": b"?"})
    kinds = {
        name: httpx.head(s3.url(Portal.version_key(version_id(1), name))).headers["Content-Type"]
        for name in ("preview.svg", "manifest.json", "odd.d4c")
    }
    assert kinds == {
        "preview.svg": "image/svg+xml",
        "manifest.json": "application/json",
        "odd.d4c": "application/octet-stream",
    }


def test_a_disk_that_fills_while_staging_leaves_the_previous_latest(local: LocalStore, tmp_path: Path):
    portal = Portal(local)
    published(portal, tmp_path, 1)
    portal.switch_latest(DATASET)
    build, (path,) = built(tmp_path, 2, size=300_000)
    with disk_full_beyond(100_000), pytest.raises(TransientFailure, match="Free space"):
        portal.stage(build.version_id, path, build.artifacts[0])
    assert portal.switch_latest(DATASET) == version_id(1)
    assert local.read(processed()) == b"parquet" + content(1)
    assert not portal.holds(version_id(2), build.artifacts[0])
    portal.stage(build.version_id, path, build.artifacts[0])
    portal.publish(build)
    assert portal.switch_latest(DATASET) == version_id(2)


def test_a_disk_that_fills_while_downloading_leaves_no_half_file(portal: Portal, tmp_path: Path):
    build = published(portal, tmp_path, 1)
    with disk_full_beyond(10_000), pytest.raises(TransientFailure, match="Free space"):
        portal.download(version_id(1), build.artifacts[0], tmp_path / "back" / "file")
    assert list((tmp_path / "back").iterdir()) == []
