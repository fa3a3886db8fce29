import hashlib
import io
import random

import pytest

from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.web import portal_app
from d4c_platform.storage.file_digests import FileHasher
from d4c_platform.torrents.bencode import bencode
from d4c_platform.torrents.folder import FolderFile, compose_folder
from d4c_platform.torrents.metainfo import SHA1_BYTES, Metainfo, parse
from d4c_platform.torrents.web_seeds import probe
from d4c_platform.web import Web
from d4c_platform_tests.torrents.conftest import NAME, make_sample


def test_a_server_of_exact_ranges_is_a_good_web_seed_and_little_is_asked_of_it(sample, mirror, web):
    verdict = probe(web, mirror.seed("good", NAME), sample.meta)
    assert verdict.ok
    assert "match their hashes" in verdict.reason
    asked = [r["headers"]["range"] for r in mirror.requests("/good")]
    last = f"bytes={(sample.meta.piece_count - 1) * 16384}-{sample.meta.length - 1}"
    assert asked[0] == "bytes=0-16383"
    assert last in asked
    assert len(asked) <= 3


def test_a_query_that_does_not_expire_is_fine(sample, mirror, web):
    assert probe(web, mirror.seed("good", NAME) + "?download=1", sample.meta).ok


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("whole", "answered 200 to a range request instead of 206"),
        ("longer", "serves a file of 2000004 bytes, and the artifact has 2000003"),
        ("elsewhere", "answered bytes 1-16383 when asked for 0-16383"),
        ("fewer", "16383, fewer bytes than the 16384 of piece 0"),
        ("corrupt", "piece 0 does not match its hash"),
        ("corrupt-end", "piece 122 does not match its hash"),
        ("missing", "answered 404: no such file"),
        ("moved-signed", "a signature or token that expires"),
    ],
)
def test_a_seed_that_would_fail_its_clients_is_refused_with_the_reason(sample, mirror, web, how, reason):
    verdict = probe(web, mirror.seed(how, NAME), sample.meta)
    assert not verdict.ok
    assert not verdict.transient
    assert reason in verdict.reason


def test_one_wrong_byte_in_the_middle_is_found_when_its_piece_is_drawn(tmp_path, sample, mirror, web):
    data = bytearray(sample.path.read_bytes())
    data[50 * 16384 + 7] ^= 1
    sample.path.write_bytes(data)

    class Draws50(random.Random):
        def randint(self, a, b):
            return 50

    verdict = probe(web, mirror.seed("good", NAME), sample.meta, dice=Draws50())
    assert verdict.reason == "served other bytes: piece 50 does not match its hash"


def test_a_redirect_is_followed_and_reported(sample, mirror, web):
    verdict = probe(web, mirror.seed("moved", NAME), sample.meta)
    assert verdict.ok
    assert verdict.redirects == (mirror.seed("good", NAME),)


def test_a_redirect_loop_ends(sample, mirror, web):
    verdict = probe(web, mirror.seed("around", NAME), sample.meta)
    assert not verdict.ok
    assert "TooManyRedirects" in verdict.reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "status", "status": 503}, "answered 503"),
        ({"kind": "truncate", "after_bytes": 100}, "no complete answer"),
        ({"kind": "reset"}, "no complete answer"),
    ],
)
def test_trouble_that_can_pass_is_told_apart(sample, mirror, web, fault, reason):
    mirror.fault(path="/good", times=-1, **fault)
    verdict = probe(web, mirror.seed("good", NAME), sample.meta)
    assert not verdict.ok
    assert verdict.transient
    assert reason in verdict.reason


def test_an_html_page_served_as_success_is_refused(sample, mirror, web):
    mirror.fault(path="/good", kind="html")
    assert "answered 200" in probe(web, mirror.seed("good", NAME), sample.meta).reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"http://mirror.example.org/{NAME}", "not HTTPS"),
        (f"ftp://mirror.example.org/{NAME}", "not an HTTP address"),
        (f"https://me:secret@mirror.example.org/{NAME}", "password"),
        (f"https://mirror.example.org/{NAME}#part", "fragment"),
        (f"https://mirror.example.org/{NAME}?X-Amz-Signature=1", "expires"),
        (f"https://mirror.example.org/{NAME}?token=1", "expires"),
        ("https://mirror.example.org/versions/", "does not name"),
        (
            "https://d4c.example.org/processed/ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036.parquet",
            "does not name",
        ),
    ],
)
def test_a_url_that_may_change_or_leak_is_refused_before_it_is_asked(sample, web, url, reason):
    """The strict latest can never become a web seed: it does not name the version."""
    verdict = probe(web, url, sample.meta)
    assert not verdict.ok
    assert reason in verdict.reason
    assert "secret" not in verdict.reason


