"""What comes of a file lies on the disk and nothing else, with its hash, however often it is begun."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from d4c_platform.model.errors import TransientFailure
from d4c_platform.sources.download import Stopped, download
from d4c_platform.sources.source import SourceUrl
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import Publisher

LONG, SHORT = bytes(range(256)) * 4000, b"another state"


@pytest.fixture
def offered(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "offered").write_bytes(LONG)
    return {"a": tmp_path / "offered"}


@pytest.fixture
def web() -> Iterator[Web]:
    client = Web(per_host_per_s=10_000, attempts=2, first_wait_s=0.001, timeout_s=20)
    yield client
    client.close()


def test_a_file_that_is_started_over_holds_nothing_of_its_first_beginning(
    files: Publisher, offered: dict[str, Path], web: Web, tmp_path: Path
) -> None:
    files.fault(kind="truncate", path="/a", after_bytes=300_000, times=1)

    def replaced(headers: object) -> None:
        if files.asked("GET") == ["GET /a"]:
            fresh = tmp_path / "fresh"
            fresh.write_bytes(SHORT)
            fresh.replace(offered["a"])

    got = download(web, SourceUrl("a", f"{files.url}/a", accept=replaced), tmp_path / "here")
    assert files.asked("GET") == ["GET /a"] * 2
    assert (tmp_path / "here").read_bytes() == SHORT
    assert (got.bytes, got.sha256, got.status) == (len(SHORT), hashlib.sha256(SHORT).hexdigest(), 200)
    assert got.headers["content-length"] == str(len(SHORT))


def test_a_file_that_is_continued_is_hashed_whole(files: Publisher, web: Web, tmp_path: Path) -> None:
    files.fault(kind="truncate", path="/a", after_bytes=300_000, times=1)
    got = download(web, SourceUrl("a", f"{files.url}/a"), tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == LONG
    assert (got.bytes, got.sha256) == (len(LONG), hashlib.sha256(LONG).hexdigest())
    assert got.fetching.resumed_bytes == len(LONG) - 300_000


def test_a_fetch_that_is_stopped_ends_between_two_chunks(files: Publisher, web: Web, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        download(web, SourceUrl("a", f"{files.url}/a"), tmp_path / "here", lambda: True)
    assert len(files.asked("GET")) == 1


def test_a_full_disk_is_told_as_one(files: Publisher, web: Web) -> None:
    with pytest.raises(TransientFailure, match="local disk"):
        download(web, SourceUrl("a", f"{files.url}/a"), Path("/dev/full"))
