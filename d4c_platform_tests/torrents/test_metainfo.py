import contextlib
import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import libtorrent as lt
import pytest
import torf
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.torrents.bencode import bdecode, bencode
from d4c_platform.torrents.metainfo import SOURCE, BadTorrent, compose, parse, reissue
from d4c_platform_tests.torrents.conftest import NAME, make_sample

RECORDED = Path(__file__).parents[2].parent / "shared" / "data" / "torrents"
TRACKERS = [
    ["https://tracker.example.org/announce"],
    ["udp://a.example.org:1337/announce", "udp://b.example.org:1337/announce"],
]


def libtorrent_info(path: Path, piece_length: int) -> dict:
    entries = lt.list_files(str(path))
    torrent = lt.create_torrent(entries, piece_length, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, str(path.parent))
    return torrent.generate()[b"info"]


@pytest.mark.parametrize("size", [1, 16 << 10, (16 << 10) + 1, 700_000, 40_000_000])
def test_the_info_hash_is_the_one_libtorrent_and_torf_find_by_hashing_the_file(tmp_path, size):
    sample = make_sample(tmp_path, size, "a file é.parquet")
    ours = parse(compose(sample.path.name, sample.digests, source=None))
    info = libtorrent_info(sample.path, ours.piece_length)
    theirs = torf.Torrent(path=sample.path, piece_size=ours.piece_length)
    theirs.generate()
    assert ours.info == lt.bencode(info)
    assert ours.info_hash == theirs.infohash


def test_our_source_is_part_of_the_info_hash_as_torf_computes_it(sample):
    theirs = torf.Torrent(path=sample.path, piece_size=sample.digests.piece_length, source=SOURCE)
    theirs.generate()
    assert sample.meta.info_hash == theirs.infohash
    assert sample.meta.source == "Data for Canada"


def test_other_clients_read_what_we_wrote(sample):
    url = "https://mirror.example.org/" + NAME
    torrent = compose(NAME, sample.digests, web_seeds=[url], trackers=TRACKERS, comment="Données · data")
    theirs = lt.load_torrent_buffer(torrent)
    assert theirs.url_seeds == [url]
    assert list(zip(theirs.trackers, theirs.tracker_tiers, strict=True)) == [
        (TRACKERS[0][0], 0),
        (TRACKERS[1][0], 1),
        (TRACKERS[1][1], 1),
    ]
    assert theirs.comment == "Données · data"
    assert str(theirs.ti.info_hashes().v1) == parse(torrent).info_hash
    assert torf.Torrent.read_stream(torrent).comment == "Données · data"


def test_the_same_artifact_gives_the_same_file_without_a_creation_date(sample):
    torrent = sample.torrent("https://a.example.org/x")
    assert torrent == sample.torrent("https://a.example.org/x")
    assert b"creation date" not in bdecode(torrent)


def test_reissuing_changes_seeds_trackers_and_comment_and_nothing_else(sample):
    old = sample.torrent("https://gone.example.org/x", trackers=TRACKERS)
    new = reissue(old, web_seeds=["https://alive.example.org/x"], comment="https://doi.org/10.5281/zenodo.1")
    assert parse(new).info_hash == parse(old).info_hash
    assert parse(new).web_seeds == ("https://alive.example.org/x",)
    assert parse(new).trackers == parse(old).trackers
    assert parse(new).comment == "https://doi.org/10.5281/zenodo.1"


def test_a_magnet_names_hash_name_size_torrent_seeds_and_trackers(sample):
    seed = "https://zenodo.org/records/1/files/a b&c.parquet?download=1"
    meta = parse(sample.torrent(seed, trackers=TRACKERS))
    magnet = meta.magnet(torrent_url="https://data.example.org/x.torrent")
    query = parse_qsl(urlsplit(magnet).query, strict_parsing=True)
    assert query == [
        ("xt", f"urn:btih:{meta.info_hash}"),
        ("dn", NAME),
        ("xl", str(meta.length)),
        ("xs", "https://data.example.org/x.torrent"),
        *(("tr", tracker) for tier in TRACKERS for tracker in tier),
        ("ws", seed),
    ]
    theirs = lt.parse_magnet_uri(magnet)
    assert str(theirs.info_hashes.v1) == meta.info_hash
    assert theirs.url_seeds == [seed]


@pytest.fixture(params=["whitehorse", "nrcan", "canvec"])
def recorded(request) -> bytes:
    found = [p for p in RECORDED.glob("*.torrent") if request.param in p.name] if RECORDED.exists() else []
    if not found:
        pytest.skip(f"no recorded torrent of {request.param} in {RECORDED}")
    return found[0].read_bytes()