def test_the_file_may_be_named_before_the_end_of_the_path(tmp_path, sample, mirror):
    """Zenodo's `/files/NAME/content`."""
    web = Web(origins={"https://zenodo.org": mirror.url}, attempts=1)
    verdict = probe(web, f"https://zenodo.org/api/records/1/files/{NAME}/content", sample.meta)
    assert verdict.reason.startswith("answered 404")  # asked, not refused by the rule
    web.close()


def test_a_file_of_one_piece_is_asked_once(tmp_path, mirror, web):
    small = make_sample(mirror.folder, 10, "one.parquet")
    assert probe(web, mirror.seed("good", "one.parquet"), small.meta).ok
    assert len(mirror.requests("/good/one")) == 1


FOLDER, PIECE = "tiles_2026", 16_384
FILES = {"a": b"A" * 40_000, "b/é 1%.tif": b"B" * (3 * PIECE), "c": b"", "d": b"D"}


@pytest.fixture
def folder(tmp_path):
    """A served folder, the URL of its parent, and its torrent."""

    def file(path: str, data: bytes) -> FolderFile:
        target = tmp_path / "at" / FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        hasher = FileHasher(PIECE)
        hasher.update(data)
        return FolderFile(path, hasher.finish().pieces, len(data))

    files, out = [file(path, data) for path, data in FILES.items()], io.BytesIO()
    compose_folder(out, FOLDER, PIECE, lambda: files)
    with serve(portal_app(tmp_path)) as served:
        yield tmp_path / "at" / FOLDER, f"{served.url}/at/", parse(out.getvalue())


def asking_for(piece: int) -> random.Random:
    class Draws(random.Random):
        def randint(self, a, b):
            return piece

    return Draws()


def test_the_web_seed_of_a_folder_is_its_parent_and_pads_are_not_asked_for(folder, web):
    _, parent, meta = folder
    for piece in range(meta.piece_count):
        assert probe(web, parent, meta, dice=asking_for(piece)).ok, piece


@pytest.mark.parametrize(("path", "piece"), [("a", 2), ("b/é 1%.tif", 5), ("d", 6)])
def test_one_wrong_byte_in_a_file_of_a_folder_is_found(folder, web, path, piece):
    where, parent, meta = folder
    data = bytearray(FILES[path])
    data[-1] ^= 1
    (where / path).write_bytes(data)
    verdict = probe(web, parent, meta, dice=asking_for(piece))
    assert (verdict.ok, verdict.reason) == (False, f"served other bytes: piece {piece} does not match its hash")


def test_a_file_of_a_folder_that_is_longer_or_missing_makes_no_seed(folder, web):
    where, parent, meta = folder
    (where / "d").write_bytes(b"DD")
    assert "serves a file of 2 bytes" in probe(web, parent, meta).reason
    (where / "d").unlink()
    assert "answered 404" in probe(web, parent, meta).reason


def test_the_folder_itself_is_no_web_seed(folder, web):
    _, parent, meta = folder
    assert "404" in probe(web, f"{parent}{FOLDER}/", meta).reason
    assert "slash" in probe(web, f"{parent}{FOLDER}", meta).reason


def test_a_piece_over_the_end_of_a_file_is_asked_of_both(folder, web):
    """As in folders that others made, without pads."""
    where, parent, _ = folder
    whole = FILES["a"] + FILES["d"]
    info = {
        b"name": FOLDER,
        b"piece length": PIECE,
        b"files": [{b"length": len(FILES[path]), b"path": [path]} for path in ("a", "d")],
        b"pieces": b"".join(hashlib.sha1(whole[i : i + PIECE]).digest() for i in range(0, len(whole), PIECE)),
    }
    meta: Metainfo = parse(bencode({b"info": info}))
    assert len(meta.pieces) == 3 * SHA1_BYTES
    assert probe(web, parent, meta).ok
    (where / "d").write_bytes(b"x")
    assert not probe(web, parent, meta).ok
