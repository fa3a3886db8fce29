"""A zip is what all its parts agree on, or it is refused with the reason."""

from __future__ import annotations

import bz2
import io
import os
import random
import stat
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4c_platform import zips
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.zips import directory, reading, rules
from d4c_platform_tests.zips.crafted import FULL, Part, packed, zip64_field, zip_of


def contents(body: bytes, tmp_path: Path) -> dict[str, bytes]:
    path = tmp_path / "it.zip"
    path.write_bytes(body)
    with zips.opened(path) as opened:
        return {member.filename: b"".join(opened.chunks(member)) for member in opened.members}


def refusal(body: bytes, tmp_path: Path) -> str:
    with pytest.raises(zips.UnsoundZip) as failure:
        contents(body, tmp_path)
    assert "it.zip" in str(failure.value)
    assert "materialize this version again" in str(failure.value)
    return failure.value.what


def written(method: int, *members: tuple[str, bytes], large: bool = False, streamed: bool = False) -> bytes:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    out = Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, body in members:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=large) as member:
                member.write(body)
    return out.getvalue()


# -- what is sound ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text("abcé/", min_size=1, max_size=9).filter(lambda n: n[0] != "/" and n[-1] != "/" and "//" not in n),
                    st.binary(max_size=3000), min_size=1, max_size=5).filter(
        lambda m: not any(a != b and b.startswith(f"{a}/") for a in m for b in m)
    ),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_what_the_standard_library_writes_is_read(tmp_path_factory, members, method, large, streamed) -> None:
    body = written(method, *members.items(), large=large, streamed=streamed)
    assert contents(body, tmp_path_factory.getbasetemp()) == members


def test_bzip2_is_read(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(1_500_000)
    assert contents(zip_of(Part(body=body, method=12, data=bz2.compress(body))), tmp_path) == {"a.csv": body}


@pytest.mark.parametrize("size", [0, 1, reading.CHUNK_BYTES - 1, reading.CHUNK_BYTES, 3 * reading.CHUNK_BYTES + 7])
@pytest.mark.parametrize("method", [0, 8])
def test_members_of_any_size_are_read_in_pieces(tmp_path: Path, size: int, method: int) -> None:
    body = os.urandom(size // 2) + bytes(size - size // 2)
    path = tmp_path / "it.zip"
    path.write_bytes(zip_of(Part(body=body, method=method)))
    with zips.opened(path) as opened:
        pieces = list(opened.chunks(opened.members[0]))
    assert b"".join(pieces) == body
    assert max(map(len, pieces), default=0) <= reading.CHUNK_BYTES


def test_memory_stays_small_whatever_a_member_unpacks_to(tmp_path: Path) -> None:
    path = tmp_path / "it.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros.csv", "w") as member:
        for _ in range(60):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    with zips.opened(path) as opened:
        assert sum(len(chunk) for chunk in opened.chunks(opened.members[0])) == 60 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "body",
    [
        zip_of(Part(), comment=b"made by hand"),
        zip_of(Part()) + b"\r\n",
        zip_of(Part()) + bytes(512),
        zip_of(Part(), large={}),
        zip_of(Part(), large={}, entries=0xFFFF, here=0xFFFF, size=FULL, offset=FULL),
        zip_of(Part(flags=8, local={"crc": 0, "packed": 0, "unpacked": 0}, after=b"PK\x07\x08" + bytes(12))),
        zip_of(Part(flags=8, local={"crc": 0, "packed": FULL, "unpacked": FULL}, after=bytes(20))),
        zip_of(Part(local={"extra": struct.pack("<HH", 0x5455, 1) + b"\0"}), Part(name=b"folder/", body=b"", method=0)),
        zip_of(Part(extra=b"\0\0\0")),
        zip_of(Part(), Part(name=b"empty.csv", body=b"", data=b"")),
        zip_of(Part(), Part(name=b"META-INF/", body=b"", method=0, mode=0o50755)),
    ],
    ids=[
        "comment",
        "line end",
        "zeros",
        "zip64",
        "zip64 alone",
        "streamed",
        "streamed large",
        "extra",
        "padding",
        "empty",
        "folder of any kind",
    ],
)
def test_what_writers_do_without_harm_is_read(tmp_path: Path, body: bytes) -> None:
    assert contents(body, tmp_path)["a.csv"] == Part().body


