"""A zip from outside is read once, hashed by its content, and refused when it is broken or hostile."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sources import zipfiles
from d4c_platform.sources.zipfiles import content_sha256
from d4c_platform_tests.sources.conftest import RECORDED, zip_of

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


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.csv", "leads out of the folder"),
        ("a/../../evil.csv", "leads out of the folder"),
        ("/etc/passwd", "leads out of the folder"),
        ("C:/evil.csv", "leads out of the folder"),
        ("a\\..\\evil.csv", "backslash"),
        ("a\nb.csv", "control characters"),
        ("inner.ZIP", "a zip in a zip"),
    ],
)
def test_a_name_that_is_not_harmless_is_refused(tmp_path: Path, name: str, why: str) -> None:
    assert why in refusal(zip_of(("fine.csv", b"1"), (name, b"2")), tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_is_refused(tmp_path: Path, kind: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("data.csv")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "a link or a device" in refusal(out.getvalue(), tmp_path)


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    assert "in the zip twice" in refusal(zip_of(("Data.csv", b"1"), ("data.CSV", b"2")), tmp_path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    body = bytearray(zip_of(("data.csv", b"1")))
    body[body.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refusal(bytes(body), tmp_path)


def test_an_unknown_compression_method_is_named(tmp_path: Path) -> None:
    body = bytearray(zip_of(("data.csv", b"1")))
    struct.pack_into("<H", body, body.index(b"PK\x01\x02") + 10, 9)
    assert "compression method 9" in refusal(bytes(body), tmp_path)


def test_a_bomb_by_ratio_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    assert "only bombs do" in refusal(zip_of(("zeros.csv", bytes(zipfiles.RATIO_MATTERS_BYTES + 1))), tmp_path)


def test_a_bomb_by_total_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfiles, "MOST_UNPACKED_BYTES", 1000)
    assert "unpacks to 1,200 bytes" in refusal(zip_of(("a", bytes(600)), ("b", bytes(600))), tmp_path)


def test_a_bomb_by_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfiles, "MOST_MEMBERS", 3)
    assert "4 members" in refusal(zip_of(*((str(n), b"") for n in range(4))), tmp_path)


def test_a_declared_size_that_lies_is_refused_without_reading_on(tmp_path: Path) -> None:
    body = bytearray(zip_of(("a.csv", bytes(100_000))))
    struct.pack_into("<L", body, body.index(b"PK\x01\x02") + 24, 10)
    assert "corrupt" in refusal(bytes(body), tmp_path)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    body = bytearray(zip_of(("a.csv", b"1" * 500), ("b.csv", b"2" * 500)))
    second = body.index(b"PK\x01\x02", body.index(b"PK\x01\x02") + 1)
    struct.pack_into("<L", body, second + 42, 0)  # both claim the first member's place
    assert "overlap" in refusal(bytes(body), tmp_path)


@pytest.mark.parametrize("body", [zip_of(), zip_of(("folder/", b""))])
def test_a_zip_without_files_is_refused(tmp_path: Path, body: bytes) -> None:
    assert "contains no files" in refusal(body, tmp_path)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded real inputs are not at hand")
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*/*.zip")), ids=lambda p: p.name)
def test_real_zips_are_sound(path: Path) -> None:
    assert len(content_sha256(path, path.name)) == 64
