"""A zip from outside is read once, hashed by its content, and refused when it is broken or hostile."""

from __future__ import annotations

import gzip
import io
import tarfile
import unicodedata
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sources.receipt import receive
from d4c_platform.sources.source import Answer, Expect, SourceUrl
from d4c_platform.sources.zipfiles import content_sha256, other_kind
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import RECORDED, zip_of
from d4c_platform_tests.zips.crafted import Part
from d4c_platform_tests.zips.crafted import zip_of as crafted

NAMES = st.text("abcdefgh_-é", min_size=1, max_size=12)
MEMBERS = st.dictionaries(NAMES, st.binary(max_size=3000), min_size=1, max_size=6)


def hashed(body: bytes, tmp_path: Path) -> str:
    path = tmp_path / "it.zip"
    path.write_bytes(body)
    return content_sha256(path, "it.zip")


def refusal(body: bytes, tmp_path: Path) -> str:
    with pytest.raises(PermanentFailure) as failure:
        hashed(body, tmp_path)
    return str(failure.value)


@settings(max_examples=40, deadline=None)
@given(MEMBERS, st.randoms())
def test_restamped_and_reordered_zips_have_the_same_content(tmp_path_factory, members, random) -> None:
    folder = tmp_path_factory.mktemp("zips")
    shuffled = list(members.items())
    random.shuffle(shuffled)
    assert hashed(zip_of(*members.items()), folder) == hashed(zip_of(*shuffled, stamp=(1999, 1, 1, 0, 0, 0)), folder)


@settings(max_examples=40, deadline=None)
@given(MEMBERS, st.data())
def test_one_other_byte_or_name_is_other_content(tmp_path_factory, members, data) -> None:
    folder = tmp_path_factory.mktemp("zips")
    name = data.draw(st.sampled_from(sorted(members)))
    changed = hashed(zip_of(*(members | {name: members[name] + b"!"}).items()), folder)
    renamed = hashed(zip_of(*{(f"{k}x" if k == name else k): v for k, v in members.items()}.items()), folder)
    assert len({hashed(zip_of(*members.items()), folder), changed, renamed}) == 3


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_cut_or_flipped_zip_is_refused_or_has_the_same_content(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("zips")
    sound = zip_of(("a.csv", b"1,2,3\n" * 50), ("b.csv", bytes(range(256))))
    broken = bytearray(sound)
    if data.draw(st.booleans()):
        del broken[data.draw(st.integers(0, len(sound) - 1)) :]
    else:
        broken[data.draw(st.integers(0, len(sound) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = hashed(bytes(broken), folder)
    except PermanentFailure:
        return
    # Flips in times, attributes or a member's name in the directory are no damage to the bytes.
    names = {i.filename for i in zipfile.ZipFile(io.BytesIO(bytes(broken))).infolist()}
    assert names != {"a.csv", "b.csv"} or content == hashed(sound, folder)


@settings(max_examples=20, deadline=None)
@given(st.text("aéïÇ", min_size=1, max_size=8))
def test_the_same_names_in_other_encodings_are_the_same_content(tmp_path_factory, name: str) -> None:
    folder = tmp_path_factory.mktemp("zips")
    decomposed = unicodedata.normalize("NFD", name)
    written = [
        Part(name=name.encode(), flags=0x800),
        Part(name=name.encode()),
        Part(name=name.encode("cp1252")),
        Part(name=decomposed.encode(), flags=0x800),
    ]
    assert len({hashed(crafted(part), folder) for part in written}) == 1


def test_a_refusal_tells_where_it_stands_and_what_is_kept(tmp_path: Path) -> None:
    told = refusal(zip_of(("fine.csv", b"1"), ("../evil.csv", b"2")), tmp_path)
    assert told.startswith("receipt: it.zip: member '../evil.csv' of the zip is refused")
    assert "The previous latest stays." in told
    assert "materialize this version again" in told


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (gzip.compress(b"1,2,3"), "a gzip file"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        (b"a.csv".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
        (b"PK\x07\x08PK\x03\x04", "one part of a zip in several parts"),
        (b"SQLite format 3\0", "an SQLite file, perhaps a GeoPackage"),
        (b"1,2,3\n", None),
        (b"", None),
    ],
    ids=["gzip", "7z", "rar", "tar", "part", "sqlite", "text", "nothing"],
)
def test_what_is_called_a_zip_is_told_for_what_it_is(start: bytes, kind: str | None) -> None:
    assert other_kind(start) == kind


def test_a_zip_in_disguise_is_refused_by_its_kind(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    answer = Answer(out.getvalue(), 200, {"content-type": "application/zip"})
    with pytest.raises(PermanentFailure, match="what arrived is no zip but a tar archive, and is called application/zip"):
        receive(Web(), SourceUrl("a.zip", "https://files.example.ca/a.zip", Expect.ZIP, answer=answer), tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded real inputs are not at hand")
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*/*.zip")), ids=lambda p: p.name)
def test_real_zips_are_sound(path: Path) -> None:
    assert len(content_sha256(path, path.name)) == 64