def test_a_zip64_member_is_read(tmp_path: Path) -> None:
    part = Part(entry={"packed": FULL, "unpacked": FULL, "offset": FULL}, local={"packed": FULL, "unpacked": FULL})
    sizes = (len(part.body), len(part.true["data"]))
    part.entry["extra"], part.local["extra"] = zip64_field(*sizes, 0), zip64_field(*sizes)
    assert contents(zip_of(part), tmp_path) == {"a.csv": part.body}


# -- parts that do not agree -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no directory at its end"),
        (b"PK\x05\x06", "no directory at its end"),
        (zip_of(Part())[:-1], "no directory at its end"),
        (zip_of(Part())[:-30], "no directory at its end"),
        (zip_of(Part(), size=10), "not where its end says"),
        (zip_of(Part(), offset=10), "not where its end says"),
        (b"MZ stub" + zip_of(Part()), "not where its end says"),
        (zip_of(Part()) + b"more", "4 bytes follow the end of the zip"),
        (zip_of(Part()) + zip_of(Part()), "not where its end says"),
        (zip_of(Part(), comment=zip_of()), "two ends"),
        (zip_of(Part(), entries=2, here=2), "fewer members than its end says"),
        (zip_of(Part(), Part(name=b"b"), entries=1, here=1), "more than its end says"),
        (zip_of(Part(), disk=1), "one part of several"),
        (zip_of(Part(), here=0), "one part of several"),
        (zip_of(Part(entry={"disk": 3})), "one part of several"),
        (zip_of(Part(), offset=FULL), "a zip64 end that is not there"),
        (zip_of(Part(), large={"entries": 2, "here": 2}), "its two ends"),
        (zip_of(Part(), large={"at": 5}), "zip64 end is not where"),
        (zip_of(Part(), large={"at": 1 << 60}), "zip64 end is not where"),
        (zip_of(Part(), large={"record": 1 << 50}), "zip64 end is not where"),
        (zip_of(Part(), large={"offset": 1 << 62}, offset=FULL), "not where its end says"),
        (zip_of(Part(entry={"unpacked": FULL})), "missing in its zip64 field"),
        (zip_of(Part(entry={"unpacked": FULL, "extra": zip64_field(120) * 2})), "two zip64 fields"),
        (zip_of(Part(entry={"unpacked": FULL, "extra": zip64_field(1 << 63)})), "another size or checksum"),
        (zip_of(Part(entry={"offset": 1 << 31})), "outside of the zip"),
        (zip_of(Part(entry={"offset": 7})), "no header where the directory says"),
        (zip_of(Part(entry={"name": b"b.csv"})), "is called 'a.csv' in its own header"),
        (zip_of(Part(local={"name": b"../../etc"})), "is called '../../etc' in its own header"),
        (zip_of(Part(local={"unpacked": 5})), "another size or checksum"),
        (zip_of(Part(local={"packed": 5})), "another size or checksum"),
        (zip_of(Part(local={"crc": 5})), "another size or checksum"),
        (zip_of(Part(flags=8, local={"unpacked": 5})), "another size or checksum"),
        (zip_of(Part(local={"method": 0})), "packed in another way"),
        (zip_of(Part(local={"flags": 1})), "packed in another way"),
        (zip_of(Part(local={"packed": 10**6}, entry={"packed": 10**6})), "beyond the end"),
        (zip_of(Part(), unlisted=Part(name=b"hidden").header()), "a member that its directory does not name"),
        (zip_of(Part(after=bytes(16)), unlisted=Part(name=b"hidden").header()), "a member that its directory does not name"),
        (zip_of(Part(name=b"x" * 9)).replace(b"PK\x01\x02", b"PK\x01\x03"), "in its directory"),
    ],
)  # fmt: skip
def test_parts_that_do_not_agree_are_refused(tmp_path: Path, body: bytes, why: str) -> None:
    assert why in refusal(body, tmp_path)