def test_torrents_that_d4c_has_published_are_read_with_their_info_hash(recorded):
    meta = parse(recorded)
    # Independently of our decoder: these files end with the info dictionary.
    raw_info = recorded[recorded.index(b"4:info") + len(b"4:info") : recorded.index(b"8:url-list")]
    assert meta.info_hash == hashlib.sha1(raw_info).hexdigest() == torf.Torrent.read_stream(recorded).infohash
    assert meta.single_file
    assert len(meta.web_seeds) == 3
    assert meta.created_by == "py3createtorrent v1.2.1"
    assert meta.piece_count == -(-meta.length // meta.piece_length)


def test_published_torrents_keep_their_info_hash_when_their_seeds_are_corrected(recorded):
    old = parse(recorded)
    new = parse(reissue(recorded, web_seeds=[old.web_seeds[0]]))
    assert (new.info_hash, new.md5, new.source) == (old.info_hash, old.md5, old.source)
    assert new.web_seeds == old.web_seeds[:1]
    assert new.creation_date == old.creation_date


def test_source_and_md5_of_a_published_torrent_are_read():
    path = RECORDED / "ca_nrcan_land_cover_2020_30m.pmtiles.torrent"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    meta = parse(path.read_bytes())
    assert (meta.source, meta.md5) == ("Data for Canada", "b79a0d4d51423a00259d1ca1bc43960b")
    assert meta.trackers == (("https://tracker.labs.dataforcanada.org/announce",),)
    assert "Classification nationale de la couverture terrestre" in meta.comment


def info(**changes) -> dict:
    good = {b"length": 5, b"name": b"a", b"piece length": 16384, b"pieces": bytes(20)}
    return {k: v for k, v in (good | {k.replace("_", " ").encode(): v for k, v in changes.items()}).items() if v is not None}


def folder_of(*files: dict) -> dict:
    return info(length=None, files=list(files), pieces=bytes(20) if any(f[b"length"] for f in files) else b"")


FILE = {b"length": 5, b"path": [b"d", b"a"]}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (info(name=b".."), "its name would not stay in its folder"),
        (info(name=b"../../etc/passwd"), "would not stay"),
        (info(name=b"a\\b"), "would not stay"),
        (info(name=b"a\x00b"), "would not stay"),
        (info(name=b"a" * 256), "would not stay"),
        (info(name=b""), "empty or missing"),
        (info(name=b"\xff"), "not UTF-8"),
        (info(name=7), "its name is a int, not a bytes"),
        (info(length=-1), "size of a is -1"),
        (info(length=1 << 60, pieces=bytes(20)), "size of a"),
        (info(length=None), "size of a is None"),
        (info(length=0, pieces=b""), "it holds no data"),
        (info(piece_length=0), "piece length is 0"),
        (info(piece_length=1 << 40), "piece length is"),
        (info(pieces=bytes(19)), "19 bytes of piece hashes"),
        (info(pieces=bytes(40)), "40 bytes of piece hashes"),
        (info(pieces=None), "no v1 pieces"),
        (info(attr=b"l"), "symbolic link"),
        (info(files=[FILE]), "one file and several"),
        (folder_of({**FILE, b"path": [b"..", b"a"]}), "a path would not stay"),
        (folder_of({**FILE, b"path": []}), "no path"),
        (folder_of({**FILE, b"symlink path": [b"x"]}), "symbolic link"),
        (folder_of(FILE, FILE), "same path"),
    ],
)
def test_a_hostile_torrent_is_refused_with_the_reason(bad, reason):
    with pytest.raises(BadTorrent, match=re.escape(reason)):
        parse(bencode({b"info": bad}))


@pytest.mark.parametrize(
    ("torrent", "reason"),
    [
        (b"<!DOCTYPE html>", "offset 0"),
        (b"i5e", "not a dictionary"),
        (b"de", "no info dictionary"),
        (bencode({b"info": info(), b"url-list": 5}), "url-list"),
        (bencode({b"info": info(), b"announce-list": [5]}), "tracker tier"),
    ],
)
def test_what_is_no_torrent_is_refused_with_the_reason(torrent, reason):
    with pytest.raises(BadTorrent, match=reason):
        parse(torrent)


def test_folder_torrents_of_others_are_read():
    meta = parse(bencode({b"info": folder_of(FILE, {b"length": 0, b"path": [b"b"]}), b"url-list": b"https://a.example.org/"}))
    assert [part.path for part in meta.parts] == [("d", "a"), ("b",)]
    assert not meta.single_file
    assert meta.web_seeds == ("https://a.example.org/",)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_never_anything_else(data):
    for torrent in (data, b"d4:info" + data + b"e"):
        with contextlib.suppress(BadTorrent):
            parse(torrent)
