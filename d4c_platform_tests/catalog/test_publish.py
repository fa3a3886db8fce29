import json
import random
import resource
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d4c_platform.catalog.publish import publish
from d4c_platform.catalog.reading import Catalog
from d4c_platform.catalog.vocabulary import CATALOG_KEY, MIRRORS_KEY
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Withdrawal
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.records import Records
from d4c_platform_tests.catalog.published import PORTAL_URL, TABLE, TABULAR, Archive, filled, provinces_version, table_version

PROJECT = Path(__file__).parents[2]


def ids(store):
    return Catalog.open(store.root).table["id"].to_pylist()


def test_rows_lie_by_dataset_and_then_from_the_oldest_version_to_the_newest(tmp_path):
    archive = filled(tmp_path)
    published = publish(archive.records, archive.store)
    expected = [
        provinces_version("1.0.0"),
        provinces_version("1.10.0"),
        table_version("2025-06-11", "1.0.0"),
        table_version("2025-06-11", "1.0.1"),
        table_version("2025-07-11"),
    ]
    assert ids(archive.store) == expected == list(published.versions)
    assert published.rows == 5


def test_a_catalog_rebuilt_from_the_records_alone_has_the_same_bytes(tmp_path):
    archive = filled(tmp_path)
    first = publish(archive.records, archive.store)
    bodies = [archive.store.read(key) for key in (CATALOG_KEY, MIRRORS_KEY)]
    for key in (CATALOG_KEY, MIRRORS_KEY):
        archive.store.delete(key)
    store = LocalStore(tmp_path, PORTAL_URL)
    assert publish(Records(store), store) == first
    assert [store.read(key) for key in (CATALOG_KEY, MIRRORS_KEY)] == bodies


def test_one_version_at_a_time_ends_in_the_same_bytes_as_all_at_once(tmp_path):
    together = filled(tmp_path / "together")
    one_by_one = Archive(tmp_path / "one-by-one")
    for semver in ("1.0.0", "1.0.1"):
        for archive in (together, one_by_one):
            archive.version(TABLE, table_version("2026-01-01", semver), vintage="2026-01-01")
            publish(one_by_one.records, one_by_one.store)
    alone = Archive(tmp_path / "alone")
    for semver in ("1.0.1", "1.0.0"):
        alone.version(TABLE, table_version("2026-01-01", semver), vintage="2026-01-01")
    assert publish(alone.records, alone.store) == publish(one_by_one.records, one_by_one.store)


def test_publishing_again_without_news_does_not_touch_the_files(tmp_path):
    archive = filled(tmp_path)
    publish(archive.records, archive.store)
    before = [archive.store.head(key).etag for key in (CATALOG_KEY, MIRRORS_KEY)]
    publish(archive.records, archive.store)
    assert [archive.store.head(key).etag for key in (CATALOG_KEY, MIRRORS_KEY)] == before


def test_a_version_that_is_not_on_the_portal_is_not_in_the_catalog(tmp_path):
    archive = filled(tmp_path)
    archive.version(TABLE, table_version("2025-08-11"), vintage="2025-08-11", portal=False)
    assert table_version("2025-08-11") not in publish(archive.records, archive.store).versions


def test_a_withdrawn_version_is_not_in_the_catalog_and_its_predecessor_is_the_latest(tmp_path):
    archive = filled(tmp_path)
    archive.records.write(Withdrawal(version_id=table_version("2025-07-11"), reason="It changed nothing"))
    publish(archive.records, archive.store)
    assert Catalog.open(tmp_path).latest(TABLE.id)["id"] == table_version("2025-06-11", "1.0.1")


def test_a_catalog_of_nothing_opens(tmp_path):
    archive = Archive(tmp_path)
    assert publish(archive.records, archive.store).rows == 0
    assert ids(archive.store) == []


def test_a_record_that_does_not_fit_leaves_the_published_catalog_as_it_is(tmp_path):
    archive = filled(tmp_path)
    publish(archive.records, archive.store)
    before = ids(archive.store)
    version = archive.version(TABLE, table_version("2025-08-11"), vintage="2025-08-11")
    path = tmp_path / "records" / version / "item.json"
    document = json.loads(path.read_text())
    document["item"]["properties"]["future:field"] = 1
    path.unlink()
    path.write_text(json.dumps(document))
    with pytest.raises(PermanentFailure, match=rf"{version}: item.json: the catalog has no column for future:field"):
        publish(archive.records, archive.store)
    assert ids(archive.store) == before