def test_a_member_before_the_first_one_that_is_listed_is_found(tmp_path: Path) -> None:
    hidden, part = Part(name=b"hidden").header(), Part()
    part.entry["offset"] = len(hidden)
    end = len(hidden) + len(part.header())
    body = hidden + zip_of(part, offset=end)
    assert "at byte 0 of the zip lies a member" in refusal(body, tmp_path)


def test_members_that_share_packed_bytes_are_refused(tmp_path: Path) -> None:
    """A bomb after Fifield: each member's data are the header and the data of the next one."""
    kernel = Part(name=b"b", body=bytes(1000))
    inner = kernel.header()
    quoted = struct.pack("<BHH", 0, len(inner), len(inner) ^ 0xFFFF)  # a stored block of deflate
    outer = Part(name=b"a", body=inner + kernel.body, data=quoted + inner, local={}, entry={})
    outer_header = outer.header()
    body = outer_header
    listing = outer.listed(0) + kernel.listed(len(outer_header) - len(inner))
    whole = body + listing + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(listing), len(body), 0)
    assert "overlap, which only bombs do" in refusal(whole, tmp_path)


def test_a_directory_without_bounds_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MOST_DIRECTORY_BYTES", 100)
    assert "at most 100 are read" in refusal(zip_of(Part(name=b"x" * 100)), tmp_path)


# -- bytes that are not those declared ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Part(local={"unpacked": 10}, entry={"unpacked": 10}), "more than its 10 bytes"),
        (Part(local={"unpacked": 10**6}, entry={"unpacked": 10**6}), "unpacks to 120 bytes instead of 1,000,000"),
        (Part(local={"crc": 1}, entry={"crc": 1}), "another CRC"),
        (Part(data=packed(Part().body) + b"behind"), "bytes follow its end"),
        (Part(data=packed(Part().body)[:-4]), "cut short"),
        (Part(data=b"\xff" * 30), "corrupt at member 'a.csv'"),
        (Part(method=0, data=Part().body + b"more"), "more than its 120 bytes"),
        (Part(method=12, data=b"no bzip2"), "corrupt at member 'a.csv'"),
        (Part(method=12, data=bz2.compress(Part().body)[:-3]), "cut short"),
        (Part(method=12, data=bz2.compress(Part().body) * 2), "bytes follow its end"),
    ],
    ids=str,
)
def test_bytes_that_are_not_those_declared_are_refused(tmp_path: Path, part: Part, why: str) -> None:
    assert why in refusal(zip_of(part), tmp_path)


def test_bytes_behind_a_member_are_found_where_the_pieces_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(Part().body)
    monkeypatch.setattr(reading, "CHUNK_BYTES", len(data))
    assert "bytes follow its end" in refusal(zip_of(Part(data=data + b"behind")), tmp_path)


def test_no_more_is_unpacked_than_was_declared(tmp_path: Path) -> None:
    path = tmp_path / "it.zip"
    path.write_bytes(zip_of(Part(body=bytes(9 << 20), local={"unpacked": 10}, entry={"unpacked": 10})))
    with zips.opened(path) as opened:
        pieces = opened.chunks(opened.members[0])
        with pytest.raises(zips.UnsoundZip):
            next(pieces)


