"""A list of files is read line by line, and nothing in it can leave the folder or mean two things."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sources import listing
from d4c_platform.sources.listing import lines_of, listed, path_problem
from d4c_platform.storage import keys

BASE = "https://files.example.ca/ortho/"


def of(*lines: str, base: str | None = None) -> list[tuple[str, str]]:
    return [(e.url, e.path) for e in listed((line.encode() + b"\n" for line in lines), base)]


def test_the_path_is_the_second_column_or_what_follows_the_base_or_the_file_name():
    url = f"{BASE}2024/tuile%20%C3%A9.tif?v=2"
    assert of(f"{url}\tanywhere/x.tif", base=BASE) == [(url, "anywhere/x.tif")]
    assert of(url, base=BASE) == [(url, "2024/tuile é.tif")]
    assert of(url) == [(url, "tuile é.tif")]
    assert of(f"{url}\t", base=BASE.rstrip("/")) == [(url, "2024/tuile é.tif")]


def test_comments_empty_lines_a_byte_order_mark_and_windows_line_ends_are_passed_over():
    assert of("\ufeff# a list", "", "  # more", f"{BASE}a.tif\r", "   ") == [(f"{BASE}a.tif", "a.tif")]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a.tif", "no http"),
        ("ftp://x.ca/a.tif", "no http"),
        ("https:///a.tif", "no http"),
        ("https://user:secret@x.ca/a.tif", "user name or password"),
        (f"{BASE}a.tif\t../../etc/passwd", "`..`"),
        (f"{BASE}a.tif\t/etc/passwd", "empty"),
        (f"{BASE}a.tif\ta//b", "empty"),
        (f"{BASE}%2e%2e/%2e%2e/x", "`..`"),
        (f"{BASE}a%2f..%2f..%2fx", "`..`"),
        (f"{BASE}a%00b", "cannot be seen"),
        (f"{BASE}a.tif\ta\\b", "backslash"),
        (f"{BASE}a.tif\tgnp\u202efit.exe", "cannot be seen"),
        (f"{BASE}a.tif\t.pad/65535", r"\.pad"),
        (f"{BASE}a.tif\t.d4c/tmp", r"\.d4c"),
        (f"{BASE}a.tif\ta./b", "dot"),
        (f"{BASE}a.tif\t" + "x" * 241, "longer than 240"),
        (f"{BASE}a.tif\t" + "x/" * 300 + "x", "longer than 600"),
        (f"{BASE}a.tif\tb\tc", "3 columns"),
        ("https://elsewhere.example.ca/a.tif", "declared base"),
        (f"{BASE}folder/", "has the path"),
    ],
)
def test_a_line_that_is_not_plain_is_refused_with_its_number(line, why):
    with pytest.raises(PermanentFailure, match=rf"line 2 .*{why}") as caught:
        of("# first", line, base=BASE)
    assert "secret" not in str(caught.value)


def test_a_list_is_bounded_in_every_direction(monkeypatch):
    with pytest.raises(PermanentFailure, match="names no file"):
        of("# nothing")
    with pytest.raises(PermanentFailure, match="line 1 is longer"):
        list(listed(lines_of([b"https://x.ca/", b"a" * 10_000]), None))
    monkeypatch.setattr(listing, "MOST_FILES", 2)
    with pytest.raises(PermanentFailure, match="line 3 is more than the 2 files"):
        of(*(f"{BASE}{n}" for n in range(3)))
    monkeypatch.setattr(listing, "LIST_BYTES", 100)
    with pytest.raises(PermanentFailure, match="the list is longer"):
        list(lines_of([b"x\n" * 30] * 3))


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=12), st.integers(1, 50))
def test_lines_are_the_same_however_the_bytes_arrive(lines, step):
    whole = b"".join(line + b"\n" for line in lines)
    assert list(lines_of(whole[i : i + step] for i in range(0, len(whole), step))) == [line + b"\n" for line in lines]


@given(st.text(max_size=80))
def test_a_path_that_passes_is_a_key_and_stays_in_its_folder(path):
    if path_problem(path) is None:
        assert keys.checked(f"raw/x/{path}")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} or c == "\\" for c in path)
        assert path.encode().decode() == path
