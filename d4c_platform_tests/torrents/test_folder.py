"""A folder torrent is the one that libtorrent makes of the same files."""

from __future__ import annotations

import hashlib
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sources.listing import path_problem
from d4c_platform.storage.file_digests import FileHasher
from d4c_platform.torrents import folder, metainfo
from d4c_platform.torrents.client import libtorrent
from d4c_platform.torrents.folder import FolderFile, compose_folder, folder_piece_length

PIECE = 32 << 10


def folder_file(path: str, data: bytes, *, alone: bool = False) -> FolderFile:
    hasher = FileHasher(PIECE, alone=alone)
    hasher.update(data)
    return FolderFile(path, hasher.finish().pieces, len(data))


def composed(files: list[FolderFile], **more) -> metainfo.Metainfo:
    out = io.BytesIO()
    written = compose_folder(out, "folder", PIECE, lambda: files, **more)
    meta = metainfo.parse(out.getvalue())
    assert (meta.info_hash, len([p for p in meta.parts if not p.padding])) == (written.info_hash, written.files)
    return meta


names = st.text(st.sampled_from("ab.-Z0é +ー𝄞"), min_size=1, max_size=4)
paths = st.lists(names, min_size=1, max_size=3).map("/".join).filter(lambda p: path_problem(p) is None)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(paths, st.sampled_from([0, 1, 16_384, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]), min_size=1, max_size=8))
def test_the_info_hash_is_libtorrents_from_a_local_copy(tmp_path_factory, sizes):
    lt = libtorrent()
    if not sum(sizes.values()):
        return
    place = tmp_path_factory.mktemp("copy")
    files = {}
    for path, size in sizes.items():
        target = place / "folder" / path
        if any(other != path and (other.startswith(path + "/") or path.startswith(other + "/")) for other in sizes):
            return  # a file cannot be a folder, too
        target.parent.mkdir(parents=True, exist_ok=True)
        files[path] = random.Random(path).randbytes(size)
        target.write_bytes(files[path])
    entries = sorted(lt.list_files(str(place / "folder")), key=lambda entry: entry.filename)
    made = lt.create_torrent(entries, PIECE, lt.create_torrent.v1_only | lt.create_torrent.canonical_files)
    lt.set_piece_hashes(made, str(place))
    theirs = hashlib.sha1(lt.bencode(made.generate()[b"info"])).hexdigest()
    assert (
        composed([folder_file(p, files[p], alone=len(files) == 1) for p in sorted(files, key=str.encode)]).info_hash == theirs
    )


def test_every_file_begins_at_a_piece_and_its_pieces_are_its_own():
    data = {p: random.Random(p).randbytes(s) for p, s in [("a", 1), ("b/c", PIECE), ("b/d", 2 * PIECE + 7)]}
    meta = composed([folder_file(p, d) for p, d in data.items()])
    assert meta.pieces == b"".join(folder_file(p, d).pieces for p, d in data.items())
    at = 0
    for part in meta.parts:
        assert part.padding or at % PIECE == 0
        at += part.bytes
    assert at % PIECE == 0


def test_web_seeds_and_trackers_do_not_change_the_info_hash():
    files = [folder_file("a", b"x", alone=True)]
    bare, full = composed(files), composed(files, web_seeds=["https://x.example/p/"], trackers=[["udp://t"]], comment="c")
    assert bare.info_hash == full.info_hash
    assert (full.web_seeds, full.trackers, full.comment) == (("https://x.example/p/",), (("udp://t",),), "c")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([folder_file("b", b"x"), folder_file("a", b"x")], "order"),
        ([folder_file("a", b"x"), folder_file("a", b"x")], "order"),
        ([FolderFile("a", b"x" * 20, PIECE + 1)], "pieces"),
        ([folder_file("a", b"")], "no data"),
        ([], "no data"),
    ],
)
def test_what_is_no_folder_is_refused(files, why):
    with pytest.raises(PermanentFailure, match=why):
        composed(files)


def test_a_torrent_larger_than_clients_are_let_read_is_refused(monkeypatch):
    monkeypatch.setattr(folder, "MAX_TORRENT_BYTES", 500)
    with pytest.raises(PermanentFailure, match="several lists"):
        composed([folder_file(f"{i}", b"x") for i in range(10)])


def test_the_piece_length_keeps_pads_small_and_the_torrent_readable():
    mib = 1 << 20
    assert folder_piece_length(1, 2 << 30) == mib  # as a single file of that size
    assert folder_piece_length(2_000, 5_000_000_000) == mib // 2
    assert folder_piece_length(200_000, 400_000_000) == 16 << 10
    assert folder_piece_length(100_000, 5_000_000_000_000) == 16 * mib
    assert folder_piece_length(100, None) == mib // 4


@given(st.integers(1, 200_000), st.integers(1, 10**14))
def test_a_piece_length_is_a_power_of_two_that_clients_know(files, size):
    piece = folder_piece_length(files, size)
    assert piece & (piece - 1) == 0
    assert 16 << 10 <= piece <= 16 << 20