# -- members that may do harm ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.csv", "leads out of the folder"),
        ("a/../../evil.csv", "leads out of the folder"),
        ("/etc/passwd", "leads out of the folder"),
        ("//server/share", "leads out of the folder"),
        ("C:/evil.csv", "leads out of the folder"),
        ("c:evil.csv", "leads out of the folder"),
        ("a\\..\\evil.csv", "backslash"),
        ("a\nb.csv", "control characters"),
        ("a\0b.csv", "control characters"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}vsc.exe", "invisible"),
        (" ", "is empty"),
        ("", "is empty"),
        ("x" * 1025, "more than 1,024 bytes"),
        ("inner.ZIP", "a zip in a zip, which no transform opens"),
    ],
)
def test_a_name_that_is_not_harmless_is_refused(tmp_path: Path, name: str, why: str) -> None:
    assert why in refusal(zip_of(Part(name=b"fine.csv"), Part(name=name.encode(), flags=0x800)), tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_link_or_device_is_refused(tmp_path: Path, kind: int) -> None:
    assert "a link or a device" in refusal(zip_of(Part(mode=kind | 0o777)), tmp_path)


@pytest.mark.parametrize("part", [Part(name=b"folder/"), Part(mode=stat.S_IFDIR | 0o755)])
def test_a_folder_with_content_is_refused(tmp_path: Path, part: Part) -> None:
    assert "a folder with the content of a file" in refusal(zip_of(part, Part(name=b"b")), tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Data.csv", "data.CSV"),
        ("é.csv", "e\N{COMBINING ACUTE ACCENT}.csv"),
        ("É.csv", "e\N{COMBINING ACUTE ACCENT}.CSV"),
        ("straße", "STRASSE"),
        ("a/b.csv", "./a//b.csv"),
        ("a.csv", "a.csv. "),
        ("folder/", "folder"),
        ("a.csv", "a.csv"),
    ],
)
def test_two_names_for_one_place_are_refused(tmp_path: Path, one: str, other: str) -> None:
    empty = {"body": b"", "method": 0, "flags": 0x800}
    why = refusal(zip_of(Part(name=one.encode(), **empty), Part(name=other.encode(), **empty)), tmp_path)
    assert "twice" in why or "the same file as" in why


def test_a_file_in_a_file_is_refused(tmp_path: Path) -> None:
    assert "'a' is a file, not a folder" in refusal(zip_of(Part(name=b"a"), Part(name=b"a/b/c")), tmp_path)


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2001])
def test_an_encrypted_member_is_refused(tmp_path: Path, flags: int) -> None:
    assert "encrypted" in refusal(zip_of(Part(flags=flags)), tmp_path)


@pytest.mark.parametrize(("method", "called"), [(9, "9 (Deflate64)"), (14, "14 (LZMA)"), (77, "77 cannot")])
def test_an_unknown_compression_method_is_named(tmp_path: Path, method: int, called: str) -> None:
    assert f"compression method {called}" in refusal(zip_of(Part(method=method)), tmp_path)


def test_a_patch_of_another_file_is_no_file(tmp_path: Path) -> None:
    assert "cannot be read here" in refusal(zip_of(Part(flags=0x20)), tmp_path)


def test_a_bomb_by_ratio_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    size = rules.RATIO_MATTERS_BYTES + 1
    part = Part(data=bytes(1000), local={"unpacked": size}, entry={"unpacked": size})
    assert "1,000 bytes unpack to 67,108,865, which only bombs do" in refusal(zip_of(part), tmp_path)


def test_a_bomb_of_many_small_members_is_refused(tmp_path: Path) -> None:
    size = {"unpacked": rules.RATIO_MATTERS_BYTES}
    parts = [Part(name=b"%d" % n, data=bytes(1000), local=size, entry=size) for n in range(3)]
    assert "unpack to 201,326,592, which only bombs do" in refusal(zip_of(*parts), tmp_path)


def test_a_bomb_by_total_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_UNPACKED_BYTES", 1000)
    assert "unpacks to 1,200 bytes" in refusal(zip_of(Part(body=bytes(600)), Part(name=b"b", body=bytes(600))), tmp_path)


def test_a_bomb_by_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MOST_MEMBERS", 3)
    assert "4 members" in refusal(zip_of(*(Part(name=b"%d" % n) for n in range(4))), tmp_path)


