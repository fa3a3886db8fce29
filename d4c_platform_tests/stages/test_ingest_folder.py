"""What a folder's torrent is worth: the info-hash of a local copy, and a web seed that a client can live on alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import uuid

import pytest

from d4c_platform.sandbox.generated import Generated
from d4c_platform.torrents import client
from d4c_platform.torrents.metainfo import parse
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.stages.folders import candidate_of, folder_dataset, ingest, job_of, publisher
from d4c_platform_tests.storage.stores import Stores

MIB = 1 << 20
FILES = {
    "a": Generated(3 * MIB + 1),
    "a.txt": Generated(16_384),
    "a-b/x+y&z #1%.tif": Generated(70_000),
    "été/tuile 001.tif": Generated(100_000),
    "été/vide": Generated(0),
    "z/large.tif": Generated(17 * MIB + 5),
}


@pytest.mark.timeout(120)
def test_a_client_gets_the_folder_from_the_bucket_alone_and_a_copy_has_its_info_hash(seaweed, web, tmp_path):
    lt = client.libtorrent()
    store = Stores(endpoint_url=seaweed.endpoint_url, prefix=uuid.uuid4().hex).open()
    with publisher(FILES) as there:
        dataset = folder_dataset(there.url)
        release = ingest(dataset, candidate_of(dataset, web), store, web)
    (raw,) = [f for f in release.files if f.name.endswith(".torrent")]
    torrent = store.read(raw.key)
    meta = parse(torrent)
    assert meta.web_seeds == (store.url(f"raw/{dataset.id}/{release.key}/files") + "/",)
    params = lt.load_torrent_buffer(torrent)
    params.save_path = str(tmp_path)
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    with client.session(loopback=True, peers=False) as session:
        handle = session.add_torrent(params)
        deadline = time.monotonic() + 60
        while not handle.status().is_seeding:
            assert time.monotonic() < deadline, [str(a) for a in session.pop_alerts()[-10:]]
            session.wait_for_alert(200)
        session.pop_alerts()
        handle.flush_cache()
        while not any(isinstance(a, lt.cache_flushed_alert) for a in session.pop_alerts()):
            assert time.monotonic() < deadline
            session.wait_for_alert(200)
    folder = tmp_path / meta.name
    for path, file in FILES.items():
        assert (folder / path).read_bytes() == b"".join(file.chunks(path)), path
    assert not (folder / ".pad").exists()
    entries = sorted(lt.list_files(str(folder)), key=lambda entry: entry.filename)
    flags = lt.create_torrent.v1_only | lt.create_torrent.canonical_files
    made = lt.create_torrent(entries, meta.piece_length, flags)
    lt.set_piece_hashes(made, str(tmp_path))
    assert hashlib.sha1(lt.bencode(made.generate()[b"info"])).hexdigest() == meta.info_hash


@pytest.mark.timeout(300)
def test_memory_grows_neither_with_the_size_of_a_file_nor_with_their_number(tmp_path, web):
    def peak(name: str, files: dict[str, Generated]) -> int:
        with publisher(files) as there:
            dataset = folder_dataset(there.url, concurrency=2)
            job = job_of(dataset, candidate_of(dataset, web), Stores(root=str(tmp_path / name)))
            with job.process() as process:
                return json.loads(process.communicate(timeout=150)[0])["peak"]

    def small(count: int) -> dict[str, Generated]:
        return {f"{i % 40}/{i:05}.tif": Generated(100) for i in range(count)}

    few = peak("few", small(20) | {"a.tif": Generated(50 * MIB)})
    large = peak("large", small(20) | {"a.tif": Generated(160 * MIB)})
    many = peak("many", small(3000) | {"a.tif": Generated(50 * MIB)})
    assert large < few + 30 * MIB
    assert many < few + 40 * MIB


@pytest.mark.timeout(120)
def test_memory_of_writing_the_inventory_does_not_grow_with_the_number_of_files(tmp_path):
    """The one step of an ingest that sees all files: with row groups of twenty thousand it takes eighty megabytes more."""
    program = """
import pathlib, sys
from d4c_platform.transforms import inventory
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.stages.folders import step
inventory.write_raw(pathlib.Path(sys.argv[1]), map(step, range(int(sys.argv[2]))), int(sys.argv[2]), {})
status = pathlib.Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")))
"""

    def peak(files: int) -> int:
        command = [sys.executable, "-c", program, str(tmp_path / "inventory.parquet"), str(files)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)

    assert peak(20_000) < peak(1_000) + 25 * MIB
