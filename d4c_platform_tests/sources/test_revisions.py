"""A second look at a file goes no further than the doubt it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.model.errors import TransientFailure
from d4c_platform.model.records import RawFile
from d4c_platform.sources import zipfiles
from d4c_platform.sources.receipt import receive
from d4c_platform.sources.revisions import TAIL_BYTES, look
from d4c_platform.sources.source import Expect, SourceUrl
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import FILES, Publisher, table_zip, zip_of


@pytest.fixture
def web(files: Publisher, web_to) -> Web:
    return web_to(FILES, files.url)


@pytest.fixture
def offer(offered: dict[str, Path], tmp_path: Path):
    def offer(body: bytes, name: str = "table.zip") -> None:
        path = tmp_path / f"served-{len(list(tmp_path.iterdir()))}"
        path.write_bytes(body)
        offered[name] = path

    return offer


def archived(web: Web, folder: Path, name: str = "table.zip") -> RawFile:
    url = f"{FILES}/{name}"
    got = receive(web, SourceUrl(name, url, Expect.ZIP), folder / name)
    facts = {
        k: getattr(got, k) for k in ("bytes", "sha256", "content_sha256", "directory_sha256", "fetched_at", "status", "headers")
    }
    return RawFile(name=name, key=f"raw/{name}", url=url, **facts)


def test_an_untouched_file_costs_one_head(files: Publisher, web: Web, offer, tmp_path: Path) -> None:
    offer(table_zip("1"))
    file = archived(web, tmp_path)
    before = len(files.asked())
    assert look(web, [file], {}).changed == ()
    assert [a.partition(" ")[0] for a in files.asked()[before:]] == ["HEAD"]


def test_a_file_packed_anew_is_equal_and_sealed_and_one_with_other_content_is_changed(web: Web, offer, tmp_path: Path) -> None:
    offer(table_zip("1"))
    file = archived(web, tmp_path)
    offer(table_zip("1", stamp=(2025, 6, 12, 0, 34, 0)))
    sealed = look(web, [file], {})
    assert (sealed.changed, set(sealed.seals)) == ((), {"table.zip"})
    offer(table_zip("2", stamp=(2025, 6, 12, 0, 34, 0)))
    changed = look(web, [file], sealed.seals)
    assert changed.changed == ("table.zip",)
    assert len(changed.mark) == 8


def test_of_a_large_file_only_the_end_is_read(files: Publisher, web: Web, offer, tmp_path: Path) -> None:
    import random

    filler = random.Random(1).randbytes(3 * TAIL_BYTES)
    offer(zip_of(("a.csv", filler)))
    file = archived(web, tmp_path)
    offer(zip_of(("a.csv", filler), stamp=(2026, 1, 1, 0, 0, 0)))
    assert look(web, [file], {}).changed == ()
    offer(zip_of(("a.csv", filler[:-1] + b"!")))
    assert look(web, [file], {}).changed == ("table.zip",)


def test_a_release_archived_before_directories_were_noted_is_left_to_the_archive(web: Web, offer, tmp_path: Path) -> None:
    offer(table_zip("1"))
    file = archived(web, tmp_path).model_copy(update={"directory_sha256": ""})
    offer(table_zip("1", stamp=(2025, 6, 12, 0, 34, 0)))
    assert look(web, [file], {}).changed == ("table.zip",)


def test_what_is_no_zip_any_more_is_left_to_the_archive(web: Web, offer, tmp_path: Path) -> None:
    offer(table_zip("1"))
    file = archived(web, tmp_path)
    offer(b"<html>sorry</html>")
    assert look(web, [file], {}).changed == ("table.zip",)


def test_a_server_that_fails_says_nothing_about_the_file(files: Publisher, web: Web, offer, tmp_path: Path) -> None:
    offer(table_zip("1"))
    file = archived(web, tmp_path)
    files.fault(kind="status", times=-1)
    with pytest.raises(TransientFailure):
        look(web, [file], {})


MEMBERS = st.dictionaries(st.sampled_from(["a.csv", "b.csv", "c.csv"]), st.binary(max_size=40), min_size=1)


@given(MEMBERS, MEMBERS, st.integers(1980, 2100))
def test_directories_are_equal_exactly_when_contents_are(tmp_path_factory, one, other, year) -> None:
    folder = tmp_path_factory.mktemp("zips")

    def both(members, stamp):
        path = folder / "z.zip"
        path.write_bytes(zip_of(*members.items(), stamp=stamp))
        return zipfiles.directory_sha256(path), zipfiles.content_sha256(path, "z.zip")

    (d1, c1), (d2, c2) = both(one, (2025, 1, 1, 0, 0, 0)), both(other, (year, 2, 3, 4, 5, 6))
    assert (d1 == d2) == (c1 == c2)