def test_mirrors_say_when_each_copy_was_seen_and_join_the_catalog(tmp_path):
    archive = filled(tmp_path)
    publish(archive.records, archive.store)
    found = Catalog.open(tmp_path).sql(
        "SELECT mirror, state, assets.data.alternate.source_coop.href = mirrors.href AS same "
        "FROM catalog JOIN mirrors USING (id) "
        f"WHERE id = '{table_version('2025-06-11')}' ORDER BY mirror"
    )
    assert found.to_pylist() == [
        {"mirror": "portal", "state": "fresh", "same": False},
        {"mirror": "source_coop", "state": "fresh", "same": True},
        {"mirror": "zenodo", "state": "fresh", "same": False},
    ]


class Overtaken(LocalStore):
    """A store on which somebody else publishes at one moment: while records are read, or just before a key is written."""

    def __init__(self, root, moment, overtake):
        super().__init__(root, PORTAL_URL)
        self.moment, self.overtake = moment, overtake

    def put(self, key, body, **conditions):
        self._at(key)
        return super().put(key, body, **conditions)

    def url(self, key):
        self._at("records")
        return super().url(key)

    def _at(self, moment):
        if moment == self.moment and (overtake := self.overtake):
            self.overtake = None
            overtake()


@pytest.mark.parametrize("moment", ["records", MIRRORS_KEY, CATALOG_KEY])
@pytest.mark.parametrize("first_ever", [True, False])
def test_a_publisher_that_was_overtaken_starts_again_and_loses_no_row(tmp_path, moment, first_ever):
    archive = Archive(tmp_path)
    mine, theirs = table_version("2025-06-11"), table_version("2025-07-11")
    if not first_ever:
        publish(archive.records, archive.store)

    def overtake():
        archive.version(TABLE, theirs, vintage="2025-07-11")
        publish(archive.records, archive.store)

    archive.version(TABLE, mine)
    store = Overtaken(tmp_path, moment, overtake)
    publish(Records(store), store)
    assert ids(archive.store) == [mine, theirs]
    assert set(pq.read_table(tmp_path / MIRRORS_KEY)["id"].to_pylist()) == {mine, theirs}


def test_two_publishers_with_kills_lose_no_row_and_readers_always_see_a_whole_catalog(tmp_path):
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    count, acknowledged, seen, done = 6, set(), [], threading.Event()

    def read():
        catalog = tmp_path / CATALOG_KEY
        while not done.wait(0.02):
            if catalog.exists():
                seen.append(set(Catalog.open(catalog).table["id"].to_pylist()))

    reader = threading.Thread(target=read)
    reader.start()
    running = {}
    try:
        for round_ in range(3):
            for minor in ("0", "1"):
                command = [sys.executable, "-m", "d4c_platform_tests.catalog.publisher", str(tmp_path), minor, str(count)]
                running[minor] = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
            for process in running.values():
                if round_ < 2:
                    for _ in range(chance.randrange(1, count)):
                        acknowledged.add(process.stdout.readline().strip())
                    done.wait(chance.random() * 0.05)
                    process.send_signal(signal.SIGKILL)
            for process in running.values():
                rest = process.communicate(timeout=120)[0]
                acknowledged |= set(rest.split())
        assert [process.returncode for process in running.values()] == [0, 0]
    finally:
        for process in running.values():
            process.kill()
            process.wait()
        done.set()
        reader.join()
    expected = {table_version("2025-06-11", f"1.{minor}.{patch}") for minor in (0, 1) for patch in range(count)}
    assert acknowledged - {""} == expected
    found = Catalog.open(tmp_path).table["id"].to_pylist()
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert all(earlier <= later for earlier, later in pairwise(seen))


def test_two_thousand_versions_are_folded_in_bounded_memory(tmp_path):
    archive = Archive(tmp_path)
    columns = tuple(
        {"name": f"c{n}", "type": "double", "nulls": 0, "title_en": "x" * 30, "title_fr": "y" * 30} for n in range(40)
    )
    template = archive.version(TABLE, table_version("2025-06-11"), **TABULAR, columns=columns, mirrors=("zenodo",))
    documents = {path.name: path.read_text() for path in (tmp_path / "records" / template).iterdir()}
    for number in range(1, 2000):
        version = table_version("2025-06-11", f"1.0.{number}")
        folder = tmp_path / "records" / version
        folder.mkdir()
        for name, text in documents.items():
            (folder / name).write_text(text.replace(template, version))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    published = publish(archive.records, archive.store)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert published.rows == 2000
    # 2,000 folded items as dictionaries alone would be about 200 MB.
    assert grown_mb < 120
    assert Catalog.open(tmp_path).latest(TABLE.id)["id"] == table_version("2025-06-11", "1.0.1999")
