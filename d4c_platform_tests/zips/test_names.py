"""A member's name is the same text on every machine, and readable where its bytes can be read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform import zips
from d4c_platform.zips.names import UNICODE_PATH, UTF8_FLAG, decoded, same_place
from d4c_platform_tests.zips.crafted import Part, zip_of

NAME = "Données_Québec_œuvre.csv"


def unicode_path(name: str, stands_for: bytes) -> dict[int, bytes]:
    return {UNICODE_PATH: b"\1" + struct.pack("<L", zlib.crc32(stands_for)) + name.encode()}


@pytest.mark.parametrize(
    ("raw", "flags", "extra", "name"),
    [
        (NAME.encode(), UTF8_FLAG, {}, NAME),
        (NAME.encode(), 0, {}, NAME),
        (NAME.encode("cp1252"), 0, {}, NAME),
        ("Données_Québec.csv".encode("cp437"), 0, {}, "Données_Québec.csv"),
        ("Données_Québec.csv".encode("cp850"), 0, {}, "Données_Québec.csv"),
        ("Donne\N{COMBINING ACUTE ACCENT}es.csv".encode(), UTF8_FLAG, {}, "Données.csv"),
        (NAME.encode("cp1252"), UTF8_FLAG, {}, NAME),
        (b"Donn_es.csv", 0, unicode_path("Données.csv", b"Donn_es.csv"), "Données.csv"),
        (b"Donn_es.csv", 0, unicode_path("Autre.csv", b"another name"), "Donn_es.csv"),
        (b"plain.csv", 0, {UNICODE_PATH: b"\1\0"}, "plain.csv"),
        (b"\xb1\xb2\xdb.csv", 0, {}, "▒▓█.csv"),
        (b"\x81\xfe", 0, {}, "ü■"),
    ],
    ids=str,
)
def test_a_name_is_read_as_its_writer_meant_it(raw: bytes, flags: int, extra: dict[int, bytes], name: str) -> None:
    assert decoded(raw, flags, extra) == name


@given(st.binary(max_size=60), st.sampled_from([0, UTF8_FLAG]), st.dictionaries(st.just(UNICODE_PATH), st.binary(max_size=20)))
def test_every_name_has_a_text(raw: bytes, flags: int, extra: dict[int, bytes]) -> None:
    name = decoded(raw, flags, extra)
    assert name == decoded(raw, flags, extra)
    assert same_place(same_place(name)) == same_place(name)
    name.encode()


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_a_name_in_utf_8_is_that_name(name: str) -> None:
    assert same_place(decoded(name.encode(), UTF8_FLAG, {})) == same_place(name)


def test_a_member_has_its_readable_name(tmp_path: Path) -> None:
    path = tmp_path / "it.zip"
    path.write_bytes(zip_of(Part(name=NAME.encode("cp1252"))))
    with zips.opened(path) as opened:
        assert [member.filename for member in opened.members] == [NAME]