@pytest.mark.parametrize("body", [zip_of(), zip_of(Part(name=b"folder/", body=b"", method=0))])
def test_a_zip_without_files_is_refused(tmp_path: Path, body: bytes) -> None:
    assert "contains no files" in refusal(body, tmp_path)


# -- anything at all ---------------------------------------------------------------------------------------------------------


def sound_zips() -> list[bytes]:
    csv, noise = b"1,2,3\n" * 200, random.Random(3).randbytes(700)
    return [
        zip_of(Part(body=csv), Part(name=b"b.csv", body=noise, method=0), Part(name=b"d/", body=b"", method=0)),
        zip_of(Part(body=csv, method=12, data=bz2.compress(csv)), large={}),
        written(zipfile.ZIP_DEFLATED, ("été.csv", csv), ("b", b""), large=True),
        written(zipfile.ZIP_DEFLATED, ("a", csv), ("b", noise), streamed=True),
    ]


def mutated(chance: random.Random, body: bytearray, most: int = 4) -> bytes:
    for _ in range(chance.randint(1, most)):
        if not body:
            break
        at = chance.randrange(len(body)) if chance.random() < 0.4 else max(0, len(body) - 1 - chance.randrange(260))
        match chance.randrange(6):
            case 0:
                body[at] ^= 1 << chance.randrange(8)
            case 1:
                body[at : at + 4] = chance.choice([bytes(4), b"\xff" * 4, chance.randbytes(4), b"\1\0\0\0"])
            case 2:
                del body[at : at + chance.randint(1, 40)]
            case 3:
                body[at:at] = chance.randbytes(chance.randint(1, 40))
            case 4:
                body[at:at] = body[chance.randrange(len(body)) :][: chance.randint(1, 80)]
            case 5:
                del body[max(1, at) :]
    return bytes(body)


def never_crashes(seed: int, rounds: int, tmp_path: Path) -> int:
    """Reads mutated zips; how many of them were read to their end."""
    chance, sound, read = random.Random(seed), sound_zips(), 0
    tracemalloc.start()
    for _ in range(rounds):
        body = mutated(chance, bytearray(chance.choice(sound)))
        try:
            contents(body, tmp_path)
            read += 1
        except PermanentFailure:
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    return read


def test_a_mutated_zip_is_read_or_refused(tmp_path: Path) -> None:
    never_crashes(20251124, 600, tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(tmp_path_factory, start: bytes, end: bytes) -> None:
    for body in (start, b"PK\x03\x04" + start + b"PK\x01\x02" + end, start + b"PK\x05\x06" + end.ljust(18, b"\0")):
        with pytest.raises(PermanentFailure):
            contents(body, tmp_path_factory.getbasetemp())


@pytest.mark.campaign
@pytest.mark.parametrize("run", range(int(os.environ.get("D4C_CAMPAIGN_RUNS", "10"))))
def test_no_mutated_zip_ever_crashes(run: int, tmp_path: Path) -> None:
    seed = int(os.environ.get("D4C_CAMPAIGN_SEED", "0")) + run
    print(f"seed {seed}")
    print(f"{never_crashes(seed, 10_000, tmp_path):,} of 10,000 were sound all the same")


def test_whatever_is_read_the_standard_library_reads_the_same(tmp_path: Path) -> None:
    chance, sound, agreed = random.Random(11), sound_zips(), 0
    for _ in range(1500):
        body = mutated(chance, bytearray(chance.choice(sound)), most=1)
        try:
            ours = contents(body, tmp_path)
        except PermanentFailure:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with zipfile.ZipFile(tmp_path / "it.zip") as theirs:
                    bodies = [theirs.read(info) for info in theirs.infolist() if not info.is_dir()]
        except (NotImplementedError, UnicodeDecodeError):  # a version number, and a name that is not what its flag says
            continue
        assert sorted(ours.values()) == sorted(bodies)
        agreed += 1
    assert agreed > 20
